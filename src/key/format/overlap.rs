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
