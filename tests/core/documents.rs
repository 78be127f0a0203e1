//! What the pages on security say of the code, and where the links of all pages lead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

const SECURITY: &str = include_str!("../../SECURITY.md");
const THREAT_MODEL: &str = include_str!("../../docs/threat-model.md");

#[test]
fn every_file_and_every_test_that_the_pages_name_exists() {
    let named = Regex::new(r"`((?:src|tests|examples|benches|fuzz)/[\w./-]+)(?:::(\w+))?`").unwrap();
    for (page, text) in [("SECURITY.md", SECURITY), ("docs/threat-model.md", THREAT_MODEL)] {
        assert!(named.captures_iter(text).count() > 100, "{page}: the pattern finds them");
        for found in named.captures_iter(text) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&found[1]);
            assert!(path.exists(), "{page} names {}", &found[1]);
            let Some(test) = found.get(2) else { continue };
            // A check of the conformance suite is a function that the tests of every store call.
            let attribute =
                if found[1].starts_with("src/store/conformance/") { "" } else { r"#\[(?:tokio::)?test\b" };
            let function = Regex::new(&format!(r"{attribute}[^;{{}}]*\bfn {}\b", test.as_str())).unwrap();
            assert!(function.is_match(&fs::read_to_string(path).unwrap()), "{page} names {}", &found[0]);
        }
    }
}

#[test]
fn each_requirement_has_one_row_and_the_threat_model_names_no_other() {
    let numbers = |pattern: &str, text: &str| -> Vec<u32> {
        Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].parse().unwrap()).collect()
    };
    let rows = numbers(r"(?m)^\| R(\d+) \|", SECURITY);
    let distinct: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(rows.len(), distinct.len(), "a requirement has two rows");
    // Those without a test are in lists below the table.
    let listed = numbers(r"(?m)^- R(\d+):", SECURITY);
    for number in numbers(r"\bR(\d+)", THREAT_MODEL) {
        assert!(distinct.contains(&number) || listed.contains(&number), "R{number}");
    }
}

#[test]
fn each_relative_link_leads_to_a_file() {
    let link = Regex::new(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)").unwrap();
    let mut links = 0;
    for page in pages(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        for found in link.captures_iter(&fs::read_to_string(&page).unwrap()) {
            assert!(page.with_file_name(&found[1]).exists(), "{}: {}", page.display(), &found[0]);
            links += 1;
        }
    }
    assert!(links > 20, "the pattern finds them");
}

/// The Markdown files of the repository.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "node_modules" && name != "target" {
            pages.extend(self::pages(&path));
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
    pages
}
