//! Keys, digests and peppers, through the public API.
#![allow(clippy::unwrap_used, reason = "clippy knows helpers of tests for no tests")]

use std::collections::HashSet;
use std::ops::RangeInclusive;

use proptest::prelude::*;
use regex::Regex;
use tower_api_keys::InvalidValue;
use tower_api_keys::key::{Digest, KeyFormat, KeyId, MalformedKey, Mode, Peppers, SecretString};

/// One format of each kind.
fn formats() -> Vec<KeyFormat> {
    [
        KeyFormat::builder("wfk_"),
        KeyFormat::builder("sk_").modes("test_", "live_").secret_lengths(22..=64),
        KeyFormat::builder("bk-").modes("test_", "live_").secret_length(24),
        KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(16, '.'),
        KeyFormat::builder("acme_").modes("t", "l").public_id(8, '~').checksum(),
        KeyFormat::builder("x").public_id(32, '+').secret_lengths(30..=40).checksum(),
        KeyFormat::builder("b64_").secret_length(44).other_characters("+/="),
    ]
    .into_iter()
    .map(|builder| builder.build().unwrap())
    .collect()
}

fn any_format() -> impl Strategy<Value = KeyFormat> {
    prop::sample::select(formats())
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(vec![Mode::Live, Mode::Test])
}

fn generate(format: &KeyFormat, mode: Mode) -> String {
    format.generate(mode).unwrap().secret.expose_secret().to_owned()
}

fn has_marks(format: &KeyFormat) -> bool {
    format.pattern().contains("(?:")
}

/// Whether the pattern matches all of `text`.
fn matches(format: &KeyFormat, text: &str) -> bool {
    let found = Regex::new(&format.pattern()).unwrap().find(text);
    found.is_some_and(|found| found.as_str() == text)
}

