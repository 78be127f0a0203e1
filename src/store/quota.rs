use crate::clock::Timestamp;

/// The count of one subject in a stored quota: one row of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaRow {
    /// The beginning of the period that [`used`](Self::used) belongs to.
    pub period: Timestamp,
    /// The cost counted in that period, what was leased included.
    pub used: u64,
    /// The highest limit that applied in that period: what was used beyond it came from what was granted.
    pub limit: u64,
    /// What was granted beyond the limit and is not spent. It outlasts the period.
    pub granted: u64,
}

/// A change of a [`QuotaRow`], to be made as one: see [`change_quota`](super::KeyAdministration::change_quota).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QuotaChange {
    /// The beginning of the present period.
    pub period: Timestamp,
    /// The limit that applies to the subject in this period, if the caller knows it.
    pub limit: Option<u64>,
    /// Cost to count in any case.
    pub spend: u64,
    /// Leased in this period and not used.
    pub give_back: u64,
    /// To add to what was granted; taken from it, as far as there is any, if negative.
    pub grant: i64,
    /// The least to lease; zero to lease nothing.
    pub least: u64,
    /// The most to lease.
    pub most: u64,
}

impl QuotaChange {
    pub(crate) fn new(period: Timestamp, limit: Option<u64>) -> Self {
        Self { period, limit, spend: 0, give_back: 0, grant: 0, least: 0, most: 0 }
    }

    /// Whether it only reads: a store then makes no row that is not there.
    pub fn is_look(&self) -> bool {
        (self.spend, self.give_back, self.grant, self.most) == (0, 0, 0, 0)
    }

    /// The row after this change of `row`, and how much of it is leased: nothing, or from [`least`](Self::least) to
    /// [`most`](Self::most), less and less as the limit comes near.
    ///
    /// A store reads the row, calls this, and writes the result, all under one lock. A clock that is behind changes no
    /// period.
    pub fn apply(&self, row: Option<QuotaRow>) -> (QuotaRow, u64) {
        let mut row = row.unwrap_or(QuotaRow { period: self.period, used: 0, limit: 0, granted: 0 });
        if row.period == self.period {
            row.used = row.used.saturating_sub(self.give_back);
        } else if row.period < self.period {
            // Without a limit it is not known what was spent of it.
            let beyond = if row.limit > 0 { row.used.saturating_sub(row.limit) } else { 0 };
            row.granted = row.granted.saturating_sub(beyond);
            (row.period, row.used, row.limit) = (self.period, 0, 0);
        }
        row.limit = row.limit.max(self.limit.unwrap_or(0));
        row.used = row.used.saturating_add(self.spend).min(HIGHEST);
        row.granted = row.granted.saturating_add_signed(self.grant).min(HIGHEST);
        let left = row.left(self.limit.unwrap_or(row.limit));
        let leased = if self.least <= left { (left / SHARE).max(self.least).min(self.most) } else { 0 };
        row.used += leased;
        (row, leased)
    }
}

impl QuotaRow {
    /// What is left of `limit` and of what was granted.
    pub(crate) fn left(&self, limit: u64) -> u64 {
        limit.saturating_add(self.granted).saturating_sub(self.used)
    }
}

/// The part of what is left that one process leases at most: several may do so at once.
const SHARE: u64 = 16;
/// So that sums fit the signed numbers of databases.
const HIGHEST: u64 = i64::MAX as u64 / 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(period: u64) -> Timestamp {
        Timestamp::from_unix_seconds(period)
    }

    fn row(period: u64, used: u64, granted: u64) -> QuotaRow {
        QuotaRow { period: at(period), used, limit: 1_000, granted }
    }

    #[test]
    fn a_lease_is_never_above_what_is_left_and_shrinks_towards_it() {
        for (used, least, most, leased) in [
            (0, 1, 100, 62),
            (0, 1, 10, 10),
            (0, 80, 100, 80),
            (900, 1, 100, 6),
            (990, 1, 100, 1),
            (999, 1, 100, 1),
            (999, 2, 100, 0),
            (1_000, 1, 100, 0),
            (5_000, 1, 100, 0),
            (0, 1_001, 2_000, 0),
            (0, 0, 0, 0),
        ] {
            let change = QuotaChange { least, most, ..QuotaChange::new(at(7), Some(1_000)) };
            let (after, found) = change.apply(Some(row(7, used, 0)));
            assert_eq!((found, after.used), (leased, used + leased), "{used} used, {least} to {most}");
        }
    }

    #[test]
    fn a_new_period_begins_at_zero_and_keeps_what_was_granted_and_not_spent() {
        for (before, period, after) in [
            (row(7, 400, 50), 8, row(8, 0, 50)),
            (row(7, 1_020, 50), 8, row(8, 0, 30)),
            (row(7, 2_000, 50), 8, row(8, 0, 0)),
            (row(7, 400, 50), 7, row(7, 400, 50)),
            // A process whose clock is behind counts in the period that others have begun.
            (row(7, 400, 50), 6, row(7, 400, 50)),
        ] {
            assert_eq!(QuotaChange::new(at(period), Some(1_000)).apply(Some(before)).0, after, "{before:?}");
        }
    }

    #[test]
    fn what_is_given_back_belongs_to_its_period() {
        let give_back = QuotaChange { give_back: 100, ..QuotaChange::new(at(7), Some(1_000)) };
        for (before, used) in
            [(row(7, 400, 0), 300), (row(7, 50, 0), 0), (row(6, 400, 0), 0), (row(8, 400, 0), 400)]
        {
            assert_eq!(give_back.apply(Some(before)).0.used, used, "{before:?}");
        }
    }

    #[test]
    fn grants_add_to_the_limit_and_numbers_end_somewhere() {
        let grant =
            |grant| QuotaChange { grant, least: 1_200, most: 1_200, ..QuotaChange::new(at(7), Some(1_000)) };
        assert_eq!(grant(199).apply(None), (row(7, 0, 199), 0));
        assert_eq!(grant(200).apply(None), (row(7, 1_200, 200), 1_200));
        assert_eq!(grant(-500).apply(Some(row(7, 0, 300))).0.granted, 0);
        let all = QuotaChange { spend: u64::MAX, grant: i64::MAX, ..QuotaChange::new(at(7), Some(1_000)) };
        let (full, _) = all.apply(Some(row(7, 5, 5)));
        assert_eq!((full.used, full.granted), (HIGHEST, HIGHEST));
        assert_eq!(all.apply(Some(full)).0, full);
    }

    /// How often the store is asked for 1000 requests, when several processes in turn use up a quota.
    #[test]
    fn leases_are_few() {
        for (limit, processes, asked) in [
            (1_000, 1, 144),
            (1_000, 8, 144),
            (10_000, 1, 18),
            (10_000, 8, 18),
            (100_000, 1, 2),
            (100_000, 8, 2),
        ] {
            let (mut row, mut units, mut times) = (None, vec![0; processes], 0);
            for process in (0..limit).map(|request| request as usize % processes) {
                if units[process] == 0 {
                    let change =
                        QuotaChange { least: 1, most: limit / 100, ..QuotaChange::new(at(7), Some(limit)) };
                    let (after, leased) = change.apply(row);
                    (row, units[process], times) = (Some(after), leased, times + 1);
                    if leased == 0 {
                        break;
                    }
                }
                units[process] -= 1;
            }
            assert_eq!(times * 1_000 / limit, asked, "{processes} processes at a limit of {limit}");
        }
    }
}
