//! The one error detail that is sent, in protocol buffers encoding.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderValue;

/// A `google.rpc.Status` that contains a `google.rpc.RetryInfo`, as the value of a `-bin` field: Base64 without
/// padding.
///
/// ```text
/// message Status    { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; }
/// message Any       { string type_url = 1; bytes value = 2; }
/// message RetryInfo { google.protobuf.Duration retry_delay = 1; }
/// message Duration  { int64 seconds = 1; int32 nanos = 2; }
/// ```
pub(super) fn with_retry_info(code: u16, message: &str, delay: Duration) -> HeaderValue {
    // The longest Duration that is valid; as_secs() alone could be negative as an int64.
    let seconds = delay.as_secs().min(315_576_000_000);
    let retry_delay = [number(1, seconds), number(2, delay.subsec_nanos().into())].concat();
    let retry_info = bytes(1, &retry_delay);
    let any = [bytes(1, b"type.googleapis.com/google.rpc.RetryInfo"), bytes(2, &retry_info)].concat();
    let status = [number(1, code.into()), bytes(2, message.as_bytes()), bytes(3, &any)].concat();
    HeaderValue::try_from(STANDARD_NO_PAD.encode(status)).expect("Base64 is visible ASCII")
}

/// A field of wire type 0: a varint.
fn number(field: u8, value: u64) -> Vec<u8> {
    let mut encoded = vec![field << 3];
    push_varint(&mut encoded, value);
    encoded
}

/// A field of wire type 2: a length and that many bytes.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut encoded = vec![field << 3 | 2];
    push_varint(&mut encoded, value.len() as u64);
    encoded.extend_from_slice(value);
    encoded
}

/// Seven bits a byte, lowest first; the eighth bit means that more follow.
fn push_varint(encoded: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_match_the_encoding_guide() {
        for (value, want) in
            [(0, vec![0]), (1, vec![1]), (127, vec![0x7f]), (128, vec![0x80, 1]), (150, vec![0x96, 1])]
        {
            let mut encoded = Vec::new();
            push_varint(&mut encoded, value);
            assert_eq!(encoded, want, "{value}");
        }
    }

    #[test]
    fn a_status_with_retry_info() {
        let value = with_retry_info(8, "Slow", Duration::from_millis(300_500));
        let encoded = STANDARD_NO_PAD.decode(value.as_bytes()).unwrap();
        let mut want = vec![0x08, 8, 0x12, 4];
        want.extend(b"Slow");
        // 1 + 1 + 40 bytes of type URL, 1 + 1 + 11 bytes of RetryInfo.
        want.extend([0x1a, 55, 0x0a, 40]);
        want.extend(b"type.googleapis.com/google.rpc.RetryInfo");
        // 300 s and 500 000 000 ns.
        want.extend([0x12, 11, 0x0a, 9, 0x08, 0xac, 0x02, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01]);
        assert_eq!(encoded, want);
    }
}
