//! Whether two formats can be confused, and what a key starts with.

use std::iter::repeat_n;

use super::{KeyFormat, Modes, PublicId, checksum};
use crate::key::KeyId;

impl KeyFormat {
    /// Whether a text can be a key of both formats.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.samples().any(|text| other.parse(&text).is_ok())
            || other.samples().any(|text| self.parse(&text).is_ok())
    }

    /// One text of each accepted shape, of characters that all formats accept. Its checksum is right for any format that
    /// has one at this length.
    fn samples(&self) -> impl Iterator<Item = String> + '_ {
        let marks = self.modes.iter().flat_map(|modes| [&*modes.test, &*modes.live]);
        let unmarked = self.modes.as_ref().is_none_or(|modes| !modes.required);
        let marks = marks.chain(unmarked.then_some(""));
        let ids = match &self.public_id {
            None => 0..=0,
            Some(PublicId { length, separator: None }) => *length..=*length,
            Some(PublicId { separator: Some(_), .. }) => 1..=KeyId::MAX_LENGTH,
        };
        marks.flat_map(move |mark| {
            let ids = ids.clone();
            ids.flat_map(move |id| self.accepted.clone().map(move |length| self.sample(mark, id, length)))
        })
    }

    fn sample(&self, mark: &str, id: usize, length: usize) -> String {
        let mut text = format!("{}{mark}", self.prefix);
        text.extend(repeat_n('x', id));
        text.extend(self.public_id.as_ref().and_then(|public_id| public_id.separator));
        text.extend(repeat_n('x', length));
        if self.checksum {
            let checksum = checksum::checksum(text.as_bytes());
            text.extend(checksum.map(char::from));
        }
        text
    }

    /// Whether `text` starts like a key of this family; without a prefix, whether it is like one.
    pub(crate) fn has_prefix(&self, text: &str) -> bool {
        match (&*self.prefix, &self.modes) {
            ("", Some(Modes { test, live, required: true })) => {
                text.starts_with(&**test) || text.starts_with(&**live)
            }
            ("", _) => self.parse(text).is_ok(),
            (prefix, _) => text.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::format::KeyFormatBuilder;

    fn built(format: KeyFormatBuilder) -> KeyFormat {
        format.build().unwrap()
    }

    #[test]
    fn formats_overlap_if_a_text_can_be_a_key_of_both() {
        let acme = || KeyFormat::builder("acme_");
        for (name, one, other, overlap) in [
            ("itself", acme(), acme(), true),
            ("another prefix", acme(), KeyFormat::builder("globex_"), false),
            ("a mark that has to be there", acme().modes("test_", "live_"), acme(), false),
            ("a mark that may be missing", acme().optional_modes("test_", "live_"), acme(), true),
            ("a mark as the prefix", KeyFormat::builder("").modes("acme_", "beta_"), acme(), true),
            ("other lengths", acme().secret_length(40), acme(), false),
            ("lengths with a common one", acme().secret_lengths(30..=40), acme(), true),
            ("an identifier that a secret can't be", acme().public_id(8, '.'), acme(), false),
            ("an identifier before a shorter secret", acme().leading_id(8).secret_length(24), acme(), true),
        ] {
            let (one, other) = (built(one), built(other));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (overlap, overlap), "{name}");
        }
    }

    #[test]
    fn a_text_starts_like_a_key_by_its_prefix_or_else_by_its_mark() {
        let secret = "0123456789abcdefghijklmnopqrstuv";
        for (format, text, starts) in [
            (KeyFormat::builder("acme_"), "acme_", true),
            (KeyFormat::builder("acme_"), "beta_", false),
            (KeyFormat::builder("acme_").modes("test_", "live_"), "acme_junk", true),
            (KeyFormat::builder("").modes("snb_", "prd_"), "snb_", true),
            (KeyFormat::builder("").modes("snb_", "prd_"), "prd_", true),
            (KeyFormat::builder("").modes("snb_", "prd_"), secret, false),
            (KeyFormat::unprefixed(), secret, true),
            (KeyFormat::unprefixed(), "junk", false),
            (KeyFormat::unprefixed().optional_modes("t_", "l_"), "t_junk", false),
        ] {
            assert_eq!(built(format.clone()).has_prefix(text), starts, "{text} of {format:?}");
        }
    }
}
