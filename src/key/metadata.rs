#[cfg(feature = "json")]
use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;
#[cfg(feature = "json")]
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "json")]
use serde::Serialize;
#[cfg(feature = "json")]
use serde::de::DeserializeOwned;

use crate::InvalidValue;

/// What the application wants to know about a key: a plan, a customer number. A JSON object of at most 4 KiB.
///
/// The operator and staff set them. A key that another key makes has those of its maker, so a plan kept here is not the
/// customer's choice, unless [callers set them](crate::manage::KeyManager::with_metadata_of_callers).
///
/// The crate stores it and never reads it. Handlers do, as a type of their own, with `Principal::metadata` (feature
/// `json`). `Debug` shows its length alone, as it may be about people.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Metadata(Arc<Inner>);

struct Inner {
    text: Box<str>,
    /// What was read from the text, one value of each type.
    #[cfg(feature = "json")]
    read: Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>,
}

impl Metadata {
    /// The longest text, in bytes.
    pub const MAX_LENGTH: usize = 4096;

    /// A value that is an object in JSON.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_api_keys::key::Metadata;
    ///
    /// let metadata = Metadata::new(&json!({ "plan": "pro" }))?;
    /// assert_eq!(metadata.as_json(), r#"{"plan":"pro"}"#);
    /// assert!(Metadata::new("pro").is_err());
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is no object, or longer than 4 KiB.
    #[cfg(feature = "json")]
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidValue> {
        Self::from_json(&serde_json::to_string(value).map_err(|_| INVALID)?)
    }

    /// The text of an object, as a store holds it. Only with the feature `json` is it parsed; without, it is taken for JSON
    /// if it is in braces.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is no object, or longer than 4 KiB.
    pub fn from_json(text: &str) -> Result<Self, InvalidValue> {
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidValue::new("metadata", "metadata is at most 4096 bytes of JSON"));
        }
        #[cfg(feature = "json")]
        let is_object = serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object());
        #[cfg(not(feature = "json"))]
        let is_object = text.starts_with('{') && text.ends_with('}');
        if !is_object {
            return Err(INVALID);
        }
        Ok(Self(Arc::new(Inner {
            text: text.into(),
            #[cfg(feature = "json")]
            read: Mutex::default(),
        })))
    }

    /// The text.
    pub fn as_json(&self) -> &str {
        &self.0.text
    }

    /// The metadata as a type of the application. Parsed once for each type, and then cloned.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is no such object. The error does not repeat it.
    #[cfg(feature = "json")]
    pub fn read<T>(&self) -> Result<T, InvalidValue>
    where
        T: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let known = || {
            let read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
            let (_, value) = read.iter().find(|(of, _)| *of == TypeId::of::<T>())?;
            Arc::clone(value).downcast::<T>().ok()
        };
        // The application's own code runs outside of the lock.
        let value = match known() {
            Some(value) => value,
            None => {
                let value = Arc::new(read::<T>(&self.0.text)?);
                let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
                if read.iter().all(|(of, _)| *of != TypeId::of::<T>()) {
                    read.push((TypeId::of::<T>(), value.clone()));
                }
                value
            }
        };
        Ok(T::clone(&value))
    }
}

/// An object as a type of the application.
#[cfg(feature = "json")]
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, InvalidValue> {
    serde_json::from_str(text).map_err(|error| {
        // Not the error's own text, which repeats values.
        let (name, column) = (std::any::type_name::<T>(), error.column());
        InvalidValue::naming("metadata", format!("the metadata is no {name}, as seen at byte {column}"))
    })
}

const INVALID: InvalidValue = InvalidValue::new("metadata", "metadata is a JSON object");

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Metadata {}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} bytes)", self.0.text.len())
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde::{Deserialize, Deserializer};

    use super::*;

    static READ: AtomicUsize = AtomicUsize::new(0);

    #[derive(Clone, Debug, PartialEq)]
    struct Plan(String);

    impl<'de> Deserialize<'de> for Plan {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            struct Members {
                plan: String,
            }

            READ.fetch_add(1, Ordering::Relaxed);
            Members::deserialize(deserializer).map(|members| Self(members.plan))
        }
    }

    #[test]
    fn it_is_an_object_of_at_most_four_kibibytes() {
        let long = |length: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(length - 8));
        for (text, is_metadata) in [
            ("{}", true),
            (r#" {"plan":"pro"} "#, true),
            (&*long(4096), true),
            (&*long(4097), false),
            ("[]", false),
            ("null", false),
            ("", false),
            (r#"{"a":1"#, false),
            (r#"{"a":1}{"b":2}"#, false),
        ] {
            assert_eq!(Metadata::from_json(text).is_ok(), is_metadata, "{text:.20}");
        }
    }

    #[test]
    fn it_is_parsed_once_for_each_type_and_never_repeated_in_errors() {
        let metadata = Metadata::new(&serde_json::json!({ "plan": "secret plan" })).unwrap();
        for _ in 0..3 {
            assert_eq!(metadata.clone().read(), Ok(Plan("secret plan".to_owned())));
        }
        assert_eq!(READ.load(Ordering::Relaxed), 1);
        let metadata = Metadata::from_json(metadata.as_json()).unwrap();
        for _ in 0..3 {
            let members = metadata.read::<std::collections::HashMap<String, String>>().unwrap();
            assert_eq!(members["plan"], "secret plan");
            assert_eq!(metadata.read(), Ok(Plan("secret plan".to_owned())));
        }
        assert_eq!(READ.load(Ordering::Relaxed), 2, "also the second type");
        let error = metadata.read::<std::collections::HashMap<String, u32>>().unwrap_err();
        assert!(!format!("{error} {error:?} {metadata:?}").contains("secret"), "{error}");
    }
}
