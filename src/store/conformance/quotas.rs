//! The rules of stored quotas.

use std::time::Duration;

use super::tools::{START, join_all};
use crate::store::{KeyAdministration, QuotaChange};

/// If the store keeps quotas.
pub(super) async fn counts_quotas_as_one_change_each<S: KeyAdministration>(store: &S) {
    let lease = QuotaChange { least: 1, most: 7, ..QuotaChange::new(START, Some(100)) };
    if !store.keeps_quotas() {
        let refused = store.change_quota("month", "other:a", &lease).await;
        assert!(refused.is_err(), "a store that keeps no quotas must not seem to");
        return;
    }
    // At once, from none.
    let names = [("month", "other:a"), ("month", "other:A"), ("mönth '\"", "other:a"), ("", "")];
    for (category, subject) in names {
        let leases = join_all((0..40).map(|_| store.change_quota(category, subject, &lease)).collect()).await;
        let leases = leases.into_iter().map(|lease| lease.expect("a change of a quota must work").1);
        let leased: u64 = leases.sum();
        assert_eq!(
            leased,
            expected_leases(&lease, 40),
            "changes of a quota must not be lost, nor made twice"
        );
    }
    // As one row, changed in the order of the changes.
    let mut expected = None;
    for change in [
        QuotaChange { spend: 250, ..QuotaChange::new(START, Some(100)) },
        QuotaChange { give_back: 20, grant: 1_000_000_000_000, ..lease },
        QuotaChange { grant: -999_999_999_900, ..lease },
        QuotaChange::new(START.saturating_add(Duration::from_secs(60)), None),
        QuotaChange { give_back: 5, ..lease },
    ] {
        let after = change.apply(expected);
        let found = store.change_quota("day", "key:a", &change).await.expect("a change of a quota must work");
        assert_eq!(found, after, "a change must be that of `QuotaChange::apply`: {change:?}");
        expected = Some(after.0);
    }
}

/// The sum of what `times` changes lease, one after the other.
fn expected_leases(change: &QuotaChange, times: usize) -> u64 {
    let (mut row, mut sum) = (None, 0);
    for _ in 0..times {
        let (after, leased) = change.apply(row);
        (row, sum) = (Some(after), sum + leased);
    }
    sum
}
