//! The tokens of forms, and the cookie that they belong to. Nothing is stored: a token is signed with the cookie, so that it
//! holds in every process and after a restart.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

use crate::key::HmacSha256;

const NAME: &str = "api-keys-forms";

/// Over HTTPS: browsers let no other host and no plain HTTP set it (RFC 6265bis section 4.1.3.2).
const HOST_NAME: &str = "__Host-api-keys-forms";

/// How many values are tried besides the first.
const MAX_OTHERS: usize = 3;

/// What a browser proves with that a form is from a page that it was shown.
#[derive(Clone)]
pub(super) struct FormCookie {
    value: String,
    /// Further values of the same name: another host of the domain can set one, which must not keep a person from the page.
    others: Vec<String>,
    is_new: bool,
    is_secure: bool,
}

impl FormCookie {
    /// That of the request, or else a new one. Over HTTPS no other counts than one that only this host could set.
    pub(super) fn of(headers: &HeaderMap, is_secure: bool) -> io::Result<Self> {
        let mut sent = sent(headers, if is_secure { HOST_NAME } else { NAME });
        match sent.next() {
            Some(value) => {
                let others = sent.take(MAX_OTHERS).map(str::to_owned).collect();
                Ok(Self { value: value.to_owned(), others, is_new: false, is_secure })
            }
            None => Ok(Self { value: random()?, others: Vec::new(), is_new: true, is_secure }),
        }
    }

    /// The field to set, if the browser does not have it yet. It lasts as long as the browser runs. `Lax`, since with `Strict`
    /// a link from elsewhere would get a new one, and forms in other tabs would hold no more.
    pub(super) fn to_set(&self) -> Option<HeaderValue> {
        let (name, secure) = if self.is_secure { (HOST_NAME, "; Secure") } else { (NAME, "") };
        let field = || format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", self.value);
        self.is_new.then(field)?.try_into().ok()
    }

    /// A token for a form that this person is shown.
    pub(super) fn token(&self, person: &str) -> io::Result<String> {
        let nonce = random()?;
        Ok(format!("{nonce}.{}", signature(&self.value, "form", person, &nonce)))
    }

    /// What follows from a token; `None` if it is not one of this browser and person.
    pub(super) fn verify(&self, person: &str, token: &str) -> Option<HmacSha256> {
        let (nonce, mac) = token.split_once('.')?;
        let value = self.value_with(mac, |value| signature(value, "form", person, nonce))?;
        // Without the person: a token makes one key, for all persons together.
        Some(keyed(value, "key", nonce))
    }

    /// What proves to a page that a form of this person led to it, after it did what `done` says.
    pub(super) fn proof(&self, person: &str, done: &str) -> String {
        signature(&self.value, "done", person, done)
    }

    /// Whether it is the [`proof`](Self::proof): a link from elsewhere has none.
    pub(super) fn has_proof(&self, person: &str, done: &str, proof: &str) -> bool {
        self.value_with(proof, |value| signature(value, "done", person, done)).is_some()
    }

    /// The value of the browser's cookie with which `signed` gives `mac`.
    fn value_with(&self, mac: &str, signed: impl Fn(&str) -> String) -> Option<&str> {
        let is_right = |value: &&String| signed(value).as_bytes().ct_eq(mac.as_bytes()).into();
        let values = std::iter::once(&self.value).chain(&self.others);
        values.filter(|_| !self.is_new).find(is_right).map(String::as_str)
    }
}

fn signature(value: &str, purpose: &str, person: &str, of: &str) -> String {
    let mut mac = keyed(value, purpose, of);
    mac.update(person.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize())
}