/// Pieces of keys, junk, and look-alike letters.
fn near_key() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => prop::sample::select(vec![
            "sk_", "bk-", "wfk_", "acme_", "x", "test_", "live_", "t", "l", ".", "~", "+", "_", "-", " ", "\0", "é",
            "sk_live_", "ſk_", "\u{ff53}k_", "Sk_", "", "'; --",
        ]).prop_map(str::to_owned),
        3 => "[A-Za-z0-9]{32}",
        1 => "[A-Za-z0-9_-]{0,40}",
        1 => ".{0,40}",
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_generated_key_parses_back_and_is_found_by_scanners(format in any_format(), mode in any_mode()) {
        let key = format.generate(mode).unwrap();
        let text = key.secret.expose_secret();
        let parsed = format.parse(text).unwrap();
        prop_assert_eq!(parsed.id, key.id);
        prop_assert_eq!(parsed.mode, has_marks(&format).then_some(mode));
        prop_assert_eq!(parsed.secret, text);
        prop_assert!(matches(&format, text));

        let line = format!("KEY=\"{text}\"; # rotate");
        let found = Regex::new(&format.pattern()).unwrap().find(&line).map(|found| found.as_str());
        prop_assert_eq!(found, Some(text));
    }

    #[test]
    fn a_rotated_key_keeps_its_id_and_changes_its_secret(
        format in any_format(), mode in any_mode(), id in "[A-Za-z0-9_-]{1,32}",
    ) {
        let id: KeyId = id.parse().unwrap();
        let [first, second] = [(); 2].map(|()| format.generate_with_id(mode, &id).unwrap());
        prop_assert_ne!(first.secret.expose_secret(), second.secret.expose_secret());
        for key in [first, second] {
            let parsed = format.parse(key.secret.expose_secret()).unwrap();
            prop_assert_eq!(parsed.id, key.id);
            prop_assert!(key.id.is_none_or(|written| written == id));
        }
    }

    #[test]
    fn junk_never_panics_and_scanners_find_exactly_what_parses(format in any_format(), text in near_key()) {
        if let Ok(parsed) = format.parse(&text) {
            prop_assert!(matches(&format, &text));
            prop_assert_eq!(parsed.secret, text.as_str());
        }
        format.hint(&text);
    }

    #[test]
    fn every_scanner_match_parses(index in 0..3_usize, text in near_key()) {
        // The formats without a checksum, which patterns do not check.
        let format = &formats()[index];
        prop_assert_eq!(format.parse(&text).is_ok(), matches(format, &text));
    }

    #[test]
    fn a_changed_character_never_passes_the_checksum(
        mode in any_mode(), at in any::<prop::sample::Index>(), to in any::<char>(),
    ) {
        let format = &formats()[4];
        let key = generate(format, mode);
        let at = at.index(key.len());
        let mut changed = key.clone();
        changed.replace_range(at..at + 1, to.encode_utf8(&mut [0; 4]));
        prop_assert_eq!(format.parse(&changed).is_ok(), changed == key);
    }

    #[test]
    fn a_changed_key_is_malformed_or_has_another_digest(
        format in any_format(), mode in any_mode(), at in any::<prop::sample::Index>(), to in any::<char>(),
    ) {
        let key = generate(&format, mode);
        let at = at.index(key.len());
        let mut changed = key.clone();
        changed.replace_range(at..at + 1, to.encode_utf8(&mut [0; 4]));
        prop_assume!(changed != key);
        if let Ok(parsed) = format.parse(&changed) {
            let peppers = Peppers::none();
            prop_assert!(!peppers.digest(parsed.secret).ct_eq(&peppers.digest(&key)));
        }
    }

    #[test]
    fn no_removed_added_or_case_folded_character_is_accepted(format in any_format(), mode in any_mode()) {
        let format = KeyFormat::clone(&format);
        let key = generate(&format, mode);
        for padding in [" ", "\n", "\0", "=", "\u{301}", "."] {
            let (after, before) = (format!("{key}{padding}"), format!("{padding}{key}"));
            prop_assert!(format.parse(&after).is_err());
            prop_assert!(format.parse(&before).is_err());
        }
        for longer in [format!("a{key}"), key.to_uppercase()] {
            prop_assert!(format.parse(&longer).is_err());
            prop_assert!(!matches(&format, &longer));
        }
    }

    /// CVE-2026-35030: tokens were compared by their first 20 characters only.
    #[test]
    fn a_long_shared_prefix_does_not_make_keys_alike(
        shared in "[A-Za-z0-9]{0,200}", a in "[A-Za-z0-9]{1,32}", b in "[A-Za-z0-9]{1,32}",
    ) {
        prop_assume!(a != b);
        for peppers in [Peppers::none(), Peppers::new(1, pepper('a')).unwrap()] {
            let [a, b] = [&a, &b].map(|end| peppers.digest(&format!("{shared}{end}")));
            prop_assert!(!a.ct_eq(&b));
            prop_assert_ne!(a, b);
        }
    }

    /// Equal differences in several words must not cancel each other out.
    #[test]
    fn digests_that_differ_alike_in_several_words_are_different(
        bytes: [u8; 32], difference in 1..=u64::MAX, words in 1..16_u8, id: u32,
    ) {
        let mut other = bytes;
        for (word, bytes) in other.chunks_exact_mut(8).enumerate().filter(|(word, _)| words >> word & 1 == 1) {
            let changed = u64::from_ne_bytes(bytes.try_into().unwrap()) ^ difference;
            bytes.copy_from_slice(&changed.to_ne_bytes());
            prop_assert!(word < 4);
        }
        let plain = |bytes| Digest::from_parts(None, bytes);
        prop_assert!(!plain(bytes).ct_eq(&plain(other)));
        prop_assert_ne!(plain(bytes), plain(other));
        // A pepper and a word that differ by the same number.
        let mut other = bytes;
        let tag = 1 << 32 | u64::from(id);
        other[..8].copy_from_slice(&(u64::from_ne_bytes(bytes[..8].try_into().unwrap()) ^ tag).to_ne_bytes());
        prop_assert!(!plain(bytes).ct_eq(&Digest::from_parts(Some(id), other)));
    }

    #[test]
    fn constant_time_comparison_equals_plain_comparison(
        bytes: [u8; 32], other: [u8; 32], bit in 0..256_usize, ids: (u32, u32),
    ) {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut digests = Vec::new();
        for bytes in [bytes, other, flipped] {
            for pepper_id in pepper_ids(ids) {
                digests.push(Digest::from_parts(pepper_id, bytes));
            }
        }
        for a in &digests {
            for b in &digests {
                prop_assert_eq!(a.ct_eq(b), a == b);
            }
        }
    }

    #[test]
    fn a_digest_round_trips_through_text_and_json(bytes: [u8; 32], ids: (u32, u32)) {
        for pepper_id in pepper_ids(ids) {
            let digest = Digest::from_parts(pepper_id, bytes);
            let text = digest.to_string();
            prop_assert_eq!(text.parse(), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(&json, &format!("\"{text}\""));
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }

    #[test]
    fn a_digest_has_one_text_and_junk_never_panics(
        text in "(sha256:|hmac-sha256:|SHA256:|md5:|)([0-9]{0,11}:|\\+1:)?([0-9a-f]{60,68}|[0-9a-fA-F]{64}|.{0,70})",
    ) {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text);
        }
    }
}

