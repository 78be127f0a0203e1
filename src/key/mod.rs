//! What a key is: its identifier, format, secret, digest and stored record.

mod id;

pub use id::{InvalidKeyId, KeyId};
