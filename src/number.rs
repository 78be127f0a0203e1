//! Numbers as header values.

use std::time::Duration;

use http::HeaderValue;

/// The decimal digits of a number. Up to 9999, which most limits are, they are there already: no allocation.
pub(crate) fn number(number: u64) -> HeaderValue {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number);
    match usize::try_from(number).ok().and_then(|number| DIGITS.get(number)) {
        Some(four) => HeaderValue::from_static(ascii(&four[4 - digits.len()..])),
        None => HeaderValue::from_str(digits).expect("digits are visible ASCII"),
    }
}

/// Seconds, rounded up: a client that waits that long has waited long enough.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

static DIGITS: [[u8; 4]; 10_000] = {
    let mut digits = [[0; 4]; 10_000];
    let mut number = 0;
    while number < 10_000 {
        digits[number] = [digit(number / 1000), digit(number / 100), digit(number / 10), digit(number)];
        number += 1;
    }
    digits
};

const fn digit(number: usize) -> u8 {
    b'0' + (number % 10) as u8
}

fn ascii(digits: &'static [u8]) -> &'static str {
    std::str::from_utf8(digits).expect("digits are ASCII")
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
