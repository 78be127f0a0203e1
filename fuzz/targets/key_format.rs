//! Parses texts as keys of a format, and generates keys of it.
//!
//! The first line describes the format, each further line is a text. At the end of a line, `#` stands for the right
//! checksum of what is before it.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use regex::{Regex, RegexBuilder};
use tower_api_keys::KeyFormat;
use tower_api_keys::key::{KeyFormatBuilder, MalformedKey, Mode};

fuzz_target!(|input: &str| check(input));

fn check(input: &str) {
    let mut lines = input.split('\n');
    let family = Family::read(lines.next().unwrap_or_default());
    let built = family.builder().build();
    assert_eq!(built.is_ok(), family.is_valid(), "{family:?}: {built:?}");
    let Ok(format) = built else { return };
    let pattern = compiled(&format.pattern());
    for line in lines.take(8) {
        check_text(&family, &format, &pattern, &completed(line));
    }
    for mode in [Mode::Live, Mode::Test] {
        let key = format.generate(mode).unwrap();
        let text = key.secret.expose_secret();
        let parsed = format.parse(text).unwrap_or_else(|error| panic!("{family:?} {text}: {error}"));
        assert_eq!(parsed.id, key.id, "{family:?} {text}");
        assert_eq!(parsed.mode, family.marks.as_ref().map(|_| mode), "{family:?} {text}");
        assert_eq!(key.id.is_some(), family.id.is_some(), "{family:?} {text}");
        check_text(&family, &format, &pattern, text);
        // A changed character is noticed, if there is a checksum.
        if family.checksum {
            let last = if text.ends_with('0') { "1" } else { "0" };
            assert!(
                format.parse(&format!("{}{last}", &text[..text.len() - 1])).is_err(),
                "{family:?} {text}"
            );
        }
    }
}

fn check_text(family: &Family, format: &KeyFormat, pattern: &Regex, text: &str) {
    let parsed = format.parse(text);
    match (&parsed, family.parse(text)) {
        (Ok(parsed), Some(key)) => {
            let id = parsed.id.map(|id| id.to_string());
            assert_eq!((id.as_deref(), parsed.mode), (key.id, key.mode), "{family:?} {text:?}");
            assert_eq!(parsed.secret, text);
            let quoted = format!("\"{text}\"");
            let found = pattern.find(&quoted).map(|found| found.as_str());
            assert_eq!(found, Some(text), "{family:?}: {pattern}");
            let mark = key.mode.map_or("", |mode| family.mark(mode));
            assert_eq!(format.hint(text), format!("{}{mark}…{}", family.prefix, &text[text.len() - 4..]));
        }
        (Err(error), None) => {
            assert!(family.has_fault(text, *error), "{family:?} {text:?}: {error:?}");
            assert_eq!(format.hint(text), "…");
        }
        (_, expected) => panic!("{family:?} {text:?}: {parsed:?}, and expected is {expected:?}"),
    }
}

/// A format as its documentation describes it.
#[derive(Debug, Default)]
struct Family {
    is_unprefixed: bool,
    prefix: String,
    marks: Option<Marks>,
    id: Option<(usize, Option<char>)>,
    secret: usize,
    lengths: Option<(usize, usize)>,
    others: String,
    checksum: bool,
}

#[derive(Debug)]
struct Marks {
    test: String,
    live: String,
    are_required: bool,
}

#[derive(Debug)]
struct Key<'t> {
    id: Option<&'t str>,
    mode: Option<Mode>,
}

