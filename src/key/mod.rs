//! What a key is: its identifier, format, secret, digest and stored record.
//!
//! A [`KeyFormat`] describes a family of keys: it generates and parses them. It generates a [`SecretString`], shown
//! to its owner once. The store keeps a [`Digest`] of it, made with [`Peppers`].
//!
//! ```
//! use tower_api_keys::key::{KeyFormat, Mode, Peppers};
//!
//! let format = KeyFormat::builder("sk_").modes("test_", "live_").build()?;
//! let peppers = Peppers::none();
//!
//! let made = format.generate(Mode::Live)?;
//! let stored = peppers.digest(made.secret.expose_secret());
//!
//! let presented = format.parse(made.secret.expose_secret())?;
//! assert_eq!(presented.mode, Some(Mode::Live));
//! assert!(peppers.candidates(presented.secret).iter().any(|digest| digest.ct_eq(&stored)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod actor;
mod checksum;
mod digest;
mod extras;
mod format;
mod generate;
mod hmac;
mod id;
mod imported_hash;
mod metadata;
mod mode;
mod owner;
mod peppers;
mod record;
mod secret;
mod short_text;
mod status;

pub use actor::Actor;
pub use digest::Digest;
pub use extras::Extras;
pub(crate) use extras::Sparse;
pub use format::{KeyFormat, KeyFormatBuilder, MalformedKey, ParsedKey};
pub use generate::GeneratedKey;
pub(crate) use hmac::HmacSha256;
pub use id::KeyId;
pub use imported_hash::ImportedHash;
pub use metadata::Metadata;
#[cfg(feature = "json")]
pub(crate) use metadata::read as read_metadata;
pub use mode::Mode;
pub use owner::{OrganizationId, Owner, Tenant};
pub(crate) use peppers::Candidates;
pub use peppers::Peppers;
pub use record::{KeyRecord, KeyState, NextSecret, PreviousSecret};
pub use secret::SecretString;
pub use short_text::ShortText;
pub use status::KeyStatus;
