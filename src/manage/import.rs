use super::attempt::Attempt;
use super::{Authority, Forbidden, KeyAction, KeyManager, KeyView, ManageError, NewKey, rules};
use crate::key::{Digest, KeyId, KeyRecord, Owner, SecretString};
use crate::store::{KeySelector, StoreErrorKind};

/// A key that was made elsewhere.
struct Existing {
    id: KeyId,
    hint: String,
    /// Under which it may already be stored, the one to store first.
    digests: Vec<Digest>,
}

impl KeyManager {
    /// Stores a key that was made elsewhere: by another system, or from an environment variable. `secret` is the whole key,
    /// as clients send it, in a [format](crate::key::KeyFormat) that the assembly [accepts](crate::ApiKeysBuilder::also_accept).
    ///
    /// For the operator only. The application is responsible for the strength of such a key.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ManageError::AlreadyExists) if this key is already stored for this owner, in any state;
    /// [`Invalid`](ManageError::Invalid) if it has none of the formats, has the other mode, or has an identifier
    /// or a digest that belongs to another key; [`Forbidden`](ManageError::Forbidden) for a caller;
    /// [`Store`](ManageError::Store), [`Randomness`](ManageError::Randomness).
    ///
    /// ```
    /// use tower_api_keys::key::{KeyFormat, Mode, Owner};
    /// use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
    /// use tower_api_keys::store::MemoryStore;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let from_environment = "wfk_abc123def456ghi789jkl012mno345pq";
    /// let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_")?);
    /// let operator = Authority::operator(Owner::organization("acme".parse()?, Mode::Live));
    /// for _start in 1..=2 {
    ///     match manager.import(&operator, NewKey::new("First key"), from_environment.into()).await {
    ///         Ok(_) | Err(ManageError::AlreadyExists) => {}
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import(
        &self,
        authority: &Authority,
        key: NewKey,
        secret: SecretString,
    ) -> Result<KeyView, ManageError> {
        let attempt = self.begin_import(authority)?;
        let existing = self.read_secret(authority.owner(), &secret)?;
        self.store_existing(attempt, key, existing).await
    }

    /// [Imports](Self::import) a key of a system that stores only digests.
    ///
    /// `id` is the identifier in the key's text if the format has one, otherwise any. `digest` is that of the whole key, plain
    /// or with one of the manager's [`Peppers`](crate::key::Peppers). `hint` is what a listing shows, such as `wfk_…45pq`: at
    /// most 64 characters, no control characters.
    ///
    /// # Errors
    ///
    /// Those of [`import`](Self::import); [`Invalid`](ManageError::Invalid) also if the pepper of the digest is unknown.
    pub async fn import_digest(
        &self,
        authority: &Authority,
        key: NewKey,
        id: KeyId,
        digest: Digest,
        hint: &str,
    ) -> Result<KeyView, ManageError> {
        let attempt = self.begin_import(authority)?;
        if self.settings().peppers.digest_with("", digest.pepper_id()).is_none() {
            return Err(ManageError::invalid("digest", "must be made under a pepper that is in use"));
        }
        if let Some(fault) = rules::hint_fault(hint) {
            return Err(ManageError::Invalid(vec![fault]));
        }
        let existing = Existing { id, hint: hint.to_owned(), digests: vec![digest] };
        self.store_existing(attempt, key, existing).await
    }

    fn begin_import<'a>(&'a self, authority: &'a Authority) -> Result<Attempt<'a>, ManageError> {
        let attempt = self.begin(authority, KeyAction::Import, None)?;
        match authority.bound() {
            Some(_) => Err(attempt.forbidden(Forbidden::OperatorOnly)),
            None => Ok(attempt),
        }
    }

    fn read_secret(&self, owner: &Owner, secret: &SecretString) -> Result<Existing, ManageError> {
        let settings = self.settings();
        let text = secret.expose_secret();
        let (format, parsed) = settings.parse(text).map_err(|fault| {
            ManageError::invalid("key", format!("must be a key of this application: {fault}"))
        })?;
        if parsed.mode.is_some_and(|mode| mode != owner.mode) {
            return Err(ManageError::invalid("key", "must be of the mode it is stored for"));
        }
        let id = parsed.id.map_or_else(|| KeyId::random(settings.id_prefix), Ok);
        let id = id.map_err(ManageError::Randomness)?;
        let digests = settings.peppers.digests(text).to_vec();
        Ok(Existing { id, hint: format.hint(text), digests })
    }

    async fn store_existing(
        &self,
        mut attempt: Attempt<'_>,
        key: NewKey,
        existing: Existing,
    ) -> Result<KeyView, ManageError> {
        let Existing { id, hint, digests } = existing;
        let (store, owner) = (&self.settings().store, attempt.authority.owner());
        let mut record = attempt.new_record(key, id, digests[0])?;
        record.hint = hint.into();
        attempt.key_id = Some(record.id);
        let view = KeyView::new(&record, attempt.now);

        // The same key may be stored under another pepper, which the store does not report as a conflict.
        let stored = async || store.find(KeySelector::Digests(&digests)).await;
        if let Some(stored) = stored().await? {
            return Err(already_stored(&stored, owner));
        }
        match store.insert(record).await {
            Ok(()) => {
                attempt.done();
                Ok(view)
            }
            Err(error) if error.kind() == StoreErrorKind::Conflict => Err(match stored().await? {
                Some(stored) => already_stored(&stored, owner),
                None => ManageError::invalid("key", "must not have the identifier of another key"),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn already_stored(stored: &KeyRecord, owner: &Owner) -> ManageError {
    if stored.owner == *owner {
        return ManageError::AlreadyExists;
    }
    ManageError::invalid("key", "must not be the key of another owner")
}
