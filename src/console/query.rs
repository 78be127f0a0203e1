//! What the list is asked for, in the query of its URL.

use std::collections::BTreeMap;

use axum::extract::Query;
use http::Uri;

use super::visit::Visit;
use super::words::DAY;
use crate::key::{KeyStatus, OrganizationId};
use crate::manage::name_fault;
use crate::store::KeyQuery;

/// How many keys a page of the list has.
const PAGE: usize = 50;

/// The choices of the list. What can't be read counts as not chosen.
pub(super) struct Choices {
    pub(super) name: String,
    pub(super) status: Option<KeyStatus>,
    pub(super) scope: String,
    pub(super) ending_days: Option<u32>,
    pub(super) unused_days: Option<u32>,
    /// For staff.
    pub(super) organization: Option<OrganizationId>,
    cursor: String,
}

impl Choices {
    pub(super) fn of(uri: &Uri) -> Self {
        let fields = fields(uri);
        let text = |name: &str| fields.get(name).map(|text| text.trim().to_owned()).unwrap_or_default();
        Self {
            name: text("name"),
            status: text("state").parse().ok(),
            scope: text("scope"),
            ending_days: text("ending").parse().ok(),
            unused_days: text("unused").parse().ok(),
            organization: text("organization").parse().ok(),
            cursor: text("after"),
        }
    }

    /// Whether any key is left out.
    pub(super) fn are_made(&self) -> bool {
        self.parts().next().is_some()
    }

    pub(super) fn query(&self, visit: &Visit) -> KeyQuery {
        let days = |days: u32| DAY * days;
        KeyQuery {
            after: self.cursor.parse().ok(),
            expires_before: self.ending_days.map(|time| visit.now.saturating_add(days(time))),
            unused_since: self.unused_days.map(|time| visit.now.saturating_sub(days(time))),
            status_at: self.status.map(|status| (status, visit.now)),
            scope: self.scope.parse().ok(),
            name_prefix: Some(self.name.clone()).filter(|name| name_fault(name).is_none()),
            newest_first: true,
            limit: PAGE,
            ..KeyQuery::default()
        }
    }

    /// The query of the page that starts at `cursor`, with the same choices.
    pub(super) fn at(&self, cursor: &str) -> String {
        let mut query = String::from("?");
        for (name, value) in self.parts() {
            query.push_str(name);
            query.push('=');
            push_encoded(&mut query, &value);
            query.push('&');
        }
        query.push_str("after=");
        push_encoded(&mut query, cursor);
        query
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let number = |days: Option<u32>| days.map(|days| days.to_string()).unwrap_or_default();
        let parts = [
            ("name", self.name.clone()),
            ("state", self.status.map(|status| status.to_string()).unwrap_or_default()),
            ("scope", self.scope.clone()),
            ("ending", number(self.ending_days)),
            ("unused", number(self.unused_days)),
            ("organization", self.organization.as_ref().map(ToString::to_string).unwrap_or_default()),
        ];
        parts.into_iter().filter(|(_, value)| !value.is_empty())
    }
}

/// The last value of each name.
pub(super) fn fields(uri: &Uri) -> BTreeMap<String, String> {
    Query::try_from_uri(uri).map(|Query(fields)| fields).unwrap_or_default()
}

/// Percent-encoded, but for the unreserved characters of RFC 3986.
fn push_encoded(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                query.push(char::from(byte))
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_the_same_choices() {
        let uri = "/?name=a%26b%20%C3%A9&state=expired&scope=runs:*&ending=30&unused=&organization=acme&after=1.k1&x=y";
        let choices = Choices::of(&uri.parse().unwrap());
        assert!(choices.are_made());
        let next = choices.at("2.k2");
        assert_eq!(
            next,
            "?name=a%26b%20%C3%A9&state=expired&scope=runs%3A%2A&ending=30&organization=acme&after=2.k2"
        );
        let again = Choices::of(&format!("/{next}").parse().unwrap());
        assert_eq!((again.name.as_str(), again.cursor.as_str()), ("a&b é", "2.k2"));
    }

    #[test]
    fn what_cannot_be_read_is_not_chosen() {
        for query in [
            "/",
            "/?state=&scope=&name=",
            "/?state=lost&ending=-1&unused=soon&organization=a%20b",
            "/?%FF=%FF",
        ] {
            assert!(!Choices::of(&query.parse().unwrap()).are_made(), "{query}");
        }
    }
}
