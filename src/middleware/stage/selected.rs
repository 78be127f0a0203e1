//! Where a request says for which organization it is.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use crate::rejection::Reason;

/// What the field says; `None` if it is missing or has nothing in it.
pub(super) fn in_header<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r [u8]>, Reason> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    // Equal lines as well: whatever stands behind may read another line than this does.
    if lines.next().is_some() {
        return Err(Reason::OrganizationMismatch);
    }
    // HTTP/1 leaves white space around a value out, HTTP/2 does not.
    Ok(Some(line.as_bytes().trim_ascii()).filter(|named| !named.is_empty()))
}

/// What the cookie says (RFC 6265 section 4.2.1); `None` if it is missing or has nothing in it.
///
/// HTTP/2 may send each cookie in a line of its own (RFC 9113 section 8.2.3). Two of the one name are set for different
/// paths or domains, and their order does not say which was meant.
pub(super) fn in_cookie<'r>(headers: &'r HeaderMap, name: &str) -> Result<Option<&'r [u8]>, Reason> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
        Some(value.trim_ascii())
    });
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Reason::OrganizationMismatch);
    }
    Ok(Some(value).filter(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_cookie_of_the_name_says() {
        type Said = Result<Option<&'static [u8]>, ()>;
        let cases: &[(&[&[u8]], Said)] = &[
            (&[], Ok(None)),
            (&[b"selected=acme"], Ok(Some(b"acme"))),
            (&[b"a=1; selected=acme; b=2"], Ok(Some(b"acme"))),
            (&[b"a=1;selected=acme"], Ok(Some(b"acme"))),
            (&[b"a=1", b"selected=acme"], Ok(Some(b"acme"))),
            (&[b"selected=ac=me"], Ok(Some(b"ac=me"))),
            (&[b"selected=\"acme\""], Ok(Some(b"\"acme\""))),
            (&[b"selected=\xff"], Ok(Some(b"\xff"))),
            (&[b"selected="], Ok(None)),
            (&[b"selected"], Ok(None)),
            (&[b"Selected=acme"], Ok(None)),
            (&[b"selected2=acme; notselected=acme"], Ok(None)),
            (&[b"selected=acme; selected=acme"], Err(())),
            (&[b"selected=acme; selected=other"], Err(())),
            (&[b"selected=acme", b"selected="], Err(())),
        ];
        for (lines, want) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            assert_eq!(in_cookie(&headers, "selected").map_err(|_| ()), *want, "{lines:?}");
        }
    }
}