fn pepper_ids((a, b): (u32, u32)) -> [Option<u32>; 4] {
    [None, Some(0), Some(a), Some(b)]
}

fn pepper(fill: char) -> SecretString {
    SecretString::new(fill.to_string().repeat(32))
}

#[test]
fn generated_keys_do_not_repeat() {
    let format = KeyFormat::new("wfk_").unwrap();
    let keys: HashSet<_> = (0..1_000).map(|_| generate(&format, Mode::Live)).collect();
    assert_eq!(keys.len(), 1_000);
}

#[test]
fn parsing_names_the_first_fault() {
    let secret = "0123456789abcdefghijklmnopqrstuv";
    let plain = KeyFormat::new("wfk_").unwrap();
    let modes = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let id = KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(8, '.').build().unwrap();
    let sum = KeyFormat::builder("acme_").checksum().build().unwrap();
    for (name, format, text, fault) in [
        ("empty", &plain, String::new(), MalformedKey::Prefix),
        ("other prefix", &plain, format!("sk_{secret}"), MalformedKey::Prefix),
        ("prefix in capitals", &plain, format!("WFK_{secret}"), MalformedKey::Prefix),
        ("256 bytes", &id, format!("sk_{}.{secret}", "a".repeat(220)), MalformedKey::Length),
        ("prefix alone", &plain, "wfk_".to_owned(), MalformedKey::Length),
        ("one short", &plain, format!("wfk_{}", &secret[1..]), MalformedKey::Length),
        ("one long", &plain, format!("wfk_{secret}0"), MalformedKey::Length),
        ("underscore", &plain, format!("wfk__{}", &secret[1..]), MalformedKey::Alphabet),
        ("two-byte letter", &plain, format!("wfk_é{}", &secret[2..]), MalformedKey::Alphabet),
        ("line break", &plain, format!("wfk_{}\n", &secret[1..]), MalformedKey::Alphabet),
        ("no mark", &modes, format!("sk_{secret}"), MalformedKey::ModeMark),
        ("mark in capitals", &modes, format!("sk_LIVE_{secret}"), MalformedKey::ModeMark),
        ("two marks", &modes, format!("sk_live_test_{secret}"), MalformedKey::Length),
        ("no separator", &id, format!("sk_{secret}"), MalformedKey::PublicId),
        ("empty id", &id, format!("sk_.{secret}"), MalformedKey::PublicId),
        ("empty id after a mark", &id, format!("sk_live_.{secret}"), MalformedKey::PublicId),
        ("id of 33", &id, format!("sk_{secret}0.{secret}"), MalformedKey::PublicId),
        ("id with a space", &id, format!("sk_a b.{secret}"), MalformedKey::PublicId),
        ("second separator", &id, format!("sk_a.b.{}", &secret[2..]), MalformedKey::Alphabet),
        ("empty secret", &id, "sk_a.".to_owned(), MalformedKey::Length),
        ("checksum missing", &sum, format!("acme_{secret}"), MalformedKey::Length),
        ("shorter than a checksum", &sum, "acme_abc".to_owned(), MalformedKey::Length),
        ("checksum wrong", &sum, format!("acme_{secret}000000"), MalformedKey::Checksum),
    ] {
        assert_eq!(format.parse(&text).err(), Some(fault), "{name}");
        assert!(fault.to_string().is_ascii() && !fault.to_string().contains(secret));
        assert_eq!(format.hint(&text), "…", "{name}");
    }
}

#[test]
fn an_optional_mark_may_be_absent_and_the_id_ends_at_the_first_separator() {
    let format =
        KeyFormat::builder("sk_").optional_modes("test_", "live_").public_id(8, '.').build().unwrap();
    let secret = "0123456789abcdefghijklmnopqrstuv";
    for (text, mode, id) in [
        (format!("sk_k-1.{secret}"), None, "k-1"),
        (format!("sk_live_k_1.{secret}"), Some(Mode::Live), "k_1"),
        (format!("sk_test_live_.{secret}"), Some(Mode::Test), "live_"),
        (format!("sk_live.{secret}"), None, "live"),
    ] {
        let parsed = format.parse(&text).unwrap();
        assert_eq!((parsed.mode, parsed.id), (mode, Some(id.parse().unwrap())), "{text}");
    }
}

