//! The field `Authorization`, which several schemes share.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::MalformedCredential;

/// The credential after `scheme` in the field `Authorization`; `None` if the field is missing or has another scheme.
///
/// The scheme is matched case-insensitively (RFC 9110 section 11.1) and followed by one or more spaces (section
/// 11.4); a tab is rejected. White space around the value is not part of it.
pub(super) fn credential<'r>(
    headers: &'r HeaderMap,
    scheme: &str,
    max_length: usize,
) -> Result<Option<&'r str>, MalformedCredential> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(MalformedCredential::Repeated);
    }
    let value = value.as_bytes().trim_ascii();
    // Only the extractor of the scheme reports what is wrong with the rest.
    let Some((named, rest)) = value.split_at_checked(scheme.len()) else { return Ok(None) };
    if !named.eq_ignore_ascii_case(scheme.as_bytes()) {
        return Ok(None);
    }
    match rest.first() {
        None => return Err(MalformedCredential::Empty),
        Some(b' ') => {}
        Some(b'\t') => return Err(MalformedCredential::Scheme),
        Some(_) => return Ok(None),
    }
    if value.len() > max_length {
        return Err(MalformedCredential::TooLong);
    }
    let credential = rest.trim_ascii_start();
    if !credential.iter().all(u8::is_ascii_graphic) {
        return Err(MalformedCredential::NotVisibleAscii);
    }
    if rest[..rest.len() - credential.len()].contains(&b'\t') {
        return Err(MalformedCredential::Scheme);
    }
    std::str::from_utf8(credential).map(Some).map_err(|_| MalformedCredential::NotVisibleAscii)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::credential::Credential;

    fn basic(values: &[&[u8]]) -> Result<Option<String>, MalformedCredential> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        credential(&headers, "Basic", Credential::MAX_LENGTH).map(|found| found.map(str::to_owned))
    }

    #[test]
    fn the_scheme_is_taken_in_any_case_and_spaces_follow_it() {
        for value in ["Basic abc=", "basic abc=", "BASIC abc=", "Basic   abc=", "  Basic abc= \t"] {
            assert_eq!(basic(&[value.as_bytes()]), Ok(Some("abc=".into())), "{value:?}");
        }
        for value in ["Bearer abc=", "Basicx abc=", "Basi", "", "x Basic abc="] {
            assert_eq!(basic(&[value.as_bytes()]), Ok(None), "{value:?}");
        }
        // U+212A, the Kelvin sign, and full-width letters are equal to ASCII letters only under other folding rules.
        assert_eq!(basic(&["Ｂasic abc=".as_bytes()]), Ok(None));
        assert_eq!(basic(&[b"Basic"]), Err(MalformedCredential::Empty));
        assert_eq!(basic(&[b"Basic   "]), Err(MalformedCredential::Empty));
        assert_eq!(basic(&[b"Basic\tabc="]), Err(MalformedCredential::Scheme));
        assert_eq!(basic(&[b"Basic \tabc="]), Err(MalformedCredential::Scheme));
    }

    #[test]
    fn the_credential_is_one_word_of_visible_ascii_in_one_line() {
        assert_eq!(basic(&[b"Basic abc=", b"Basic abc="]), Err(MalformedCredential::Repeated));
        assert_eq!(basic(&[b"Bearer x", b"Basic abc="]), Err(MalformedCredential::Repeated));
        assert_eq!(basic(&[b"Basic abc= def="]), Err(MalformedCredential::NotVisibleAscii));
        assert_eq!(basic(&[b"Basic abc=, Basic def="]), Err(MalformedCredential::NotVisibleAscii));
        assert_eq!(basic(&[b"Basic \xff"]), Err(MalformedCredential::NotVisibleAscii));
        let long = [b"Basic ".as_slice(), &[b'x'; Credential::MAX_LENGTH]].concat();
        assert_eq!(basic(&[&long]), Err(MalformedCredential::TooLong));
    }
}
