//! How secret scanners find keys.

use super::{KeyFormat, checksum};
use crate::key::KeyId;

#[cfg(feature = "cli")]
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
}

impl KeyFormat {
    /// A regular expression that finds keys of this family in text, for secret scanners.
    ///
    /// Valid for RE2 and its relatives, such as Go's `regexp`, which gitleaks uses, and the `regex` crate. Begins and
    /// ends at a word boundary, where a key can begin and end with no other [characters](crate::key::KeyFormatBuilder::other_characters).
    /// Does not check the checksum. For a format without a prefix it finds much that is no key.
    ///
    /// ```
    /// use tower_api_keys::key::KeyFormat;
    ///
    /// let format = KeyFormat::builder("sk_").modes("test_", "live_").build()?;
    /// assert_eq!(format.pattern(), r"\bsk_(?:test_|live_)[A-Za-z0-9]{32}\b");
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn pattern(&self) -> String {
        // `_` belongs to words.
        let boundary =
            |is_word| if is_word || self.characters.bytes().all(|byte| byte == b'_') { r"\b" } else { "" };
        // Outside of brackets no character of prefix and marks has a special meaning.
        let mut pattern = format!("{}{}", boundary(!self.prefix.is_empty()), self.prefix);
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
        let last = boundary(self.checksum);
        pattern + &format!("[A-Za-z0-9{others}{hyphen}]{{{count}}}{last}")
    }
}
