//! Keys of another system, which has stored only slow or salted hashes of them: imported, and each verified once.
//!
//! ```text
//! cargo run -p imported_keys --features tracing
//! ```
//!
//! With the feature `tracing`, the log on standard error says when the hash of a key is replaced by a digest.
//!
//! `hashes.txt` was made by Python's bcrypt and argon2-cffi: `make_hashes.py` says how. Its keys look like those of
//! djangorestframework-api-key, `prefix.secret`, of which that system has kept the prefix and a hash.

// An example writes to standard output.
#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::error::Error;
use std::time::Instant;

use argon2::{Argon2, PasswordVerifier};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use sha2::{Digest, Sha256};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::manage::ManageError;
use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore, NewKey, Quota};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "tracing")]
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let keys = assembly(MemoryStore::new())?;
    import(&keys).await?;
    for (id, key, _) in hashes() {
        for number in ["first", "second"] {
            let start = Instant::now();
            let status = call(&keys, key).await;
            println!("{id}: {number} use: {status} after {:?}", start.elapsed());
        }
    }
    Ok(())
}

fn assembly(store: MemoryStore) -> Result<ApiKeys, Box<dyn Error>> {
    // New keys are `acme_…`. Those of the old system are accepted as long as there are any.
    let keys = ApiKeys::builder(store, KeyFormat::new("acme_")?)
        .also_accept(KeyFormat::unprefixed().public_id(8, '.').build()?)
        .header("x-api-key")
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(20)?)
        .verify_imported(verify)
        .route("GET", "/invoices", "invoice:read")
        .build()?;
    Ok(keys)
}

/// Whether a key has a hash, of any kind that the old system has used.
fn verify(key: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        return Argon2::default().verify_password(key.as_bytes(), hash).is_ok();
    }
    if hash.starts_with("$2") {
        return bcrypt::verify(key, hash).unwrap_or(false);
    }
    match hash.strip_prefix("sha256$").and_then(|rest| rest.split_once('$')) {
        Some((salt, digest)) => {
            let made: String =
                Sha256::digest(format!("{salt}{key}")).iter().map(|byte| format!("{byte:02x}")).collect();
            made == digest
        }
        None => false,
    }
}

/// May be run at each start: what was imported before is left alone, also where it was deleted since.
async fn import(keys: &ApiKeys) -> Result<(), Box<dyn Error>> {
    let operator = Authority::operator(Owner::organization("org_1".parse()?, Mode::Live));
    for (id, _, hash) in hashes() {
        let key = NewKey::new("Imported").scope("invoice:read");
        match keys.manager().import_hash(&operator, key, id.parse()?, hash.parse()?, &format!("{id}.…")).await
        {
            Ok(_) | Err(ManageError::AlreadyExists | ManageError::Deleted(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Identifiers, keys and hashes.
fn hashes() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    include_str!("../hashes.txt").lines().filter_map(|line| {
        let (id, rest) = line.split_once(' ')?;
        let (key, hash) = rest.split_once(' ')?;
        Some((id, key, hash))
    })
}

async fn call(keys: &ApiKeys, key: &str) -> StatusCode {
    let invoices = async |_: Request<()>| Ok::<_, Infallible>(Response::new(Bytes::new()));
    let mut request =
        Request::get("/invoices").header("x-api-key", key).body(()).expect("a key is a header's value");
    request.extensions_mut().insert(PeerAddress([127, 0, 0, 1].into()));
    let response: Response<Bytes> = keys.layer().layer(service_fn(invoices)).oneshot(request).await.unwrap();
    response.status()
}

#[cfg(test)]
mod tests {
    use tower_api_keys::key::KeyId;
    use tower_api_keys::store::{KeySelector, KeyStore};

    use super::*;

    #[tokio::test]
    async fn keys_hashed_by_python_verify_once_and_are_then_keys_like_any_other() {
        let store = MemoryStore::new();
        let keys = assembly(store.clone()).unwrap();
        import(&keys).await.unwrap();
        import(&keys).await.unwrap();
        assert_eq!(store.len(), 3);
        for (id, key, hash) in hashes() {
            let wrong = key.to_lowercase().replace(&id.to_lowercase(), id);
            assert_eq!(call(&keys, &wrong).await, StatusCode::UNAUTHORIZED, "{hash}");
            for _ in 0..2 {
                assert_eq!(call(&keys, key).await, StatusCode::OK, "{hash}");
            }
            assert_eq!(call(&keys, &wrong).await, StatusCode::UNAUTHORIZED, "{hash}");
            let id: KeyId = id.parse().unwrap();
            let record = store.find(KeySelector::Id(&id)).await.unwrap().unwrap();
            assert_eq!(record.extras().imported_hash, None, "{hash}");
        }
        // With their digests, they need no verifier.
        let later = ApiKeys::builder(store, KeyFormat::new("acme_").unwrap())
            .also_accept(KeyFormat::unprefixed().public_id(8, '.').build().unwrap())
            .header("x-api-key")
            .route("GET", "/invoices", "invoice:read")
            .build()
            .unwrap();
        for (_, key, hash) in hashes() {
            assert_eq!(call(&later, key).await, StatusCode::OK, "{hash}");
        }
    }

    #[test]
    fn a_hash_that_cannot_be_read_verifies_nothing() {
        for hash in ["", "$2b$", "$argon2id$", "sha256$", "sha256$salt", "plain"] {
            assert!(!verify("plain", hash), "{hash}");
        }
    }
}
