use super::attempt::Attempt;
use super::{AuditEvent, Authority, Forbidden, KeyAction, KeyManager, KeyView, ManageError, NewKey, rules};
use crate::key::{Digest, ImportedHash, KeyFormat, KeyId, KeyRecord, Owner, SecretString};
use crate::store::{KeySelector, StoreErrorKind};

/// A key that was made elsewhere.
struct Existing {
    id: KeyId,
    hint: String,
    /// Under which it may already be stored, the one to store first.
    digests: Vec<Digest>,
    hash: Option<ImportedHash>,
}

impl KeyManager {
    /// Stores a key that was made elsewhere: by another system, or from an environment variable. `secret` is the whole key,
    /// as clients send it, in a [format](crate::key::KeyFormat) that the assembly [accepts](crate::ApiKeysBuilder::also_accept).
    ///
    /// For the operator only. The application is responsible for the strength of such a key.
    ///
    /// The store remembers what was imported. A key that was rotated or deleted since does not come back with its old secret
    /// when the same import is made again, at the next start of a program, say.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ManageError::AlreadyExists) if this key is already stored for this owner, in any state, or was
    /// rotated since; [`Deleted`](ManageError::Deleted) if it was imported before and deleted;
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
    ///         Ok(_) | Err(ManageError::AlreadyExists | ManageError::Deleted(_)) => {}
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
        self.import_existing(authority, key, || self.read_secret(authority.owner(), &secret)).await
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
        let existing = || {
            if self.settings().peppers.digest_with("", digest.pepper_id()).is_none() {
                return Err(ManageError::invalid("digest", "must be made under a pepper that is in use"));
            }
            if let Some(fault) = rules::hint_fault(hint) {
                return Err(ManageError::Invalid(vec![fault]));
            }
            Ok(Existing { id, hint: hint.to_owned(), digests: vec![digest], hash: None })
        };
        self.import_existing(authority, key, existing).await
    }

    /// [Imports](Self::import) a key of a system that stores slow or salted hashes: bcrypt, argon2, SHA-256 with a salt. The
    /// assembly [verifies](crate::ApiKeysBuilder::verify_imported) it when it is first used, and then keeps its own digest in
    /// place of `hash`. Until then it can be listed, changed, rotated and revoked like any other.
    ///
    /// `id` is the identifier in the key's text: its public one, or its [first
    /// characters](crate::key::KeyFormatBuilder::leading_id). A hash that can't be found by an identifier can't be imported.
    /// `hint` is what a listing shows, as for [`import_digest`](Self::import_digest).
    ///
    /// # Errors
    ///
    /// Those of [`import`](Self::import); [`Invalid`](ManageError::Invalid) also if no format has identifiers.
    ///
    /// ```
    /// # use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
    /// # async fn example(manager: &KeyManager, operator: &Authority) -> Result<(), Box<dyn std::error::Error>> {
    /// // A key `tN8qJz0b.…`, whose system has kept `tN8qJz0b` and a hash of the whole.
    /// let hash = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".parse()?;
    /// manager.import_hash(operator, NewKey::new("Production"), "tN8qJz0b".parse()?, hash, "tN8qJz0b.…").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import_hash(
        &self,
        authority: &Authority,
        key: NewKey,
        id: KeyId,
        hash: ImportedHash,
        hint: &str,
    ) -> Result<KeyView, ManageError> {
        let existing = || {
            if !self.settings().formats.iter().any(KeyFormat::has_ids) {
                return Err(ManageError::invalid(
                    "id",
                    "must be in the text of keys, and no format has one there",
                ));
            }
            if let Some(fault) = rules::hint_fault(hint) {
                return Err(ManageError::Invalid(vec![fault]));
            }
            let digests = vec![hash.stand_in()];
            Ok(Existing { id, hint: hint.to_owned(), digests, hash: Some(hash) })
        };
        self.import_existing(authority, key, existing).await
    }

    /// Forgets that a key was imported, so that it can be imported again after it was [deleted](ManageError::Deleted). For
    /// the operator only.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound) if no such import is remembered; [`Forbidden`](ManageError::Forbidden) for a
    /// caller; [`Store`](ManageError::Store).
    pub async fn forget_import(&self, authority: &Authority, id: &KeyId) -> Result<(), ManageError> {
        let attempt = self.attempt(authority, KeyAction::ForgetImport, Some(*id));
        let result = async {
            attempt.permitted()?;
            if authority.bound().is_some() {
                return Err(Forbidden::OperatorOnly.into());
            }
            let event = attempt.event();
            if !self.settings().store.forget_import(id, Some(&event)).await? {
                return Err(ManageError::NotFound);
            }
            self.settings().done(&event);
            Ok(())
        };
        attempt.end(result.await).await
    }

    async fn import_existing(
        &self,
        authority: &Authority,
        key: NewKey,
        existing: impl FnOnce() -> Result<Existing, ManageError>,
    ) -> Result<KeyView, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Import, None);
        let result = async {
            attempt.permitted()?;
            match authority.caller() {
                Some(_) => Err(Forbidden::OperatorOnly.into()),
                None => self.store_existing(&attempt, key, existing()?).await,
            }
        };
        let result = result.await;
        if self.settings().is_trial { result } else { attempt.end(result).await }
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
        Ok(Existing { id, hint: format.hint(text), digests, hash: None })
    }

    async fn store_existing(
        &self,
        attempt: &Attempt<'_>,
        key: NewKey,
        existing: Existing,
    ) -> Result<KeyView, ManageError> {
        let Existing { id, hint, digests, hash } = existing;
        let (settings, owner) = (self.settings(), attempt.authority.owner());
        let store = &settings.store;
        let mut record = attempt.new_record(key, id, digests[0])?;
        record.hint = hint.into();
        if hash.is_some() {
            record.extras.imported_hash = hash;
        }
        let event = AuditEvent { key_id: Some(record.id), ..attempt.event() };
        let view = KeyView::new(&record, attempt.now);

        // The same key may be stored under another pepper, which the store does not report as a conflict.
        let stored = async || settings.find(KeySelector::Digests(&digests)).await;
        if let Some(stored) = stored().await? {
            self.remember(&stored.id, &digests).await?;
            return Err(already_stored(&stored, owner));
        }
        if let Some(id) = store.imported_as(&digests).await? {
            self.remember(&id, &digests).await?;
            return Err(match settings.find(KeySelector::Id(&id)).await? {
                Some(rotated) => already_stored(&rotated, owner),
                None => ManageError::Deleted(id),
            });
        }
        match store.insert(record, Some(&event)).await {
            Ok(()) => {
                self.settings().done(&event);
                // If this fails, the next import finds the key and remembers it.
                self.remember(&view.id, &digests).await?;
                Ok(view)
            }
            Err(error) if error.kind() == StoreErrorKind::Conflict => Err(match stored().await? {
                Some(stored) => already_stored(&stored, owner),
                None => ManageError::invalid("key", "must not have the identifier of another key"),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Remembers an import, also after a change of the pepper.
    async fn remember(&self, id: &KeyId, digests: &[Digest]) -> Result<(), ManageError> {
        let store = &self.settings().store;
        if store.imported_as(&digests[..1]).await?.is_none() {
            store.remember_import(id, &digests[0]).await?;
        }
        Ok(())
    }
}

fn already_stored(stored: &KeyRecord, owner: &Owner) -> ManageError {
    if stored.owner == *owner {
        return ManageError::AlreadyExists;
    }
    ManageError::invalid("key", "must not be the key of another owner")
}