#[test]
fn an_edited_mode_mark_changes_the_digest() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
    let test = generate(&format, Mode::Test);
    let edited = test.replace("test_", "live_");
    assert_eq!(format.parse(&edited).unwrap().mode, Some(Mode::Live));
    assert_ne!(
        Peppers::none().digest(format.parse(&edited).unwrap().secret),
        Peppers::none().digest(format.parse(&test).unwrap().secret)
    );
}

#[test]
fn checksum_known_answer() {
    // Computed with zlib.crc32 of Python.
    let format = KeyFormat::builder("acme_").modes("test_", "live_").checksum().build().unwrap();
    assert!(format.parse("acme_live_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123451EfjwT").is_ok());
}

#[test]
fn patterns_find_whole_keys_only() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(8, '.').build().unwrap();
    assert_eq!(format.pattern(), r"\bsk_(?:test_|live_)[A-Za-z0-9_-]{1,32}[.][A-Za-z0-9]{32}\b");
    let secret = "0123456789abcdefghijklmnopqrstuv";
    for text in [
        format!("pk_live_a.{secret}"),
        format!("task_live_a.{secret}"),
        format!("sk_live_a.{secret}0"),
        format!("sk_live_a.{}", &secret[1..]),
        format!("sk_live_a-{secret}"),
        format!("sk_prod_a.{secret}"),
        format!("sk_live_.{secret}"),
    ] {
        assert!(!Regex::new(&format.pattern()).unwrap().is_match(&text), "{text}");
    }
    let lengths = KeyFormat::builder("x").secret_lengths(22..=40).checksum().build().unwrap();
    assert_eq!(lengths.pattern(), r"\bx[A-Za-z0-9]{28,46}\b");
    let optional = KeyFormat::builder("sk_").optional_modes("test_", "live_").build().unwrap();
    assert_eq!(optional.pattern(), r"\bsk_(?:test_|live_)?[A-Za-z0-9]{32}\b");
    let marked = KeyFormat::builder("").modes("snb_", "prd_").public_id(8, '.').build().unwrap();
    assert_eq!(marked.pattern(), r"\b(?:snb_|prd_)[A-Za-z0-9_-]{1,32}[.][A-Za-z0-9]{32}\b");
    let others = KeyFormat::builder("sk_").other_characters("-._").build().unwrap();
    assert_eq!(others.pattern(), r"\bsk_[A-Za-z0-9._-]{32}");
}

/// A hyphen is no part of a word.
#[test]
fn patterns_find_keys_that_begin_or_end_with_a_hyphen() {
    let secret = "0123456789abcdefghijkl";
    let of = || KeyFormat::unprefixed().secret_length(22);
    let others = || of().other_characters("-");
    for (format, key) in [
        (of().public_id(8, '.'), format!("-bcdefgh.{secret}")),
        (of().leading_id(8), format!("-bcdefgh{secret}")),
        (of().modes("-t_", "-l_"), format!("-l_{secret}")),
        (of().optional_modes("-t_", "-l_"), format!("-t_{secret}")),
        (of().optional_modes("t_", "l_").leading_id(8), format!("--------{secret}")),
        (of().modes("t_", "l_").leading_id(8), format!("l_--------{secret}")),
        (others(), format!("-{}", &secret[1..])),
        (others(), format!("{}-", &secret[1..])),
        (others().public_id(8, '.'), format!("a.{}-", &secret[1..])),
        (KeyFormat::builder("sk-").secret_length(22).other_characters("-"), format!("sk--{}-", &secret[2..])),
    ] {
        let format = format.build().unwrap();
        assert!(format.parse(&key).is_ok(), "{key}");
        for text in [key.clone(), format!("key=\"{key}\""), format!("({key})")] {
            let found =
                Regex::new(&format.pattern()).unwrap().find(&text).map(|found| found.as_str().to_owned());
            assert_eq!(found.as_ref(), Some(&key), "{} in {text}", format.pattern());
        }
    }
}

