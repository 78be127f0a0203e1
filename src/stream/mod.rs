//! Long-lived responses: streams, server-sent events, WebSockets.
//!
//! The layer checks a request when it arrives. A response that lasts for hours has to end with its key, and
//! [`KeyManager::revoked`](crate::manage::KeyManager::revoked) says when: the future completes once the key of a caller no
//! longer works. It is from the manager, a handle without type parameters that any handler can hold
//! ([`ApiKeys::manager`](crate::ApiKeys::manager)), so a [`Principal`](crate::Principal) stays small, and requests that do
//! not ask pay nothing.
//!
//! ```
//! use tokio_stream::{Stream, StreamExt};
//! use tower_api_keys::Principal;
//! use tower_api_keys::manage::KeyManager;
//!
//! async fn follow(keys: &KeyManager, principal: &Principal, mut events: impl Stream<Item = u32> + Unpin) -> Vec<u32> {
//!     let (mut sent, mut revoked) = (Vec::new(), keys.revoked(principal));
//!     loop {
//!         tokio::select! {
//!             Some(event) = events.next() => sent.push(event),
//!             () = &mut revoked => break sent,
//!             else => break sent,
//!         }
//!     }
//! }
//! ```
//!
//! Where the response is itself a stream, `take_until` of futures-util ends it:
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```text")]
//! use std::convert::Infallible;
//!
//! use axum::extract::State;
//! use axum::response::sse::{Event, Sse};
//! use futures_util::stream::{self, Stream, StreamExt};
//! use tower_api_keys::Principal;
//! use tower_api_keys::manage::KeyManager;
//!
//! async fn events(
//!     State(keys): State<KeyManager>,
//!     principal: Principal,
//! ) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
//!     let events = stream::repeat_with(|| Ok(Event::default().data("news")));
//!     Sse::new(events.take_until(keys.revoked(&principal)))
//! }
//! ```
//!
//! # How soon
//!
//! | a change | ends streams |
//! |---|---|
//! | made by this process, through a [`KeyManager`](crate::manage::KeyManager) of the assembly | at once |
//! | made by another one | a second after requests are rejected: behind a `CachedStore`, that [has bounds](crate::store) |
//! | made by another one, where every lookup has to wait, as in a database without a cache | after 5 seconds |
//! | the end of a key or of a grace period, by the assembly's clock | after a second |
//!
//! The store is asked once for each key that is waited for, not for each stream, and by 16 lookups at a time.
//! [`ApiKeys::background`](crate::ApiKeys::background) asks it. Where that does not run, streams ask it themselves, in turn.
//!
//! While the store does not answer, no stream ends, unless its key has ended as far as is known.
//!
//! # What to mind
//!
//! - A stream can end only where it is polled. A task that waits for a slow client to read does not notice: let `select!` stand
//!   around sending as well, or set a time limit for it.
//! - Make the future once, before the loop, and await `&mut revoked`. One that is made again for each event works, and takes
//!   some 200 ns each time.
//! - Only the end of the key is reported. A key that loses a scope, or an address, keeps its streams.
//! - A server that stops gracefully waits for its streams. End them then, too, before [`flush`](crate::ApiKeys::flush).
//! - A client that connects again with the key gets 401: `EventSource` then gives up.
//! - A browser can set no header field for a WebSocket or an `EventSource`. It sends a key as a [subprotocol] or, with all that
//!   speaks against it, in the [query].
//!
//! [subprotocol]: crate::credential::WebSocketKey
//! [query]: crate::credential::QueryKey

mod held;
mod revoked;
mod watch;
mod watched;

pub use revoked::Revoked;
pub(crate) use watch::Watch;
