use std::borrow::Cow;

use crate::manage::KeyAction;
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
    not_known: "not known",
    valid_from: "Valid from",
    ends: "Ends",
    never: "never",
    keep: "As it is",
    on_a_date: "At the end of a day (UTC)",
    restrictions: "Addresses and limits",
    addresses: "Addresses",
    addresses_help: "Networks that the key works from, one a line, such as 192.0.2.0/24. Empty: from anywhere.",
    limits: "Own limits",
    limits_help: "A category and the number of requests in its window, one a line, such as requests 5000.",
    metadata: "Metadata",
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
    as_curl: "To try it",
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

    find_leaked: "Whose key is this?",
    leaked_text: "Text of a key that was found somewhere",
    find: "Find",
    not_found_by_text: "No key has, or just had, this secret.",
    leak_found: "The text is or was a secret of this key.",
    leak_help: "If others have seen it, revoke the key, or rotate it without a time for the old secret.",

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
    unavailable: "Keys can't be managed right now. Try again.",
    record_unreadable: "The record can't be read.",
    record_unreadable_help: "Requests with this key are rejected. It can be revoked and deleted.",

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