impl Family {
    /// Reads `sk_ modes:test_:live_ id:16. secret:32 secrets:22:40 others:-_ checksum`, where all but the prefix may be
    /// missing.
    fn read(line: &str) -> Self {
        let mut words = line.split(' ');
        let prefix = words.next().unwrap_or_default().to_owned();
        let mut family = Self { prefix, secret: 32, ..Self::default() };
        let number = |text: &str| text.parse::<u16>().map_or(0, usize::from);
        for word in words {
            let (name, value) = word.split_once(':').unwrap_or((word, ""));
            let (one, two) = value.split_once(':').unwrap_or((value, ""));
            match name {
                "unprefixed" => family.is_unprefixed = true,
                "modes" | "optional" => {
                    let (test, live) = (one.to_owned(), two.to_owned());
                    family.marks = Some(Marks { test, live, are_required: name == "modes" });
                }
                "id" => {
                    let digits = one.trim_end_matches(|char: char| !char.is_ascii_digit());
                    family.id =
                        Some((number(digits), Some(one[digits.len()..].chars().next().unwrap_or('.'))));
                }
                "leading" => family.id = Some((number(one), None)),
                "secret" => family.secret = number(one),
                "secrets" => family.lengths = Some((number(one), number(two))),
                "others" => family.others = value.to_owned(),
                "checksum" => family.checksum = true,
                _ => {}
            }
        }
        if family.is_unprefixed {
            family.prefix.clear();
        }
        family
    }

    fn builder(&self) -> KeyFormatBuilder {
        let mut builder = match self.is_unprefixed {
            true => KeyFormat::unprefixed(),
            false => KeyFormat::builder(&self.prefix),
        };
        builder = match &self.marks {
            Some(Marks { test, live, are_required: true }) => builder.modes(test, live),
            Some(Marks { test, live, are_required: false }) => builder.optional_modes(test, live),
            None => builder,
        };
        builder = match self.id {
            Some((length, Some(separator))) => builder.public_id(length, separator),
            Some((length, None)) => builder.leading_id(length),
            None => builder,
        };
        builder = builder.secret_length(self.secret).other_characters(&self.others);
        if let Some((shortest, longest)) = self.lengths {
            builder = builder.secret_lengths(shortest..=longest);
        }
        if self.checksum { builder.checksum() } else { builder }
    }

    fn lengths(&self) -> (usize, usize) {
        self.lengths.unwrap_or((self.secret, self.secret))
    }

    fn mark(&self, mode: Mode) -> &str {
        let marks = self.marks.as_ref().unwrap();
        if mode == Mode::Live { &marks.live } else { &marks.test }
    }

    fn is_valid(&self) -> bool {
        let starts_well =
            |text: &str| is_word(text) && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        let is_beginning_valid = match &self.marks {
            _ if self.is_unprefixed => true,
            Some(marks) if marks.are_required && self.prefix.is_empty() => {
                starts_well(&marks.test) && starts_well(&marks.live)
            }
            _ => starts_well(&self.prefix),
        };
        let are_marks_valid = self.marks.as_ref().is_none_or(|Marks { test, live, are_required }| {
            // Without a mark, what follows the prefix must not look like one.
            let is_unmistakable = |mark: &str| mark.chars().any(|char| !self.is_of_secrets(char));
            let are_optional_ones_valid = is_unmistakable(test) && is_unmistakable(live);
            is_word(test)
                && is_word(live)
                && !test.starts_with(live.as_str())
                && !live.starts_with(test.as_str())
                && (*are_required || are_optional_ones_valid)
        });
        let is_id_valid = self.id.is_none_or(|(length, separator)| {
            let is_separator = |char| ".~+/".contains(char) && !self.others.contains(char);
            (8..=32).contains(&length) && separator.is_none_or(is_separator)
        });
        let (shortest, longest) = self.lengths();
        let longest_mark = self.marks.as_ref().map_or(0, |marks| marks.test.len().max(marks.live.len()));
        let parts = [
            self.prefix.len(),
            longest_mark,
            if self.id.is_some() { 33 } else { 0 },
            longest,
            if self.checksum { 6 } else { 0 },
        ];
        is_beginning_valid
            && are_marks_valid
            && is_id_valid
            && self.others.chars().all(|char| "-._~+/=".contains(char))
            && shortest >= 22
            && (shortest..=longest).contains(&self.secret)
            && parts.iter().sum::<usize>() <= 255
    }

    fn is_of_secrets(&self, char: char) -> bool {
        char.is_ascii_alphanumeric() || self.others.contains(char)
    }

