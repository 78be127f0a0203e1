//! How secret scanners find keys.

use super::{KeyFormat, checksum};
use crate::key::KeyId;

impl KeyFormat {
    /// What each key begins with: the prefix, or one of the marks.
    pub(crate) fn beginnings(&self) -> Vec<&str> {
        match (&*self.prefix, &self.modes) {
            ("", Some(modes)) if modes.required => vec![&modes.test, &modes.live],
            (prefix, _) => vec![prefix],
        }
    }

    /// Whether a key can be told from other text by its beginning.
    pub(crate) fn is_recognizable(&self) -> bool {
        self.beginnings().iter().all(|beginning| !beginning.is_empty())
    }

    /// The keys in a text, whatever is around them, such as quotes or the name of a variable. None, if a key can't be told from
    /// other text.
    pub(crate) fn find_in<'t>(&self, text: &'t str) -> Vec<&'t str> {
        if !self.is_recognizable() {
            return Vec::new();
        }
        let is_of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let starts = self.beginnings().into_iter().flat_map(|beginning| text.match_indices(beginning));
        let starts = starts.map(|(start, _)| start).filter(|start| !text[..*start].ends_with(is_of_word));
        let mut keys: Vec<_> = starts.flat_map(|start| self.find_at_start(&text[start..])).collect();
        keys.sort_by_key(|key| key.as_ptr());
        keys
    }

    /// The key that a text begins with. A full stop or the like that follows may be part of it or not: then there are two.
    fn find_at_start<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let separator = self.public_id.as_ref().and_then(|id| id.separator);
        let is_of_key = |character: char| {
            character.is_ascii_alphanumeric()
                || matches!(character, '_' | '-')
                || separator == Some(character)
                || self.characters.contains(character)
        };
        let run = &text[..text.find(|character| !is_of_key(character)).unwrap_or(text.len())];
        let without_marks = run.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let different = Some(without_marks).filter(|text| *text != run);
        std::iter::once(run).chain(different).filter(|text| self.parse(text).is_ok())
    }
}

impl KeyFormat {
    /// A regular expression that finds keys of this family in text, for secret scanners.
    ///
    /// Valid for RE2 and its relatives, such as Go's `regexp`, which gitleaks uses, and the `regex` crate. Begins at a word boundary
    /// if every key begins with a letter, a digit or `_`, and ends at one if every key ends with these. Does not check the checksum.
    /// For a format without a prefix it finds much that is no key.
    ///
    /// ```
    /// use tower_api_keys::key::KeyFormat;
    ///
    /// let format = KeyFormat::builder("sk_").modes("test_", "live_").build()?;
    /// assert_eq!(format.pattern(), r"\bsk_(?:test_|live_)[A-Za-z0-9]{32}\b");
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn pattern(&self) -> String {
        let boundary = |is_there| if is_there { r"\b" } else { "" };
        let is_secret_of_words = self.characters.bytes().all(|byte| byte == b'_');
        // Outside of brackets no character of prefix and marks has a special meaning.
        let mut pattern = format!("{}{}", boundary(self.begins_a_word(is_secret_of_words)), self.prefix);
        if let Some(modes) = &self.modes {
            let optional = if modes.required { "" } else { "?" };
            pattern += &format!("(?:{}|{}){optional}", modes.test, modes.live);
        }
        if let Some(public_id) = &self.public_id {
            pattern += &match public_id.separator {
                Some(separator) => format!("[A-Za-z0-9_-]{{1,{}}}[{separator}]", KeyId::MAX_LENGTH),
                None => format!("[A-Za-z0-9_-]{{{}}}", public_id.length),
            };
        }
        let checksum = if self.checksum { checksum::LENGTH } else { 0 };
        let (shortest, longest) = (self.accepted.start() + checksum, self.accepted.end() + checksum);
        let count = if shortest == longest { shortest.to_string() } else { format!("{shortest},{longest}") };
        // In brackets a hyphen has no special meaning at the end.
        let (hyphen, others): (String, String) = self.characters.chars().partition(|char| *char == '-');
        let last = boundary(self.checksum || is_secret_of_words);
        pattern + &format!("[A-Za-z0-9{others}{hyphen}]{{{count}}}{last}")
    }

    /// Whether every key begins with a letter, a digit or `_`, as a prefix does. A mark and an identifier can begin with a hyphen.
    fn begins_a_word(&self, is_secret_of_words: bool) -> bool {
        let mut marks = self.modes.iter().flat_map(|modes| [&modes.test, &modes.live]);
        let has_mark = self.modes.as_ref().is_some_and(|modes| modes.required);
        let is_rest_of_words = has_mark || self.public_id.is_none() && is_secret_of_words;
        !self.prefix.is_empty() || is_rest_of_words && !marks.any(|mark| mark.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Mode;

    #[test]
    fn keys_are_found_in_text() {
        let formats = [
            KeyFormat::new("wfk_").unwrap(),
            KeyFormat::builder("sk_").modes("test_", "live_").public_id(8, '.').build().unwrap(),
            KeyFormat::builder("sk_").secret_lengths(22..=64).other_characters("-_.").build().unwrap(),
            KeyFormat::builder("acme_").optional_modes("t_", "l_").checksum().build().unwrap(),
            KeyFormat::builder("").modes("snb_", "prd_").build().unwrap(),
        ];
        for format in formats {
            let [one, two] = [(); 2].map(|()| format.generate(Mode::Live).unwrap().secret);
            let (one, two) = (one.expose_secret(), two.expose_secret());
            let beginning = &one[..4];
            for (text, keys) in [
                (one.to_owned(), vec![one]),
                (format!("\u{feff}API_KEY={one}\r\nOTHER={two}\r\n"), vec![one, two]),
                (format!("{{\"key\":\"{one}\"}}"), vec![one]),
                (format!("https://api.example/?key={one}&page=2#{two}"), vec![one, two]),
                (format!("Authorization: Bearer {one}"), vec![one]),
                (format!("I have pasted ({one}), sorry…"), vec![one]),
                (format!("a{one} _{one} {beginning} {one}öä"), vec![one]),
                (format!("{beginning} {beginning}{beginning}"), vec![]),
                (String::new(), vec![]),
            ] {
                assert_eq!(format.find_in(&text), keys, "{text}");
            }
        }
        let format = KeyFormat::builder("sk_").secret_lengths(22..=64).other_characters(".").build().unwrap();
        let key = format.generate(Mode::Live).unwrap().secret;
        let sentence = format!("It is {}.", key.expose_secret());
        assert_eq!(format.find_in(&sentence), [&sentence[6..], key.expose_secret()], "either of them");
        for nothing_to_tell_it_by in
            [KeyFormat::unprefixed(), KeyFormat::unprefixed().optional_modes("t_", "l_")]
        {
            let format = nothing_to_tell_it_by.build().unwrap();
            let key = format.generate(Mode::Live).unwrap();
            assert!(format.find_in(key.secret.expose_secret()).is_empty());
        }
    }
}
