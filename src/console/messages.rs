//! What the manager and the checks say, in the texts of the page.

use super::Texts;
use crate::manage::{Forbidden, KeyAction, field_faults};
use crate::rejection::{Check, FieldError, Reason};
use crate::usage::UsageOutcome;

impl Texts {
    pub(super) fn check(&self, check: Check) -> &str {
        match check {
            Check::Extraction => &self.check_extraction,
            Check::Format => &self.check_format,
            Check::Throttle => &self.check_throttle,
            Check::Lookup => &self.check_lookup,
            Check::State => &self.check_state,
            Check::Address => &self.check_address,
            Check::RateLimit => &self.check_rate_limit,
            Check::Organization => &self.check_organization,
            Check::Access => &self.check_access,
        }
    }

    /// A reason without a value in it.
    pub(super) fn reason(&self, reason: &Reason) -> &str {
        match reason {
            Reason::KeyRevoked => &self.reason_key_revoked,
            Reason::KeyDisabled => &self.reason_key_disabled,
            Reason::KeyNotYetValid => &self.reason_key_not_yet_valid,
            Reason::KeyExpired => &self.reason_key_expired,
            Reason::CompanionMissing { .. } | Reason::SessionTokenMissing => &self.reason_companion_missing,
            Reason::Throttled(_) => &self.reason_throttled,
            Reason::AddressNotAllowed => &self.reason_address_not_allowed,
            Reason::OrganizationMissing
            | Reason::OrganizationMismatch
            | Reason::OrganizationNotFound
            | Reason::ActingModeMismatch => &self.reason_organization,
            Reason::TierMismatch => &self.reason_tier_mismatch,
            Reason::RouteNotCovered => &self.reason_route_not_covered,
            Reason::RouteNotFound => &self.reason_route_not_found,
            Reason::PathNotCanonical => &self.reason_path_not_canonical,
            _ => &self.reason_other,
        }
    }

    /// A permission that the person lacks.
    pub(super) fn forbidden(&self, forbidden: &Forbidden) -> String {
        let text = match forbidden {
            Forbidden::ManagementScope(scopes) => {
                return self.forbidden_management_scope.replace("{}", &scopes.to_string());
            }
            Forbidden::Scopes(scopes) => {
                let scopes: Vec<_> = scopes.iter().map(ToString::to_string).collect();
                return self.forbidden_scopes.replace("{}", &scopes.join(" "));
            }
            Forbidden::SecretRetired => &self.forbidden_secret_retired,
            Forbidden::Ended => &self.forbidden_ended,
            Forbidden::Expiry => &self.forbidden_expiry,
            Forbidden::Limits => &self.forbidden_limits,
            Forbidden::Addresses => &self.forbidden_addresses,
            Forbidden::Metadata => &self.forbidden_metadata,
            Forbidden::TooManyKeys => &self.forbidden_too_many_keys,
            Forbidden::OperatorOnly => &self.forbidden_operator_only,
        };
        text.to_string()
    }

    /// What is wrong with a field. What the page itself says has been replaced already.
    pub(super) fn fault<'t>(&'t self, fault: &'t FieldError) -> &'t str {
        match &*fault.message {
            field_faults::NAME_LENGTH => &self.fault_name_length,
            field_faults::NAME_CHARACTERS => &self.fault_name_characters,
            field_faults::INVALID_SCOPE => &self.fault_scope,
            field_faults::MANY_SCOPES => &self.fault_many_scopes,
            field_faults::UNGRANTABLE_SCOPE => &self.fault_ungrantable_scope,
            field_faults::PAST_EXPIRY => &self.fault_past_expiry,
            field_faults::LATE_EXPIRY => &self.fault_late_expiry,
            field_faults::LATE_START => &self.fault_late_start,
            field_faults::BAD_CATEGORIES => &self.fault_categories,
            field_faults::MANY_NETWORKS => &self.fault_many_networks,
            field_faults::REASON_LENGTH => &self.fault_reason_length,
            field_faults::REASON_KEY => &self.fault_reason_key,
            other => other,
        }
    }

    pub(super) fn outcome(&self, outcome: UsageOutcome) -> &str {
        match outcome {
            UsageOutcome::Ok => &self.outcome_ok,
            UsageOutcome::ClientError => &self.outcome_client_error,
            UsageOutcome::Limited => &self.outcome_limited,
            UsageOutcome::Forbidden => &self.outcome_forbidden,
            UsageOutcome::Refused => &self.outcome_refused,
            UsageOutcome::ServerError => &self.outcome_server_error,
        }
    }

    pub(super) fn action(&self, action: KeyAction) -> &str {
        match action {
            KeyAction::Read => &self.action_read,
            KeyAction::Create => &self.action_create,
            KeyAction::Import => &self.action_import,
            KeyAction::Update => &self.action_update,
            KeyAction::Rotate => &self.action_rotate,
            KeyAction::Activate => &self.action_activate,
            KeyAction::Disable => &self.action_disable,
            KeyAction::Enable => &self.action_enable,
            KeyAction::Revoke => &self.action_revoke,
            KeyAction::Delete => &self.action_delete,
            KeyAction::Redeem => &self.action_redeem,
            KeyAction::ForgetImport => &self.action_forget_import,
            KeyAction::ReportLeak => &self.action_report_leak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::ScopeSet;

    #[test]
    fn in_english_it_says_what_the_manager_says() {
        let t = Texts::default();
        let scopes = ["a:b", "c:d"];
        for forbidden in [
            Forbidden::ManagementScope("api-keys:write".parse().unwrap()),
            Forbidden::Scopes(ScopeSet::parse_list(scopes).unwrap()),
            Forbidden::SecretRetired,
            Forbidden::Ended,
            Forbidden::Expiry,
            Forbidden::Limits,
            Forbidden::Addresses,
            Forbidden::Metadata,
            Forbidden::TooManyKeys,
            Forbidden::OperatorOnly,
        ] {
            assert_eq!(t.forbidden(&forbidden), forbidden.to_string());
        }
        for fault in [
            field_faults::NAME_LENGTH,
            field_faults::NAME_CHARACTERS,
            field_faults::INVALID_SCOPE,
            field_faults::MANY_SCOPES,
            field_faults::UNGRANTABLE_SCOPE,
            field_faults::PAST_EXPIRY,
            field_faults::LATE_EXPIRY,
            field_faults::LATE_START,
            field_faults::BAD_CATEGORIES,
            field_faults::MANY_NETWORKS,
            field_faults::REASON_LENGTH,
            field_faults::REASON_KEY,
        ] {
            let said = FieldError::new("name", fault);
            // A text of the page's own, which happens to be the same.
            assert!(!std::ptr::eq(t.fault(&said), &*said.message), "{fault}");
            assert_eq!(t.fault(&said), fault);
        }
    }
}
