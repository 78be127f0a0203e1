use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConstantTimeEq};

use crate::InvalidValue;
use crate::clock::Timestamp;
use crate::identity::Principal;
use crate::key::{Digest, HmacSha256, KeyId, Mode, Owner, SecretString, Tenant};

/// Issues and verifies session tokens: short-lived credentials in place of a companion's secret, without a store.
///
/// A client that has presented its key and a companion's secret (see [`Companions`](crate::credential::Companions)) gets a
/// token from [`issue`](Self::issue). From then on it presents its key and the token.
///
/// A token is worth nothing alone. It belongs to the key it was issued to and to the companion that was presented then;
/// organization and mode are theirs. Both are looked up for each request, so a token
///
/// - ends when the key or the companion is revoked, disabled, expired or deleted, at that instant;
/// - ends when the secret of either that was presented at issue is rotated out, with the rotation's grace;
/// - never allows more than both of them do at the time.
///
/// Nothing is stored: the token says when it ends and is signed. It is valid in every process that has the same signing
/// secret and the same store, and after a restart.
///
/// ```text
/// ses_app_k7Jc0qWvTz4n8XsB.1702532100000.mZq1…43 characters…
///     |                    |             |
///     |                    |             HMAC-SHA-256, base64url
///     |                    end, in milliseconds since the Unix epoch
///     the companion's identifier
/// ```
///
/// The signature also covers what is not written: organization, mode, the key's identifier, and the digests of both
/// secrets.
///
/// ```
/// use std::time::Duration;
/// use tower_api_keys::credential::SessionTokens;
/// # let [current, previous] = ["current secret of 32 bytes or more", "previous secret of 32 bytes or more"];
///
/// let tokens = SessionTokens::new(current.into())?.with_lifetime(Duration::from_secs(5 * 60));
/// // While tokens signed with the previous secret are still in use:
/// let tokens = tokens.with_previous(previous.into())?;
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
///
/// A clone is cheap and shares the signing secrets, which are wiped from memory with the last of them.
#[derive(Clone)]
#[must_use]
pub struct SessionTokens {
    /// HMAC with the secret already processed, cloned for each token; the first one signs.
    signers: Arc<Vec<HmacSha256>>,
    lifetime: Duration,
}

/// A well-formed token, which may never have been issued.
#[derive(Clone, Copy)]
pub(crate) struct SessionToken {
    pub(crate) companion: KeyId,
    pub(crate) expires_at: Timestamp,
    signature: [u8; 32],
}

/// The values a token is bound to besides its own text.
pub(crate) struct Bound<'a> {
    pub(crate) owner: &'a Owner,
    /// The key's identifier, and the digests that its secret may have had at issue.
    pub(crate) key: (&'a KeyId, &'a [&'a Digest]),
    /// The companion's digests.
    pub(crate) companion: &'a [&'a Digest],
}

const PREFIX: &str = "ses_";

impl SessionTokens {
    /// The minimum length of a signing secret in bytes: 32 hexadecimal digits have 128 bits.
    pub const MIN_SECRET_LENGTH: usize = 32;

    /// The default lifetime of a token: 15 minutes.
    pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(15 * 60);

    /// Signs with `secret`, a text of at least 32 random bytes, such as the base64 of 32 random bytes.
    ///
    /// Every process that accepts the tokens of the others needs the same one.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is shorter.
    pub fn new(secret: SecretString) -> Result<Self, InvalidValue> {
        Ok(Self { signers: Arc::new(vec![signer(&secret)?]), lifetime: Self::DEFAULT_LIFETIME })
    }

    /// Also accepts tokens that were signed with this secret, but signs none with it.
    ///
    /// To replace a signing secret, add the new one to every process, as a previous one, before any process signs
    /// with it.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is too short.
    pub fn with_previous(mut self, secret: SecretString) -> Result<Self, InvalidValue> {
        Arc::make_mut(&mut self.signers).push(signer(&secret)?);
        Ok(self)
    }

