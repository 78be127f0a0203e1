use clap::Args;

use super::failure::Failure;
use crate::key::{Mode, OrganizationId, Owner};

/// Whose keys.
#[derive(Args, Clone, Debug)]
pub(super) struct OwnerOptions {
    /// The organization that owns the keys
    #[arg(long, short, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// The keys of the application itself, which belong to no organization
    #[arg(long, conflicts_with = "organization")]
    system: bool,
    /// The mode of the keys: live or test. If it is not given: of one owner live, of all owners both
    #[arg(long, value_name = "MODE", value_parser = mode)]
    mode: Option<Mode>,
}

impl OwnerOptions {
    pub(super) fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// `None` is every owner.
    pub(super) fn owner(&self) -> Option<Owner> {
        let mode = self.mode.unwrap_or(Mode::Live);
        match &self.organization {
            Some(organization) => Some(Owner::organization(organization.clone(), mode)),
            None => self.system.then(|| Owner::system(mode)),
        }
    }

    pub(super) fn required(&self) -> Result<Owner, Failure> {
        let missing =
            || Failure::usage("An owner is missing.").next("Give `--organization ID`, or `--system`.");
        self.owner().ok_or_else(missing)
    }
}

pub(super) fn mode(text: &str) -> Result<Mode, &'static str> {
    match text {
        "live" => Ok(Mode::Live),
        "test" => Ok(Mode::Test),
        _ => Err("a mode is live or test"),
    }
}