#[test]
fn a_mode_mark_can_replace_the_prefix() {
    let format = KeyFormat::builder("").modes("snb_", "prd_").build().unwrap();
    assert_eq!(format.pattern(), r"\b(?:snb_|prd_)[A-Za-z0-9]{32}\b");
    for (mode, mark) in [(Mode::Test, "snb_"), (Mode::Live, "prd_")] {
        let made = format.generate(mode).unwrap();
        let text = made.secret.expose_secret();
        assert!(text.starts_with(mark) && text.len() == 4 + 32, "{text}");
        assert_eq!(format.parse(text).unwrap().mode, Some(mode));
        assert_eq!(format.hint(text), format!("{mark}…{}", &text[32..]));
        assert_eq!(format.parse(&text[4..]).unwrap_err(), MalformedKey::ModeMark);
    }
}

#[test]
fn invalid_formats_do_not_build() {
    const PREFIX: &str = "a prefix is letters, digits, _ and -, and a key starts with a letter or digit";
    const MODE_MARK: &str = "mode marks are letters, digits, _ and -, and none starts with the other";
    const PUBLIC_ID_LENGTH: &str = "the length of a public id is 8 to 32";
    const SEPARATOR: &str = "the separator is one of . ~ + /";
    const AMONG_SECRETS: &str = "the separator is not one of the characters of secrets";
    const CHARACTERS: &str = "a secret has letters, digits, and others of - . _ ~ + / = only";
    const SECRET_LENGTH: &str = "the length of generated secrets is not among the accepted ones";
    let weak = format!("a secret has at least {} letters and digits", KeyFormat::MIN_SECRET_LENGTH);
    let too_long = format!("a key has at most {} bytes", KeyFormat::MAX_LENGTH);
    let long = "p".repeat(224);
    for (name, builder, fault) in [
        ("empty prefix", KeyFormat::builder(""), PREFIX),
        ("prefix with a space", KeyFormat::builder("s k_"), PREFIX),
        ("prefix with a regex character", KeyFormat::builder("sk."), PREFIX),
        ("prefix beyond ASCII", KeyFormat::builder("clé_"), PREFIX),
        ("prefix no scanner sees", KeyFormat::builder("-sk"), PREFIX),
        (
            "nothing but a mark that may be missing",
            KeyFormat::builder("").optional_modes("snb_", "prd_"),
            PREFIX,
        ),
        ("nothing but a mark no scanner sees", KeyFormat::builder("").modes("snb_", "-prd"), PREFIX),
        ("empty mark", KeyFormat::builder("sk_").modes("", "live_"), MODE_MARK),
        ("same marks", KeyFormat::builder("sk_").modes("m_", "m_"), MODE_MARK),
        ("nested marks", KeyFormat::builder("sk_").modes("t", "test"), MODE_MARK),
        ("nested marks", KeyFormat::builder("sk_").modes("test", "t"), MODE_MARK),
        ("odd mark", KeyFormat::builder("sk_").optional_modes("t|", "l"), MODE_MARK),
        ("odd mark of tests", KeyFormat::builder("sk_").modes("t|", "l"), MODE_MARK),
        ("odd mark of live keys", KeyFormat::builder("sk_").modes("t", "l|"), MODE_MARK),
        ("id too short", KeyFormat::builder("sk_").public_id(7, '.'), PUBLIC_ID_LENGTH),
        ("id too long", KeyFormat::builder("sk_").public_id(33, '.'), PUBLIC_ID_LENGTH),
        ("separator of ids", KeyFormat::builder("sk_").public_id(8, '_'), SEPARATOR),
        ("separator of Basic", KeyFormat::builder("sk_").public_id(8, ':'), SEPARATOR),
        (
            "separator in secrets",
            KeyFormat::builder("sk_").public_id(8, '.').other_characters("-."),
            AMONG_SECRETS,
        ),
        ("leading id too short", KeyFormat::unprefixed().leading_id(7), PUBLIC_ID_LENGTH),
        ("space in secrets", KeyFormat::builder("sk_").other_characters(" "), CHARACTERS),
        ("colon in secrets", KeyFormat::builder("sk_").other_characters("-:"), CHARACTERS),
        ("letter beyond ASCII in secrets", KeyFormat::builder("sk_").other_characters("é"), CHARACTERS),
        (
            "a mark that a secret can start with",
            KeyFormat::builder("sk_").optional_modes("test_", "live_").other_characters("_"),
            MODE_MARK,
        ),
        ("short UUID", KeyFormat::unprefixed().secret_length(21).other_characters("-"), &weak),
        ("short secret", KeyFormat::builder("sk_").secret_length(21), &weak),
        ("short ones read", KeyFormat::builder("sk_").secret_lengths(6..=64), &weak),
        ("32 not read", KeyFormat::builder("sk_").secret_lengths(40..=64), SECRET_LENGTH),
        ("none read", KeyFormat::builder("sk_").secret_lengths(RangeInclusive::new(64, 22)), SECRET_LENGTH),
        ("256 bytes", KeyFormat::builder(&long), &too_long),
        ("256 bytes with the longest id", KeyFormat::builder(&long[33..]).public_id(8, '.'), &too_long),
        ("overflow", KeyFormat::builder("sk_").secret_length(usize::MAX), &too_long),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!((error.kind(), error.to_string()), ("key format", fault.into()), "{name}");
    }
    assert_eq!(KeyFormat::new("").unwrap_err().to_string(), PREFIX, "the short way");
    assert_eq!(KeyFormat::new(&long).unwrap_err().to_string(), too_long, "the short way");
    assert!(KeyFormat::new(&long[1..]).is_ok());
    assert!(KeyFormat::builder(&long[34..]).public_id(8, '.').build().is_ok());
    assert!(KeyFormat::builder("sk_").secret_length(22).build().is_ok());
}

