use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::KeyId;
use crate::InvalidValue;

/// Who made a key or did something to one.
///
/// Written `key` or `session` and the identifier, `operator`, or `operator` and a name.
///
/// ```
/// use tower_api_keys::key::Actor;
///
/// let actor: Actor = "operator ada".parse()?;
/// assert_eq!(actor, Actor::Operator(Some("ada".into())));
/// assert_eq!("key k1".parse::<Actor>()?.to_string(), "key k1");
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The caller with this key.
    Key(KeyId),
    /// A person in a session, by the [identifier of the session](crate::identity::Session::id).
    Session(KeyId),
    /// The application's own code or command line, and the name of the person who [used
    /// it](crate::Authority::by), if known.
    Operator(Option<Arc<str>>),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key {id}"),
            Self::Session(id) => write!(f, "session {id}"),
            Self::Operator(None) => f.write_str("operator"),
            Self::Operator(Some(name)) => write!(f, "operator {name}"),
        }
    }
}

impl FromStr for Actor {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text.split_once(' ') {
            None if text == "operator" => Ok(Self::Operator(None)),
            Some(("operator", name)) if !name.is_empty() => Ok(Self::Operator(Some(name.into()))),
            Some(("key", id)) => Ok(Self::Key(id.parse()?)),
            Some(("session", id)) => Ok(Self::Session(id.parse()?)),
            _ => Err(InvalidValue::new("actor", "an actor is a key, a session or the operator")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_actor_is_read_back() {
        let id = "k1".parse::<KeyId>().unwrap();
        for actor in [
            Actor::Key(id),
            Actor::Session(id),
            Actor::Operator(None),
            Actor::Operator(Some("ada".into())),
            Actor::Operator(Some("Ada  Lovelace, night shift".into())),
        ] {
            assert_eq!(actor.to_string().parse(), Ok(actor));
        }
        for text in ["", "operator ", "Operator", "key", "key ", "key a b", "session /", "ada"] {
            assert!(text.parse::<Actor>().is_err(), "{text:?}");
        }
    }
}