    /// From its right end: first the checksum, then the secret, and last what is before it.
    fn parse<'t>(&self, text: &'t str) -> Option<Key<'t>> {
        if text.len() > 255 || !text.is_ascii() {
            return None;
        }
        let mut left = text;
        if self.checksum {
            let (body, sum) = left.split_at_checked(left.len().checked_sub(6)?)?;
            if sum != checksum(body) {
                return None;
            }
            left = body;
        }
        let head_end = match self.id {
            Some((_, Some(separator))) => left.rfind(separator)?,
            Some((length, None)) => self.after_mark(left)?.1 + length,
            None => self.after_mark(left)?.1,
        };
        let (head, tail) = left.split_at_checked(head_end)?;
        let secret = if matches!(self.id, Some((_, Some(_)))) { &tail[1..] } else { tail };
        let (shortest, longest) = self.lengths();
        if secret.len() < shortest
            || secret.len() > longest
            || !secret.chars().all(|char| self.is_of_secrets(char))
        {
            return None;
        }
        let (mode, end) = self.after_mark(head)?;
        let id = &head[end..];
        match self.id {
            None => id.is_empty().then_some(Key { id: None, mode }),
            Some(_) => (is_word(id) && id.len() <= 32).then_some(Key { id: Some(id), mode }),
        }
    }

    /// The mode, and where the mark ends.
    fn after_mark(&self, text: &str) -> Option<(Option<Mode>, usize)> {
        let rest = text.strip_prefix(&*self.prefix)?;
        let Some(marks) = &self.marks else { return Some((None, self.prefix.len())) };
        for mode in [Mode::Test, Mode::Live] {
            if rest.starts_with(self.mark(mode)) {
                return Some((Some(mode), self.prefix.len() + self.mark(mode).len()));
            }
        }
        (!marks.are_required).then_some((None, self.prefix.len()))
    }

    /// Whether a text that is no key has this fault.
    fn has_fault(&self, text: &str, fault: MalformedKey) -> bool {
        let rest = self.after_mark(text).map(|(_, end)| &text[end..]);
        match fault {
            MalformedKey::Prefix => !text.starts_with(&*self.prefix),
            MalformedKey::ModeMark => rest.is_none(),
            MalformedKey::PublicId => {
                let rest = rest.unwrap();
                let id = match self.id.unwrap() {
                    (_, Some(separator)) => rest.split(separator).next().filter(|id| id.len() < rest.len()),
                    (length, None) => rest.get(..length),
                };
                id.is_none_or(|id| !is_word(id) || id.len() > 32)
            }
            MalformedKey::Length => {
                let (shortest, longest) = self.lengths();
                let sum = if self.checksum { 6 } else { 0 };
                let secret = rest.map(|rest| match self.id {
                    Some((_, Some(separator))) => {
                        rest.split_once(separator).map_or(0, |(_, rest)| rest.len())
                    }
                    Some((length, None)) => rest.len() - length,
                    None => rest.len(),
                });
                text.len() > 255 || !(shortest + sum..=longest + sum).contains(&secret.unwrap())
            }
            MalformedKey::Alphabet => rest.unwrap().chars().any(|char| !self.is_of_secrets(char)),
            MalformedKey::Checksum => self.checksum && !text.ends_with(&checksum(&text[..text.len() - 6])),
            _ => false,
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn completed(line: &str) -> String {
    match line.strip_suffix('#') {
        Some(body) => format!("{body}{}", checksum(body)),
        None => line.to_owned(),
    }
}

/// CRC-32 (ISO 3309) a bit at a time, in base 62.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        for bit in 0..8 {
            let is_odd = (crc ^ u32::from(byte) >> bit) & 1 == 1;
            crc = crc >> 1 ^ if is_odd { 0xEDB8_8320 } else { 0 };
        }
    }
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let mut left = !crc;
    let mut sum = ['0'; 6];
    for place in sum.iter_mut().rev() {
        *place = digits[(left % 62) as usize];
        left /= 62;
    }
    sum.iter().collect()
}

/// Patterns take long to compile, and most inputs have one of a few.
fn compiled(pattern: &str) -> Regex {
    thread_local!(static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default());
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() > 500 {
            compiled.clear();
        }
        // Keys are ASCII, and its classes compile faster.
        let compile = || RegexBuilder::new(pattern).unicode(false).build().unwrap();
        compiled.entry(pattern.to_owned()).or_insert_with(compile).clone()
    })
}
