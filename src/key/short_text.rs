use std::fmt;
use std::ops::Deref;

/// A text of any length that is stored inline up to 15 bytes. It takes 16 bytes itself.
///
/// Derefs to `str`.
///
/// ```
/// use tower_api_keys::key::ShortText;
///
/// let name = ShortText::from("Production");
/// assert_eq!(name, "Production");
/// assert!(name.starts_with("Prod"));
/// ```
#[derive(Clone)]
pub struct ShortText(Repr);

#[derive(Clone)]
enum Repr {
    /// The text, padded with zero bytes. The text does not end with one.
    Here([u8; ShortText::LENGTH_HERE]),
    /// Boxed twice, since a `Box<str>` is two words.
    Elsewhere(Box<Box<str>>),
}

impl ShortText {
    const LENGTH_HERE: usize = 15;
}

impl From<&str> for ShortText {
    fn from(text: &str) -> Self {
        if text.len() > Self::LENGTH_HERE || text.ends_with('\0') {
            return Self(Repr::Elsewhere(Box::new(text.into())));
        }
        let mut bytes = [0; Self::LENGTH_HERE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Repr::Here(bytes))
    }
}

impl From<String> for ShortText {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for ShortText {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Repr::Here(bytes) => {
                let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                // The bytes were copied from a `str`.
                std::str::from_utf8(&bytes[..length]).unwrap_or_default()
            }
            Repr::Elsewhere(text) => text,
        }
    }
}

impl Default for ShortText {
    /// The empty text.
    fn default() -> Self {
        Self(Repr::Here([0; Self::LENGTH_HERE]))
    }
}

impl PartialEq for ShortText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ShortText {}

impl PartialEq<str> for ShortText {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for ShortText {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_round_trips_and_equals_only_itself() {
        assert_eq!(size_of::<ShortText>(), 16);
        let texts =
            ["", "a", "sk_live_…45pq", "fifteen bytes !", "sixteen bytes !!", "€€€€€", "\0", "a\0", "\0a"];
        for text in texts {
            let short = ShortText::from(text);
            assert_eq!((&*short, short.to_string()), (text, text.to_owned()));
            assert_eq!(format!("{short:?}"), format!("{text:?}"));
            for other in texts {
                assert_eq!(short == ShortText::from(other.to_owned()), text == other, "{text:?}, {other:?}");
                assert_eq!(short == *other, text == other);
            }
        }
        assert_eq!(ShortText::default(), "");
    }
}