    /// Sets the lifetime of tokens. The setting of the issuing process applies.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Issues a token to a caller that has sent its key and a companion secret; `None` otherwise.
    ///
    /// A token cannot mint another token. The text is visible ASCII, at most 101 bytes. Send it in a header field
    /// that is [marked sensitive](http::HeaderValue::set_sensitive), in a response that is not cached.
    pub fn issue(&self, principal: &Principal, now: Timestamp) -> Option<SecretString> {
        let companion = principal.companion()?;
        let (key_digest, companion_digest) = companion.presented?;
        let mut token = SessionToken {
            companion: companion.record.id,
            expires_at: now.saturating_add(self.lifetime),
            signature: [0; 32],
        };
        let key = (principal.key_id(), &key_digest);
        token.signature = token.sign(&self.signers[0], principal.owner(), key, &companion_digest);
        Some(token.text())
    }

    /// Whether `token` was issued for `bound`, in constant time.
    pub(crate) fn verify(&self, token: &SessionToken, bound: &Bound<'_>) -> bool {
        let (key_id, key_digests) = bound.key;
        let mut genuine = Choice::from(0);
        for signer in self.signers.iter() {
            for key_digest in key_digests {
                for companion_digest in bound.companion {
                    let expected = token.sign(signer, bound.owner, (key_id, key_digest), companion_digest);
                    genuine |= expected.ct_eq(&token.signature);
                }
            }
        }
        genuine.into()
    }
}

fn signer(secret: &SecretString) -> Result<HmacSha256, InvalidValue> {
    let secret = secret.expose_secret().as_bytes();
    if secret.len() < SessionTokens::MIN_SECRET_LENGTH {
        return Err(INVALID);
    }
    Ok(HmacSha256::new(secret))
}

impl SessionToken {
    /// Parses a token. One token has one text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(PREFIX)?.split('.');
        let (companion, end, signature) = (parts.next()?, parts.next()?, parts.next()?);
        // `u64::from_str` also takes a plus sign and leading zeros.
        if parts.next().is_some() || !end.starts_with(|first| matches!(first, '1'..='9')) {
            return None;
        }
        let mut bytes = [0; 32];
        let length = URL_SAFE_NO_PAD.decode_slice(signature, &mut bytes).ok()?;
        (length == bytes.len()).then_some(())?;
        let expires_at = Timestamp::from_unix_millis(end.parse().ok()?);
        Some(Self { companion: KeyId::read(companion)?, expires_at, signature: bytes })
    }

    fn text(&self) -> SecretString {
        let Self { companion, expires_at, signature } = self;
        // Written into one buffer, so that no part of it is left elsewhere in memory.
        let mut text = String::with_capacity(128);
        text.push_str(PREFIX);
        text.push_str(companion.as_str());
        text.push('.');
        text.push_str(itoa::Buffer::new().format(expires_at.as_unix_millis()));
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        SecretString::new(text)
    }

    fn sign(
        &self,
        signer: &HmacSha256,
        owner: &Owner,
        key: (&KeyId, &Digest),
        companion: &Digest,
    ) -> [u8; 32] {
        let organization: &[u8] = match &owner.tenant {
            Tenant::Organization(organization) => organization.as_str().as_bytes(),
            Tenant::System => b"",
        };
        let mode: &[u8] = match owner.mode {
            Mode::Live => b"live",
            Mode::Test => b"test",
        };
        let (key_id, key_digest) = key;
        let mut mac = signer.clone();
        // Separates this use of the signing secret from others.
        mac.update(b"tower-api-keys session token 1");
        for field in [
            self.companion.as_str().as_bytes(),
            &self.expires_at.as_unix_millis().to_be_bytes(),
            organization,
            mode,
            key_id.as_str().as_bytes(),
            key_digest.as_bytes(),
            companion.as_bytes(),
        ] {
            // With its length, so that different lists of fields are never the same bytes.
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac.finalize()
    }
}

impl fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