/// The formats of keys that other systems make, with one of their keys.
fn foreign() -> [(&'static str, KeyFormat, &'static str); 6] {
    [
        (
            "a UUID",
            KeyFormat::unprefixed().secret_length(36).other_characters("-"),
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        ),
        (
            "base64url",
            KeyFormat::unprefixed().secret_length(43).other_characters("-_"),
            "-_lPV6N9Qb3ZkY2xhc3NfYmFzZTY0dXJsX2tleV8wMT",
        ),
        (
            "base64",
            KeyFormat::builder("sk_").secret_length(44).other_characters("+/="),
            "sk_+/lPV6N9Qb3ZkY2xhc3NfYmFzZTY0dXJsX2tleV8wMT=",
        ),
        (
            "hexadecimal",
            KeyFormat::unprefixed().secret_length(40),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ),
        (
            "an identifier and a dot",
            KeyFormat::unprefixed().public_id(8, '.'),
            "tN8qJz0b.1a2b3c4d5e6f7g8h9i0jklmnopqrstuv",
        ),
        (
            "first characters as the identifier",
            KeyFormat::builder("sk_live_").leading_id(8).other_characters("-_"),
            "sk_live_AbCd_123xyz-0123456789abcdefghijklmn_--z",
        ),
    ]
    .map(|(name, builder, key)| (name, builder.build().unwrap(), key))
}

#[test]
fn keys_of_other_systems_parse_as_they_are() {
    let ids = foreign().map(|(name, format, key)| {
        let parsed = format.parse(key).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed.secret, key, "{name}: the whole key is digested");
        assert!(matches(&format, key), "{name}: {}", format.pattern());
        assert!(format.hint(key).ends_with(&key[key.len() - 4..]), "{name}");
        for text in [
            &key[..key.len() - 1],
            &format!("{key}0"),
            &key.replace('0', " "),
            &key.replace('0', "é"),
            &key.replace('0', "\0"),
        ] {
            assert!(format.parse(text).is_err(), "{name}: {text:?}");
        }
        parsed.id.map(|id| id.to_string())
    });
    let [.., dotted, leading] = ids;
    assert_eq!((dotted.as_deref(), leading.as_deref()), (Some("tN8qJz0b"), Some("AbCd_123")));
}

#[test]
fn a_new_key_in_a_format_of_another_system_has_at_least_128_bits() {
    for (name, format, _) in foreign() {
        let made = format.generate(Mode::Live).unwrap();
        let text = made.secret.expose_secret();
        assert_eq!(format.parse(text).unwrap().id, made.id, "{name}");
        let random = text.len() - format.hint(text).chars().count() + 5;
        assert!(random >= KeyFormat::MIN_SECRET_LENGTH, "{name}: {random} of 62 letters and digits");
    }
    let leading = KeyFormat::builder("sk_").leading_id(8).build().unwrap();
    let id = "of_another_length".parse().unwrap();
    assert!(leading.generate_with_id(Mode::Live, &id).is_err(), "its key would be read as another's");
    let weak = KeyFormat::unprefixed().secret_length(16).other_characters("-");
    assert!(weak.build().is_err(), "16 characters have too few bits");
}

