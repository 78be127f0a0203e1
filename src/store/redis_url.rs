use redis::Client;

use crate::InvalidValue;

/// A client that is not connected yet. The error does not repeat the text, which may contain a password.
pub(crate) fn open(url: &str) -> Result<Client, InvalidValue> {
    Client::open(url).map_err(|_| INVALID)
}

const INVALID: InvalidValue =
    InvalidValue::new("Redis URL", "not a URL of a Redis server; such as redis://user:password@host:6379/0");
