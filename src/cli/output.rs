//! How things are shown to people.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use crate::manage::KeyView;

/// Columns that stand under each other. A last column is not padded.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header = header.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&header)
        .chain(rows)
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let columns = header.len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Names with their values; those without a value are left out.
pub(super) fn facts(facts: &[(&str, Option<String>)]) -> String {
    let rows = facts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    rows.map(|(name, value)| format!("{name:<16}{}\n", printable(value))).collect()
}

/// Text of others must not move the cursor of a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

pub(super) fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// Everything that may be shown of a key.
pub(super) fn key(key: &KeyView) -> String {
    facts(&key_facts(key))
}

pub(super) fn key_facts(key: &KeyView) -> [(&'static str, Option<String>); 17] {
    let text = |value: &dyn Display| Some(value.to_string());
    let limits = key.limits.iter().map(|(category, limit)| format!("{category}={limit}"));
    let addresses = (!key.allowed_addresses.is_empty()).then(|| list(&key.allowed_addresses));
    [
        ("id", text(&key.id)),
        ("name", text(&key.name)),
        ("owner", text(&key.owner)),
        ("status", text(&key.status)),
        ("key", text(&key.hint)),
        ("next key", key.next_hint.clone()),
        ("scopes", Some(if key.scopes.is_empty() { "none".to_owned() } else { list(&key.scopes) })),
        ("limits", (!key.limits.is_empty()).then(|| list(limits))),
        ("addresses", Some(addresses.unwrap_or_else(|| "any".to_owned()))),
        ("metadata", key.metadata.as_ref().map(|metadata| metadata.as_json().to_owned())),
        ("created", text(&key.created_at)),
        ("created by", key.created_by.as_ref().map(ToString::to_string)),
        ("secret of", text(&key.secret_created_at)),
        ("old secret ends", key.previous_valid_until.as_ref().map(ToString::to_string)),
        ("last used", key.last_used_at.as_ref().map(ToString::to_string)),
        ("valid from", key.not_before.as_ref().map(ToString::to_string)),
        ("expires", Some(key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string()))),
    ]
}

/// Says on a terminal how far long work has come.
pub(super) struct Progress {
    what: &'static str,
    done: u64,
    is_shown: bool,
}

impl Progress {
    pub(super) fn of(what: &'static str) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            what,
            done: 0,
            is_shown: !is_dumb && io::stderr().is_terminal() && !io::stdout().is_terminal(),
        }
    }

    pub(super) fn add(&mut self, more: usize) {
        self.done += more as u64;
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{} {}", self.done, self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.done > 0 {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["1".to_owned(), "Grün".to_owned()], vec!["22".to_owned(), "a\u{1b}[2J".to_owned()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID  NAME\n1   Grün\n22  a\u{fffd}[2J\n");
    }
}
