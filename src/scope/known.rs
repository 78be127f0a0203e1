use super::Scope;

/// A scope that an assembly knows, to be shown to people: in a form that makes keys, in documents of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownScope {
    /// The scope, `resource:*` among them.
    pub scope: Scope,
    /// What it allows, in a sentence, if the application [says so](crate::ApiKeysBuilder::describe_scopes).
    pub description: Option<String>,
    /// Whether a key can be given it, as far as the [manager](crate::manage::KeyManager::with_grantable_scopes) decides.
    pub is_grantable: bool,
}
