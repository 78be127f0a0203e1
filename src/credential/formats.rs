use crate::key::{KeyFormat, MalformedKey, ParsedKey};

/// The accepted formats of keys in one place.
#[derive(Clone, Debug)]
pub(super) struct Formats {
    first: KeyFormat,
    others: Vec<KeyFormat>,
}

impl Formats {
    pub(super) fn one(first: KeyFormat) -> Self {
        Self { first, others: Vec::new() }
    }

    /// `formats` has at least one.
    pub(super) fn several(formats: Vec<KeyFormat>) -> Self {
        let mut formats = formats.into_iter();
        Self { first: formats.next().expect("an assembly has a format"), others: formats.collect() }
    }

    pub(super) fn add(&mut self, format: KeyFormat) {
        self.others.push(format);
    }

    /// Parses a key in the format that accepts it. If none does, the error is that of the format whose prefix the
    /// text has.
    #[inline]
    pub(super) fn parse<'k>(&self, text: &'k str) -> Result<ParsedKey<'k>, MalformedKey> {
        match self.others.is_empty() {
            true => self.first.parse(text),
            false => self.parse_any(text),
        }
    }

    fn parse_any<'k>(&self, text: &'k str) -> Result<ParsedKey<'k>, MalformedKey> {
        let first = self.first.parse(text);
        self.others.iter().map(|format| format.parse(text)).fold(first, |best, next| match (&best, &next) {
            (Ok(_), _) | (Err(_), Err(MalformedKey::Prefix)) => best,
            (Err(MalformedKey::Prefix), _) | (Err(_), Ok(_)) => next,
            (Err(_), Err(_)) => best,
        })
    }

    /// Whether `text` starts like a key of one of the formats.
    pub(super) fn have_prefix(&self, text: &str) -> bool {
        self.first.has_prefix(text) || self.others.iter().any(|format| format.has_prefix(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_parsed_in_its_own_format() {
        let format = |prefix| KeyFormat::new(prefix).unwrap();
        let formats = Formats::several(vec![format("old_"), format("new_")]);
        let secret = "0".repeat(32);
        for (text, want) in [
            (format!("old_{secret}"), None),
            (format!("new_{secret}"), None),
            (format!("other_{secret}"), Some(MalformedKey::Prefix)),
            ("old_short".to_owned(), Some(MalformedKey::Length)),
            ("new_short".to_owned(), Some(MalformedKey::Length)),
        ] {
            assert_eq!(formats.parse(&text).err(), want, "{text}");
        }
        assert!(formats.have_prefix("new_") && !formats.have_prefix("other_"));
    }

    #[test]
    fn a_format_without_a_prefix_claims_only_texts_of_its_shape() {
        let uuids = KeyFormat::unprefixed().secret_length(36).other_characters("-").build().unwrap();
        let formats = Formats::several(vec![KeyFormat::new("acme_").unwrap(), uuids]);
        for (text, is_key) in [
            ("acme_", true),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", true),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c330", false),
            ("eyJhbGciOiJIUzI1NiJ9.eyJhbGciOiJIUzI1NiJ9.x", false),
        ] {
            assert_eq!(formats.have_prefix(text), is_key, "{text}");
        }
    }
}
