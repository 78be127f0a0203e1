/// How much a caller may do in an organization: a higher role may do everything that a lower one may.
///
/// The application defines its roles. A role is a person's position in an organization, a [scope](crate::scope) is a
/// permission of a credential; a route can require [both](crate::route::Access).
///
/// ```
/// use tower_api_keys::identity::Role;
///
/// const VIEWER: Role = Role::of_rank(1);
/// const EDITOR: Role = Role::of_rank(2);
///
/// assert!(EDITOR > VIEWER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(u8);

impl Role {
    /// The role of this rank, of 0 to 255.
    pub const fn of_rank(rank: u8) -> Self {
        Self(rank)
    }

    #[cfg(feature = "openapi")]
    pub(crate) fn rank(self) -> u8 {
        self.0
    }
}
