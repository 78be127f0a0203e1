use redis::Client;
use thiserror::Error;

/// A text is no URL of a Redis server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a URL of a Redis server; such as redis://user:password@host:6379/0")]
#[non_exhaustive]
pub struct InvalidRedisUrl;

/// A client that has connected to nothing yet. The error does not repeat the text, which may have a password in it.
pub(crate) fn open(url: &str) -> Result<Client, InvalidRedisUrl> {
    Client::open(url).map_err(|_| InvalidRedisUrl)
}
