use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{UsageCounts, UsageEntry, UsageGroup, UsageQuery};
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner, Tenant};

/// The answer to a [`UsageQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// From a [`KeyManager`](crate::manage::KeyManager) in the order of buckets, then of owners, keys or categories, and without
    /// gaps: every bucket has a row, and so has every group of the answer in every bucket. From a
    /// [`UsageLog`](crate::store::UsageLog) only those with requests.
    pub rows: Vec<UsageRow>,
    /// How far it is complete: each process that counts has added what it had counted until then, unless it has added nothing for
    /// three minutes and so is taken for ended. A process whose clock is ahead counts by that of the store, and one whose clock is
    /// more than three minutes behind the others is not waited for. `None` if nothing was ever added.
    pub as_of: Option<Timestamp>,
}

/// The requests in one bucket, all together or of one group.
///
/// It serializes as
///
/// ```json
/// {"start":"2023-12-14T05:00:00Z","keyId":"k7Jc0qWvTz4n8XsB","organization":"acme","mode":"live","category":null,
///  "total":42,"calls":{"ok":40,"client_error":0,"limited":2,"forbidden":0,"refused":0,"server_error":0}}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageRow {
    /// The beginning of the bucket.
    pub start: Timestamp,
    /// The key, if rows are grouped by key.
    pub key_id: Option<KeyId>,
    /// The owner, if rows are grouped by key or by organization.
    pub owner: Option<Owner>,
    /// The category, if rows are grouped by category; the empty text if no limit counts the requests.
    pub category: Option<String>,
    /// How many requests.
    pub calls: UsageCounts,
}

impl UsageRow {
    /// The row without requests that those of `entry` belong to. For a store that reads entries.
    pub fn of(entry: &UsageEntry, query: &UsageQuery) -> Self {
        let group = query.group_by;
        Self {
            start: query.bucket.start_of(entry.hour),
            key_id: (group == Some(UsageGroup::Key)).then_some(entry.key_id),
            owner: matches!(group, Some(UsageGroup::Key | UsageGroup::Organization))
                .then(|| entry.owner.clone()),
            category: (group == Some(UsageGroup::Category)).then(|| entry.category.clone()),
            calls: UsageCounts::default(),
        }
    }

    /// The row of all requests in the bucket that begins at `start`.
    pub(crate) fn of_all(start: Timestamp, calls: UsageCounts) -> Self {
        Self { start, key_id: None, owner: None, category: None, calls }
    }
}

impl Usage {
    /// For a store that reads them.
    pub fn new(rows: Vec<UsageRow>, as_of: Option<Timestamp>) -> Self {
        Self { rows, as_of }
    }

    /// With a row for each group in each bucket: `Err` is how many rows that would be, if they are more than `most`.
    pub(crate) fn filled(self, query: &UsageQuery, most: u64) -> Result<Self, u64> {
        let mut groups = BTreeMap::<_, BTreeMap<Timestamp, UsageCounts>>::new();
        for UsageRow { start, key_id, owner, category, calls } in self.rows {
            *groups.entry((owner, key_id, category)).or_default().entry(start).or_default() += calls;
        }
        if groups.is_empty() && query.group_by.is_none() {
            groups.insert((None, None, None), BTreeMap::new());
        }
        let count = (groups.len() as u64).max(1).saturating_mul(query.bucket_count());
        if count > most {
            return Err(count);
        }
        let rows = query.buckets().flat_map(|start| {
            groups.iter().map(move |((owner, key_id, category), counts)| UsageRow {
                key_id: *key_id,
                owner: owner.clone(),
                category: category.clone(),
                ..UsageRow::of_all(start, counts.get(&start).copied().unwrap_or_default())
            })
        });
        Ok(Self { rows: rows.collect(), as_of: self.as_of })
    }
}

impl Serialize for UsageRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let organization = self.owner.as_ref().and_then(|owner| match &owner.tenant {
            Tenant::Organization(organization) => Some(organization.as_str()),
            Tenant::System => None,
        });
        let mut row = serializer.serialize_struct("UsageRow", 7)?;
        row.serialize_field("start", &self.start)?;
        row.serialize_field("keyId", &self.key_id)?;
        row.serialize_field("organization", &organization)?;
        row.serialize_field("mode", &self.owner.as_ref().map(|owner| owner.mode))?;
        row.serialize_field("category", &self.category)?;
        row.serialize_field("total", &self.calls.total())?;
        row.serialize_field("calls", &self.calls)?;
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{UsageBucket, UsageOutcome};

    const HOUR: u64 = 3600;
    /// 2023-12-14T05:00:00Z.
    const START: u64 = 1_702_530_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(START + seconds)
    }

    fn row(hour: u64, category: Option<&str>, ok: u64) -> UsageRow {
        let mut calls = UsageCounts::default();
        calls.add(UsageOutcome::Ok, ok);
        UsageRow { category: category.map(Into::into), ..UsageRow::of_all(at(hour * HOUR), calls) }
    }

    #[test]
    fn gaps_are_filled_with_zeros() {
        let group = Some(UsageGroup::Category);
        for (name, group_by, rows, filled) in [
            ("no usage", None, vec![], vec![row(0, None, 0), row(1, None, 0), row(2, None, 0)]),
            ("no usage of any group", group, vec![], vec![]),
            ("a gap", None, vec![row(1, None, 7)], vec![row(0, None, 0), row(1, None, 7), row(2, None, 0)]),
            (
                "groups",
                group,
                vec![row(0, Some("write"), 1), row(2, Some("read"), 2)],
                vec![
                    row(0, Some("read"), 0),
                    row(0, Some("write"), 1),
                    row(1, Some("read"), 0),
                    row(1, Some("write"), 0),
                    row(2, Some("read"), 2),
                    row(2, Some("write"), 0),
                ],
            ),
        ] {
            // Both ends lie within a bucket, which is there as a whole.
            let mut query = UsageQuery::new(at(1), at(2 * HOUR + 1), UsageBucket::Hour);
            query.group_by = group_by;
            let usage = Usage { rows, as_of: None };
            assert_eq!(usage.filled(&query, 6).map(|usage| usage.rows), Ok(filled), "{name}");
        }
    }

    #[test]
    fn an_answer_has_an_end() {
        let none = || Usage { rows: Vec::new(), as_of: None };
        for (seconds, bucket, count) in [
            (0, UsageBucket::Hour, 0),
            (1, UsageBucket::Hour, 1),
            (HOUR, UsageBucket::Hour, 1),
            (HOUR + 1, UsageBucket::Hour, 2),
            // Five hours of the day have passed at the start.
            (19 * HOUR, UsageBucket::Day, 1),
            (19 * HOUR + 1, UsageBucket::Day, 2),
            (u64::MAX / 2, UsageBucket::Hour, 77_714_569),
        ] {
            let query = UsageQuery::new(at(0), at(seconds), bucket);
            assert_eq!(query.bucket_count(), count, "{seconds}");
            if count > 0 {
                assert_eq!(none().filled(&query, count - 1), Err(count), "{seconds}");
            }
            if count < 10 {
                assert_eq!(none().filled(&query, count).unwrap().rows.len() as u64, count, "{seconds}");
            }
        }
    }
}