#[test]
fn a_hint_shows_prefix_mark_and_last_four() {
    let format = KeyFormat::builder("sk_").optional_modes("test_", "live_").build().unwrap();
    let secret = "0123456789abcdefghijklmnopqrSTUV";
    assert_eq!(format.hint(&format!("sk_test_{secret}")), "sk_test_…STUV");
    assert_eq!(format.hint(&format!("sk_{secret}")), "sk_…STUV");
    assert_eq!(format.hint("password123"), "…");
}

#[test]
fn corrupt_digests_are_errors() {
    const ALGORITHM: &str = "a digest starts with sha256: or hmac-sha256:";
    const PEPPER_ID: &str = "the pepper id of a digest is a number from 0 to 4294967295";
    const BYTES: &str = "a digest ends in 64 lower-case hexadecimal digits";
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (name, text, fault) in [
        ("empty", String::new(), ALGORITHM),
        ("no algorithm", hex.to_owned(), ALGORITHM),
        ("unknown algorithm", format!("md5:{hex}"), ALGORITHM),
        ("capital algorithm", format!("SHA256:{hex}"), ALGORITHM),
        ("space before", format!(" sha256:{hex}"), ALGORITHM),
        ("short", format!("sha256:{}", &hex[2..]), BYTES),
        ("odd", format!("sha256:{}", &hex[1..]), BYTES),
        ("long", format!("sha256:{hex}00"), BYTES),
        ("capital hexadecimal", format!("sha256:{}", hex.to_uppercase()), BYTES),
        ("not hexadecimal", format!("sha256:g{}", &hex[1..]), BYTES),
        ("beyond ASCII, 64 bytes", format!("sha256:é{}", &hex[2..]), BYTES),
        ("line break", format!("sha256:{hex}\n"), BYTES),
        ("pepper with SHA-256", format!("sha256:1:{hex}"), BYTES),
        ("no pepper", format!("hmac-sha256:{hex}"), PEPPER_ID),
        ("empty pepper", format!("hmac-sha256::{hex}"), PEPPER_ID),
        ("pepper too large", format!("hmac-sha256:4294967296:{hex}"), PEPPER_ID),
        ("pepper with a sign", format!("hmac-sha256:+1:{hex}"), PEPPER_ID),
        ("pepper with a zero", format!("hmac-sha256:01:{hex}"), PEPPER_ID),
        ("pepper with other digits", format!("hmac-sha256:١:{hex}"), PEPPER_ID),
        ("short under a pepper", format!("hmac-sha256:1:{}", &hex[2..]), BYTES),
    ] {
        assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), fault, "{name}");
        let json = serde_json::to_string(&text).unwrap();
        let error = serde_json::from_str::<Digest>(&json).unwrap_err().to_string();
        assert!(error.starts_with(fault), "{name}: {error}");
    }
    assert!(
        "hmac-sha256:4294967295:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            .parse::<Digest>()
            .is_ok()
    );
}

#[test]
fn the_whole_key_is_digested_as_sent() {
    for peppers in [Peppers::none(), Peppers::new(1, pepper('a')).unwrap()] {
        for other in ["key ", " key", "KEY", "key\0", "ke", ""] {
            assert_ne!(peppers.digest(other), peppers.digest("key"), "{other:?}");
        }
    }
}

#[test]
fn a_sha256_of_another_system_is_read_in_each_spelling_and_kept_in_one() {
    let digest = Peppers::none().digest("abc");
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let base64 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0";
    let base64url = base64.replace('+', "-").replace('/', "_");
    for text in
        [hex, &hex.to_uppercase(), base64, &format!("{base64}="), &base64url, &format!("{base64url}=")]
    {
        let read = Digest::from_sha256(text).unwrap();
        assert_eq!((read, read.to_string()), (digest, digest.to_string()), "{text}");
    }
    for text in [
        "",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        &hex[1..],
        &hex.replace('b', "g"),
        &format!("{base64}=="),
        &format!(" {base64}"),
        &base64[1..],
        &base64.replace('+', "-"),
        &base64.replace("a0", "a1"),
        &base64.replace("a0", "é"),
    ] {
        assert!(Digest::from_sha256(text).is_err(), "{text}");
    }
}

