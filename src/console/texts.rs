use std::borrow::Cow;

use crate::manage::{Forbidden, KeyAction, faults};
use crate::rejection::{Check, FieldError, Reason};
use crate::usage::UsageOutcome;

macro_rules! texts {
    ($($name:ident: $text:literal,)*) => {
        /// The texts of the page, to be replaced by others or by those of another language. `{}` stands for a number, a time or the like.
        ///
        /// ```
        /// use tower_api_keys::console::Texts;
        ///
        /// let mut texts = Texts::default();
        /// (texts.language, texts.title, texts.create) = ("de".into(), "Schlüssel".into(), "Anlegen".into());
        /// ```
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub struct Texts {
            $(#[doc = concat!("`", $text, "`")] pub $name: Cow<'static, str>,)*
        }

        impl Default for Texts {
            /// English.
            fn default() -> Self {
                Self { $($name: Cow::Borrowed($text),)* }
            }
        }
    };
}

texts! {
    language: "en",
    title: "API keys",
    skip_to_content: "Skip to content",
    all_organizations: "All organizations",
    back_to_list: "Back to the list",
    cancel: "Cancel",

    keys: "Keys",
    new_key: "New key",
    name_begins_with: "Name begins with",
    any: "Any",
    filter: "Filter",
    show_all: "Show all",
    ends_within: "Ends within",
    unused_for: "Not used for",
    nothing_matches: "No key matches.",
    no_keys_yet: "There are no keys yet.",
    pages: "Pages",
    next_page: "Next page",

    key: "Key",
    name: "Name",
    name_help: "Where the key is used, so that others can tell.",
    no_name: "Nameless",
    identifier: "Identifier",
    organization: "Organization",
    of_the_system: "A key of the application itself, above all organizations",
    state: "State",
    scope: "Scope",
    scopes: "Scopes",
    scopes_typed: "One a line, such as invoices:read",
    no_scopes: "None: it may do nothing that needs a scope.",
    created: "Created",
    by: "by",
    secret_since: "Secret since",
    last_used: "Last used",
    last_used_lag: "“Last used” can be {} seconds late.",
    not_known: "not known",
    valid_from: "Valid from",
    ends: "Ends",
    never: "never",
    keep: "As it is",
    on_a_date: "At the end of a day (UTC)",
    restrictions: "Addresses, limits and metadata",
    addresses: "Addresses",
    addresses_help: "Networks that the key works from, one a line, such as 192.0.2.0/24. Empty: from anywhere.",
    limits: "Own limits",
    limits_help: "A category and the number of requests in its window, one a line, such as requests 5000.",
    metadata: "Metadata",
    metadata_help: "What the application notes about the key: a JSON object of at most 4 KiB.",
    next_secret: "Next secret",
    waits_for_use: "waits for its first use",

    active: "active",
    not_yet_valid: "not yet valid",
    disabled: "disabled",
    expired: "expired",
    revoked: "revoked",

    create: "Create key",
    edit: "Edit",
    save: "Save",
    disable: "Disable",
    enable: "Enable",
    rotate: "Rotate",
    rotate_explained: "The key gets a new secret, which is shown once. The old one works on for a while, so that you can replace it everywhere.",
    grace: "The old secret works for another",
    no_grace: "no time: it ends now",
    on_first_use: "Begin when the new secret is first used; until then the old one stays",
    revoke: "Revoke",
    revoke_explained: "Requests with this key are rejected from now on. This can't be undone. The key stays in the list.",
    revoke_descendants: "Also revoke all keys that were made with it",
    delete: "Delete",
    delete_explained: "The key is removed for good, from the list as well. Its history is kept.",
    type_the_name: "To confirm, type the name:",

    secret: "Secret",
    secret_of: "Secret of",
    shown_once: "Store it now. It is shown only this once, and can't be looked up later.",
    as_variable: "As a line of .env",
    as_curl: "To try it: run this, paste the secret, and press Enter",
    copy: "Copy",
    copied: "Copied.",
    not_copied: "It could not be copied. The text is selected: copy it with the keyboard.",
    stored: "I have stored it",
    leaving: "The secret will not be shown again.",
    old_secret_until: "Old secret works until",
    old_secret_until_use: "The old secret works until the new one is first used.",
    shown_already: "A key was made, and its secret was shown then. It can't be shown again. If it is lost, rotate the key.",
    to_the_key: "To the key",

    made_with_it: "Made with this key",
    and_more: "and more",
    history: "History",
    no_history: "Nothing is recorded.",
    older: "Older",
    when: "When",
    what: "What",
    who: "By",
    actor_key: "Key",
    actor_session: "Session",
    actor_operator: "The application",
    not_done: "not done",
    action_read: "Read",
    action_create: "Created",
    action_import: "Imported",
    action_update: "Changed",
    action_rotate: "Rotated",
    action_activate: "New secret first used",
    action_disable: "Disabled",
    action_enable: "Enabled",
    action_revoke: "Revoked",
    action_delete: "Deleted",
    action_redeem: "Redeemed",
    action_forget_import: "Import forgotten",
    action_report_leak: "Leak reported",

    usage: "Usage",
    calls_in_days: "{} calls in 30 days",
    most_in_a_day: "at most {} in a day",
    no_usage: "Not used in the last 30 days.",
    usage_explained: "Above what was answered, in the lower part what was rejected or has failed, by day (UTC).",
    counted_until: "Counted until",
    as_a_table: "As a table",
    usage_day: "Day",
    outcome_ok: "Answered",
    outcome_client_error: "Wrong requests",
    outcome_limited: "Over a limit",
    outcome_forbidden: "Forbidden",
    outcome_refused: "Key not valid",
    outcome_server_error: "Failed",

    why_rejected: "Why is a request rejected?",
    why_rejected_help: "What becomes of a request with this key now. Nothing is sent and nothing is counted.",
    method: "Method",
    path: "Path, such as /invoices",
    client_address: "Client address, if it matters",
    check_request: "Check",
    would_be_accepted: "would be accepted.",
    would_be_rejected: "would be rejected with {}.",
    checks: "Checks",
    check: "Check",
    result: "Result",
    passed: "passed",
    rejected: "rejected",
    not_reached: "not reached",
    check_extraction: "A credential is there",
    check_format: "It has the form of a key",
    check_throttle: "Not too many bad keys from the address",
    check_lookup: "The key is known",
    check_state: "The key is in force",
    check_address: "The address is allowed",
    check_rate_limit: "Limits",
    check_organization: "Organization",
    check_access: "Access to the route",
    reason_fault: "The service is at fault, and not the key.",
    reason_other: "This check rejects it.",
    reason_key_revoked: "The key is revoked.",
    reason_key_disabled: "The key is disabled.",
    reason_key_not_yet_valid: "The key is not valid yet.",
    reason_key_expired: "The key has expired.",
    reason_companion_missing: "The route needs a second credential besides the key.",
    reason_throttled: "Too many bad keys came from this address.",
    reason_address_not_allowed: "The key does not work from this address.",
    reason_rate_limited: "Too many requests: the limit “{}” is used up.",
    reason_organization: "The route is for another organization, or the request names none.",
    reason_scope_missing: "The key lacks the scope {}.",
    reason_tier_mismatch: "The route is for keys of the application itself.",
    reason_route_not_covered: "No rule covers this method and path.",
    reason_route_not_found: "There is no such path.",
    reason_path_not_canonical: "The path can be read in two ways: write it without //, %, ; and dot segments.",

    find_leaked: "Whose key is this?",
    find_leaked_help: "For a key that was found where others can read it. Its history notes that, and its page says so.",
    leaked_text: "Text of the key",
    found_where: "Where it was found",
    leak_reported: "This key was found where others can read it.",
    find: "Find",
    not_found_by_text: "No key has, or just had, this secret.",
    leak_found: "The text is or was a secret of this key.",
    leak_help: "If others have seen it, revoke the key, or rotate it without a time for the old secret.",

    select: "Select {}",
    disable_selected: "Disable selected",
    disable_selected_explained: "Requests with these keys are rejected until the keys are enabled again.",
    revoke_selected: "Revoke selected",
    revoke_selected_explained: "Requests with these keys are rejected from now on. This can't be undone. The keys stay in the list.",
    none_selected: "Not done: select keys first.",
    not_all_done: "Not done for all.",
    done_selected_disabled: "The selected keys are disabled.",
    done_selected_revoked: "The selected keys are revoked.",
    done_updated: "The key was changed.",
    done_disabled: "The key is disabled. Enable it to accept its requests again.",
    done_enabled: "The key is enabled.",
    done_revoked: "The key is revoked.",
    done_deleted: "The key was deleted.",

    no_such_key: "There is no such key.",
    not_allowed: "Not allowed:",
    check_the_fields: "Not done yet: check the marked fields.",
    changed_meanwhile: "The key was changed since you opened this form. Look at it again, then save.",
    sent_already: "This form was sent before.",
    rotated_already: "Not done: the key was changed, or rotated, since you opened this form. A secret is shown only once.",
    form_expired: "Not done: this form was open for too long, or was opened by someone else. Send it again.",
    foreign_form: "Not done: the request does not come from this page.",
    malformed_form: "Not done: the form could not be read.",
    other_name: "Not done: that is not the name.",
    late_form: "Not done: the form did not arrive in time. Send it again.",
    unavailable: "Keys can't be managed right now. Try again.",
    record_unreadable: "The record can't be read.",
    record_unreadable_help: "Requests with this key are rejected. It can be revoked and deleted.",

    forbidden_management_scope: "this needs the scope: {}",
    forbidden_scopes: "the caller does not hold all scopes of the key: {}",
    forbidden_secret_retired: "the secret was replaced: use the new one to manage keys",
    forbidden_ended: "the caller's own key has ended",
    forbidden_expiry: "the key would outlive the caller's own",
    forbidden_limits: "the key has higher rate limits than the caller's own",
    forbidden_addresses: "the key could be used from more addresses than the caller's own",
    forbidden_metadata: "the caller may not set the metadata of keys",
    forbidden_too_many_keys: "the owner has as many keys as it can have",
    forbidden_operator_only: "only the operator may do this",

    fault_name_length: "must be 1 to 100 characters, not all of them blank",
    fault_name_characters: "must have no control characters",
    fault_scope: "must be scopes of the form resource:action",
    fault_no_scope: "must be at least one",
    fault_many_scopes: "must be at most 1000 scopes",
    fault_ungrantable_scope: "must be scopes that keys can have here",
    fault_date: "must be a date such as 2030-01-31",
    fault_choice: "must be one of the choices",
    fault_past_expiry: "must be in the future",
    fault_late_expiry: "must not be later than keys can last here",
    fault_late_start: "must be before the key expires",
    fault_networks: "must be networks such as 192.0.2.0/24, one a line",
    fault_many_networks: "must be at most 100 networks",
    fault_limits: "must be a category and a number above 0, such as requests 5000, one a line",
    fault_categories: "must be at most 100 categories, of 1 to 100 characters each",
    fault_metadata: "must be a JSON object of at most 4096 bytes",
    fault_reason_length: "must be 1 to 500 characters, not all of them blank, and no control characters",
    fault_reason_key: "must not contain a key",
    fault_organization: "must be 1 to 128 visible ASCII characters",
    fault_system: "must be empty for a key of the application itself",
    fault_method: "must be a word such as GET",
    fault_path: "must begin with / and have no spaces",
    fault_address: "must be an address such as 192.0.2.1",
    fault_no_address: "is needed: this key works only from some addresses",

    just_now: "just now",
    ago: "{} ago",
    ahead: "in {}",
    one_minute: "1 minute",
    minutes: "{} minutes",
    hours: "{} hours",
    days: "{} days",
    months: "{} months",
    years: "{} years",
}

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
            faults::NAME_LENGTH => &self.fault_name_length,
            faults::NAME_CHARACTERS => &self.fault_name_characters,
            faults::INVALID_SCOPE => &self.fault_scope,
            faults::MANY_SCOPES => &self.fault_many_scopes,
            faults::UNGRANTABLE_SCOPE => &self.fault_ungrantable_scope,
            faults::PAST_EXPIRY => &self.fault_past_expiry,
            faults::LATE_EXPIRY => &self.fault_late_expiry,
            faults::LATE_START => &self.fault_late_start,
            faults::BAD_CATEGORIES => &self.fault_categories,
            faults::MANY_NETWORKS => &self.fault_many_networks,
            faults::REASON_LENGTH => &self.fault_reason_length,
            faults::REASON_KEY => &self.fault_reason_key,
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
            faults::NAME_LENGTH,
            faults::NAME_CHARACTERS,
            faults::INVALID_SCOPE,
            faults::MANY_SCOPES,
            faults::UNGRANTABLE_SCOPE,
            faults::PAST_EXPIRY,
            faults::LATE_EXPIRY,
            faults::LATE_START,
            faults::BAD_CATEGORIES,
            faults::MANY_NETWORKS,
            faults::REASON_LENGTH,
            faults::REASON_KEY,
        ] {
            let said = FieldError::new("name", fault);
            // A text of the page's own, which happens to be the same.
            assert!(!std::ptr::eq(t.fault(&said), &*said.message), "{fault}");
            assert_eq!(t.fault(&said), fault);
        }
    }
}
