//! Numbers as header values, and in JSON.

use std::time::Duration;

use http::HeaderValue;

/// The decimal digits of a number. Numbers up to 9999, as most limits are, need no allocation.
pub(crate) fn number(number: u64) -> HeaderValue {
    let length = match number {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        1000..10_000 => 4,
        _ => {
            let mut buffer = itoa::Buffer::new();
            return HeaderValue::from_str(buffer.format(number)).expect("digits are visible ASCII");
        }
    };
    let end = 4 * (number as usize + 1);
    HeaderValue::from_static(&FOUR_DIGITS[end - length..end])
}

/// As a `u32`, or the largest there is.
pub(crate) fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Seconds, rounded up, so that a client never waits too short.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// `0000` to `9999`, concatenated.
static FOUR_DIGITS: &str = match std::str::from_utf8(&BYTES) {
    Ok(digits) => digits,
    Err(_) => panic!("digits are ASCII"),
};

static BYTES: [u8; 40_000] = {
    let mut bytes = [0; 40_000];
    let mut number = 0;
    while number < 10_000 {
        let mut place = 4;
        let mut rest = number;
        while place > 0 {
            place -= 1;
            bytes[4 * number + place] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        number += 1;
    }
    bytes
};

/// Serializes a time as seconds.
#[cfg(feature = "json")]
pub(crate) fn as_seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&time.map(|time| time.as_secs_f64()), serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_their_decimal_digits() {
        for case in (0..=12_000).chain([99_999, 1_048_575, 1_702_531_200, u64::MAX]) {
            assert_eq!(number(case), case.to_string().as_str());
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, seconds) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }
}
