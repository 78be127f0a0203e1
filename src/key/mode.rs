use std::fmt;
use std::str::FromStr;

use crate::InvalidValue;

/// Whether a key acts on live or on test data. Written `live` and `test`.
///
/// ```
/// use tower_api_keys::key::Mode;
///
/// assert_eq!("test".parse(), Ok(Mode::Test));
/// assert_eq!(Mode::Live.to_string(), "live");
/// assert!("LIVE".parse::<Mode>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Real data; the mode of a key whose family has no modes.
    #[default]
    Live,
    /// Test data.
    Test,
}

impl Mode {
    /// `live` or `test`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl FromStr for Mode {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err(INVALID),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

const INVALID: InvalidValue = InvalidValue::new("mode", "a mode is live or test");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_round_trip_and_nothing_else_parses() {
        for mode in [Mode::Live, Mode::Test] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            let json = serde_json::to_string(&mode).unwrap();
            assert_eq!(json, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&json).unwrap(), mode);
        }
        for text in ["", "Live", "TEST", " live", "live ", "liv", "tests", "sandbox"] {
            assert_eq!(text.parse::<Mode>(), Err(INVALID), "{text:?}");
        }
    }

    #[test]
    fn the_default_is_live() {
        assert_eq!(Mode::default(), Mode::Live);
    }
}
