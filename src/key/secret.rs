use std::fmt;

use zeroize::Zeroizing;

/// A text that must not leak: a newly generated API key, or a pepper.
///
/// Wiped from memory when dropped. `Debug` prints `[redacted]`; there is no `Display`, `==`, `Clone` or
/// serialization. [`expose_secret`](Self::expose_secret) is the only access to the text, so every use can be found by
/// that name.
///
/// ```
/// use tower_api_keys::key::SecretString;
///
/// let secret = SecretString::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "[redacted]");
/// assert_eq!(secret.expose_secret(), "hunter2");
/// ```
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of `secret`. Copies made earlier, for instance by growing the string, are not wiped.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The text itself, to hand to the client once or to digest.
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// To write a secret in place. Growing the string would leave an unwiped copy, so reserve first.
    pub(super) fn as_mut_string(&mut self) -> &mut String {
        &mut self.0
    }
}

impl From<String> for SecretString {
    fn from(secret: String) -> Self {
        Self::new(secret)
    }
}

impl From<&str> for SecretString {
    fn from(secret: &str) -> Self {
        Self::new(secret.to_owned())
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_redacted_in_every_form() {
        let secret = SecretString::from("sk_live_abc");
        assert_eq!(
            format!("{secret:?} {secret:#?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
    }

    #[test]
    fn the_text_is_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wiped(&SecretString::from("sk_live_abc").0);
    }
}
