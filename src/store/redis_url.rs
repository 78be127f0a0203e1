use redis::Client;
use thiserror::Error;

/// A text is not the URL of a Redis server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a URL of a Redis server; such as redis://user:password@host:6379/0")]
#[non_exhaustive]
pub struct InvalidRedisUrl;

/// A client that is not connected yet. The error does not repeat the text, which may contain a password.
pub(crate) fn open(url: &str) -> Result<Client, InvalidRedisUrl> {
    Client::open(url).map_err(|_| InvalidRedisUrl)
}