const INVALID: InvalidValue = InvalidValue::new("signing secret", "a signing secret has at least 32 bytes");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Peppers;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(secret: &str) -> SessionTokens {
        SessionTokens::new(secret.into()).unwrap()
    }

    fn digest(text: &str) -> Digest {
        Peppers::none().digest(text)
    }

    fn owner(organization: &str, mode: Mode) -> Owner {
        Owner::organization(organization.parse().unwrap(), mode)
    }

    fn signed(by: &SessionTokens, end: u64) -> SessionToken {
        let mut token = SessionToken {
            companion: "app_1".parse().unwrap(),
            expires_at: Timestamp::from_unix_millis(end),
            signature: [0; 32],
        };
        let key = ("key_1".parse().unwrap(), digest("key"));
        let owner = owner("org_1", Mode::Test);
        token.signature = token.sign(&by.signers[0], &owner, (&key.0, &key.1), &digest("secret"));
        token
    }

    #[test]
    fn a_token_is_valid_only_for_the_values_it_was_signed_with() {
        let by = tokens(SECRET);
        let token = signed(&by, 1_702_531_200_000);
        let good = |by: &SessionTokens, token, owner: Owner, key: &str, digests: [&str; 2]| {
            let [key_digest, companion_digest] = digests.map(digest);
            let bound = Bound {
                owner: &owner,
                key: (&key.parse().unwrap(), &[&digest("older"), &key_digest]),
                companion: &[&companion_digest, &digest("older")],
            };
            by.verify(token, &bound)
        };
        let (test, digests) = (|| owner("org_1", Mode::Test), ["key", "secret"]);
        assert!(good(&by, &token, test(), "key_1", digests));
        let other = SECRET.replace('0', "x");
        let rotated = tokens(&other).with_previous(SECRET.into()).unwrap();
        assert!(good(&rotated, &token, test(), "key_1", digests), "the signing secret was replaced");
        assert!(!good(&tokens(&other), &token, test(), "key_1", digests), "and the old one dropped");
        assert!(!good(&by, &token, owner("org_2", Mode::Test), "key_1", digests), "organization");
        assert!(!good(&by, &token, owner("org_1", Mode::Live), "key_1", digests), "mode");
        assert!(!good(&by, &token, Owner::system(Mode::Test), "key_1", digests), "system");
        assert!(!good(&by, &token, test(), "key_2", digests), "key");
        assert!(!good(&by, &token, test(), "key_1", ["new", "secret"]), "the key's secret");
        assert!(!good(&by, &token, test(), "key_1", ["key", "new"]), "the companion's");
        assert!(!good(&by, &token, test(), "key_1", ["secret", "key"]), "one in the place of the other");
        let later = SessionToken { expires_at: Timestamp::from_unix_millis(9_999_999_999_999), ..token };
        assert!(!good(&by, &later, test(), "key_1", digests), "its end");
        let elsewhere = SessionToken { companion: "app_2".parse().unwrap(), ..token };
        assert!(!good(&by, &elsewhere, test(), "key_1", digests), "companion");
    }

    #[test]
    fn one_token_has_one_text() {
        let token = signed(&tokens(SECRET), 1_702_531_200_000);
        let text = token.text();
        let text = text.expose_secret();
        assert!(text.starts_with("ses_app_1.1702531200000.") && text.bytes().all(|b| b.is_ascii_graphic()));
        let read = SessionToken::parse(text).unwrap();
        assert_eq!(read.text().expose_secret(), text);
        let (head, signature) = text.rsplit_once('.').unwrap();
        for (name, text) in [
            ("empty", String::new()),
            ("prefix only", "ses_".into()),
            ("another prefix", text.replace("ses_", "SES_")),
            ("a plus sign", text.replace(".1702", ".+1702")),
            ("a leading zero", text.replace(".1702", ".01702")),
            ("no end", text.replace("1702531200000", "")),
            ("past 64 bits", text.replace("1702531200000", "99999999999999999999")),
            ("a further part", format!("{text}.x")),
            ("no signature", format!("{head}.")),
            ("one character short", text[..text.len() - 1].into()),
            ("one too many", format!("{text}A")),
            ("padded", format!("{text}=")),
            ("the other alphabet", format!("{head}.{}", "+".repeat(signature.len()))),
            ("no identifier", text.replace("app_1", "")),
            ("a bad identifier", text.replace("app_1", "app/1")),
        ] {
            assert!(SessionToken::parse(&text).is_none(), "{name}: {text}");
        }
        // The last character carries two bits that must be zero.
        let last = text.chars().last().unwrap();
        let twin = char::from(last as u8 + 1);
        assert!(SessionToken::parse(&format!("{}{twin}", &text[..text.len() - 1])).is_none());
    }

    #[test]
    fn a_signing_secret_of_under_128_bits_is_refused() {
        for (secret, ok) in [("", false), (&SECRET[1..], false), (SECRET, true)] {
            assert_eq!(SessionTokens::new(secret.into()).is_ok(), ok, "{secret}");
            assert_eq!(tokens(SECRET).with_previous(secret.into()).is_ok(), ok, "{secret}");
        }
        assert!(!format!("{:?}", tokens(SECRET)).contains("0123"));
    }
}