#[test]
fn sha256_known_answers() {
    // NIST, "Examples with Intermediate Values": SHA-256.
    for (text, hex) in [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ] {
        assert_eq!(Peppers::none().digest(text).to_string(), format!("sha256:{hex}"));
    }
}

#[test]
fn candidates_contain_every_pepper_with_the_current_one_first() {
    let peppers = Peppers::new(3, pepper('c'))
        .and_then(|peppers| peppers.with_previous(1, pepper('a')))
        .and_then(|peppers| peppers.accept_unpeppered().with_previous(2, pepper('b')))
        .unwrap()
        .accept_unpeppered();
    let candidates = peppers.candidates("key");
    let pepper_ids: Vec<_> = candidates.iter().map(Digest::pepper_id).collect();
    assert_eq!(pepper_ids, [Some(3), Some(1), None, Some(2)]);
    assert_eq!(candidates[0], peppers.digest("key"));
    for digest in candidates.iter() {
        assert_eq!(peppers.digest_with("key", digest.pepper_id()), Some(*digest));
        assert_eq!(peppers.is_current(digest), *digest == candidates[0]);
    }
    assert_eq!(Peppers::none().accept_unpeppered().candidates("key").len(), 1);
    assert_eq!(candidates[1], Peppers::new(1, pepper('a')).unwrap().digest("key"));
    assert_eq!(candidates[2], Peppers::none().digest("key"));
}

#[test]
fn a_digest_of_a_removed_pepper_no_longer_verifies() {
    let peppers = Peppers::new(2, pepper('b')).unwrap();
    assert_eq!(peppers.digest_with("key", Some(1)), None);
    assert_eq!(peppers.digest_with("key", None), None);
    assert_eq!(peppers.candidates("key").len(), 1);
    // The same pepper under another id does not count as the same.
    let renamed = Peppers::new(1, pepper('b')).unwrap();
    assert!(!renamed.digest("key").ct_eq(&peppers.digest("key")));
}

#[test]
fn empty_short_repeated_and_too_many_peppers_are_errors() {
    fn error(peppers: Result<Peppers, InvalidValue>) -> String {
        peppers.unwrap_err().to_string()
    }
    const TOO_SHORT: &str = "a pepper has at least 32 bytes";
    assert_eq!(error(Peppers::new(1, SecretString::from(""))), TOO_SHORT);
    assert_eq!(error(Peppers::new(1, SecretString::new("p".repeat(31)))), TOO_SHORT);
    let peppers = Peppers::new(1, pepper('a')).unwrap();
    assert_eq!(error(peppers.clone().with_previous(2, SecretString::from(""))), TOO_SHORT);
    assert_eq!(error(peppers.clone().with_previous(1, pepper('b'))), "two peppers have the id 1");
    let full = peppers.with_previous(2, pepper('b')).unwrap().with_previous(3, pepper('c')).unwrap();
    assert_eq!(error(full.clone().with_previous(4, pepper('d'))), "more than three peppers");
    assert_eq!(full.accept_unpeppered().candidates("key").len(), 4);
}

#[test]
fn going_back_to_no_pepper_keeps_the_peppered_keys() {
    let id = 1;
    let stored = Peppers::new(id, pepper('a')).unwrap().digest("key");
    let peppers = Peppers::none().with_previous(id, pepper('a')).unwrap();
    assert!(peppers.candidates("key").contains(&stored));
    assert!(!peppers.is_current(&stored));
}

#[test]
fn debug_shows_no_secret() {
    let id = 7;
    let peppers = Peppers::new(id, pepper('p')).unwrap().accept_unpeppered();
    assert_eq!(format!("{peppers:?}"), "Peppers[hmac-sha256:7, sha256]");
    assert_eq!(format!("{:?}", peppers.candidates("key")), "[Digest(hmac-sha256:7), Digest(sha256)]");

    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(8, '.').build().unwrap();
    let key = format.generate_with_id(Mode::Live, &"k7Jc0qWv".parse().unwrap()).unwrap();
    assert_eq!(format!("{key:?}"), "GeneratedKey { id: Some(KeyId(k7Jc0qWv)), secret: [redacted] }");
    let parsed = format.parse(key.secret.expose_secret()).unwrap();
    assert_eq!(format!("{parsed:?}"), "ParsedKey { id: Some(KeyId(k7Jc0qWv)), mode: Some(Live), .. }");
    assert_eq!(format!("{:?}", SecretString::from("pppp")), "[redacted]");
}