fn keyed(value: &str, purpose: &str, of: &str) -> HmacSha256 {
    let mut mac = HmacSha256::new(value.as_bytes());
    for part in [purpose, of] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

/// The values of 22 characters, for 128 bits.
fn sent<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_value = move |value: &&str| value.len() == 22 && value.bytes().all(is_letter);
    pairs.filter(move |(of, _)| *of == name).map(|(_, value)| value).filter(is_value)
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| io::Error::other(format!("the operating system gave no random bytes: {error}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(value: &str) -> FormCookie {
        FormCookie { value: value.to_owned(), others: Vec::new(), is_new: false, is_secure: false }
    }

    #[test]
    fn a_token_holds_for_its_browser_and_its_person() {
        let own = cookie("own");
        let token = own.token("session ada").unwrap();
        assert!(own.verify("session ada", &token).is_some());
        assert!(own.verify("session eve", &token).is_none());
        assert!(cookie("other").verify("session ada", &token).is_none());
        assert!(FormCookie { is_new: true, ..own.clone() }.verify("session ada", &token).is_none());
        let (nonce, mac) = token.split_once('.').unwrap();
        for forged in
            ["", ".", nonce, &format!("x{nonce}.{mac}"), &format!("{nonce}.{mac}x"), &format!("{nonce}.")]
        {
            assert!(own.verify("session ada", forged).is_none(), "{forged}");
        }
    }

    #[test]
    fn a_proof_holds_for_its_browser_its_person_and_what_was_done() {
        let own = cookie("own");
        let proof = own.proof("ada", "/key/k1 updated");
        for (cookie, person, done, proof, is_right) in [
            (&own, "ada", "/key/k1 updated", &*proof, true),
            (&own, "eve", "/key/k1 updated", &proof, false),
            (&own, "ada", "/key/k2 updated", &proof, false),
            (&own, "ada", "/key/k1 revoked", &proof, false),
            (&own, "ada", "/key/k1 updated", "", false),
            (&cookie("other"), "ada", "/key/k1 updated", &proof, false),
            (&FormCookie { is_new: true, ..own.clone() }, "ada", "/key/k1 updated", &proof, false),
        ] {
            assert_eq!(cookie.has_proof(person, done, proof), is_right, "{person} {done} {proof}");
        }
        assert!(own.verify("ada", &format!("/key/k1 updated.{proof}")).is_none(), "it is no token");
    }

    #[test]
    fn a_cookie_of_another_host_of_the_domain_changes_nothing() {
        let (own, alien) = ("A".repeat(22), "B".repeat(22));
        let token = cookie(&own).token("ada").unwrap();
        for sent in [format!("{NAME}={alien}; {NAME}={own}"), format!("{NAME}={own}; {NAME}={alien}")] {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, sent.parse().unwrap());
            assert!(FormCookie::of(&headers, false).unwrap().verify("ada", &token).is_some(), "{sent}");
        }
    }

    #[test]
    fn a_cookie_is_taken_if_it_is_well_formed() {
        let good = "AAAAAAAAAAAAAAAAAAAAAA";
        for (lines, is_taken) in [
            (vec![format!("{NAME}={good}")], true),
            (vec![format!("a=b; {NAME}={good}; c=d")], true),
            (vec!["a=b".to_owned(), format!("{NAME}={good}")], true),
            (vec![], false),
            (vec![format!("{NAME}=")], false),
            (vec![format!("{NAME}={good}x")], false),
            (vec![format!("{NAME}=AAAAAAAAAAAAAAAAAAAA$A")], false),
            (vec![format!("{NAME}=x; {NAME}={good}")], true),
            (vec![format!("x{NAME}={good}")], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(COOKIE, line.parse().unwrap());
            }
            let cookie = FormCookie::of(&headers, false).unwrap();
            assert_eq!(cookie.to_set().is_none(), is_taken, "{lines:?}");
        }
    }

    #[test]
    fn over_https_only_a_cookie_that_no_other_host_can_set_is_taken() {
        let good = "A".repeat(22);
        for (sent, over_http, over_https) in
            [(format!("{NAME}={good}"), true, false), (format!("{HOST_NAME}={good}"), false, true)]
        {
            let mut headers = HeaderMap::new();
            headers.append(COOKIE, sent.parse().unwrap());
            for (is_secure, is_taken) in [(false, over_http), (true, over_https)] {
                let cookie = FormCookie::of(&headers, is_secure).unwrap();
                assert_eq!(cookie.to_set().is_none(), is_taken, "{sent} {is_secure}");
            }
        }
        let field = |is_secure| FormCookie::of(&HeaderMap::new(), is_secure).unwrap().to_set().unwrap();
        let (http, https) = (field(false), field(true));
        assert!(
            https.to_str().unwrap().starts_with("__Host-") && https.to_str().unwrap().ends_with("; Secure")
        );
        assert!(!http.to_str().unwrap().contains("__Host-") && !http.to_str().unwrap().contains("Secure"));
        for field in [http, https] {
            let field = field.to_str().unwrap();
            assert!(
                field.contains("; Path=/; HttpOnly; SameSite=Lax") && !field.contains("Domain"),
                "{field}"
            );
        }
    }
}
