//! A guide to read from start to end: pages, nothing to call.
//!
//! 1. [`first_key`]: from `cargo new` to a service that asks for keys, in five minutes.
//! 2. [`production`]: what to set before others depend on it, and how to see that it is set.
//! 3. [`incidents`]: rotate, and what to do when something leaks, is lost or does not answer.
//! 4. [`migrate`]: from a table of keys with middleware of your own, from tower_governor, and from axum-login.
//! 5. [`extend`]: an extractor, a store, a preset and an error format of your own.
//! 6. [`operate`]: from day to day.
//!
//! A test follows each page: it compiles and runs the programs and the commands, and compares what they print.

/// A page, in which links to other pages lead to their modules; in the repository they lead to files.
macro_rules! page {
    ($name:ident, $file:literal, $about:literal) => {
        #[doc = $about]
        ///
        /// [First key]: crate::guide::first_key
        /// [In production]: crate::guide::production
        /// [Rotate, leak, incident]: crate::guide::incidents
        /// [Migrate]: crate::guide::migrate
        /// [Extend]: crate::guide::extend
        /// [Operate]: crate::guide::operate
        /// [A key has leaked]: crate::leaked_key
        /// [Watching an application]: crate::monitoring
        ///
        #[doc = include_str!(concat!("../docs/guide/", $file))]
        pub mod $name {}
    };
}

page!(first_key, "1-first-key.md", "From `cargo new` to a service that asks for keys.");
page!(
    production,
    "2-production.md",
    "What to set before others depend on it, and how to see that it is set."
);
page!(
    incidents,
    "3-incidents.md",
    "Rotate, and what to do when something leaks, is lost or does not answer."
);
// Its programs are compiled where their dependencies are: by the test that follows the page.
#[cfg(not(doctest))]
page!(migrate, "4-migrate.md", "From a table of keys, tower_governor, and axum-login.");
page!(extend, "5-extend.md", "An extractor, a store, a preset and an error format of your own.");
page!(operate, "6-operate.md", "The work from day to day.");
