//! Which old reports of a test go once a new one exists.
//!
//! Pure: the caller lists the reports, and deletes what is named here.

use chrono::{DateTime, Utc};

/// What deciding needs to know of a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportRef {
    /// Its name.
    pub name: String,
    /// Its `startedAt`; of a report that has none, when it was created.
    pub started_at: DateTime<Utc>,
    /// Its result is `pass`.
    pub passed: bool,
    /// It is labelled to be kept.
    pub retain: bool,
    /// Its verdict is final. Unfinished ones belong to a run, or to the next one, which completes them.
    pub finished: bool,
}

/// Names of the reports to delete, oldest first, so that `limit` of this test's are kept: the newest, and `this` in any case.
///
/// Reports to be retained are neither counted nor named. Unfinished ones are counted but never named. From a limit of two
/// up the newest passing report takes the oldest kept place, so "when did this last restore?" can always be answered.
pub fn prune(reports: &[ReportRef], limit: usize, this: &str) -> Vec<String> {
    let mut newest_first: Vec<&ReportRef> = reports.iter().collect();
    newest_first.sort_by(|a, b| (b.started_at, &b.name).cmp(&(a.started_at, &a.name)));
    let last_pass = newest_first
        .iter()
        .copied()
        .find(|report| report.finished && report.passed);
    let counted: Vec<&ReportRef> = newest_first.into_iter().filter(|report| !report.retain).collect();

    // A limit of zero is refused by the schema; were it to come through, deleting the evidence just written would be worst.
    let limit = limit.max(1);
    let mut kept: Vec<&str> = counted.iter().take(limit).map(|report| report.name.as_str()).collect();
    // Clocks that step can make this run look older than those before it.
    if !kept.contains(&this) && counted.iter().any(|report| report.name == this) {
        replace_oldest(&mut kept, limit, this, this);
    }
    if let Some(pass) = last_pass.filter(|pass| limit > 1 && !pass.retain && !kept.contains(&pass.name.as_str())) {
        replace_oldest(&mut kept, limit, &pass.name, this);
    }
    counted
        .iter()
        .rev()
        .filter(|report| report.finished && !kept.contains(&report.name.as_str()))
        .map(|report| report.name.clone())
        .collect()
}

/// Puts `name` into the place of the oldest that may give way, which is any but `this`.
fn replace_oldest<'a>(kept: &mut Vec<&'a str>, limit: usize, name: &'a str, this: &str) {
    if kept.len() >= limit
        && let Some(oldest) = kept.iter().rposition(|kept| *kept != this)
    {
        kept.remove(oldest);
    }
    kept.push(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, minute: i64) -> ReportRef {
        ReportRef {
            name: name.to_owned(),
            started_at: DateTime::from_timestamp(1_700_000_000 + minute * 60, 0).unwrap(),
            passed: false,
            retain: false,
            finished: true,
        }
    }

    fn passed(name: &str, minute: i64) -> ReportRef {
        ReportRef {
            passed: true,
            ..report(name, minute)
        }
    }

    fn retained(report: ReportRef) -> ReportRef {
        ReportRef { retain: true, ..report }
    }

    fn unfinished(report: ReportRef) -> ReportRef {
        ReportRef {
            finished: false,
            passed: false,
            ..report
        }
    }

    /// What it is about, the reports, the limit, the new report, and what goes.
    type Case = (
        &'static str,
        Vec<ReportRef>,
        usize,
        &'static str,
        &'static [&'static str],
    );

    #[rustfmt::skip]
    fn cases() -> Vec<Case> {
        vec![
            ("nothing there", vec![], 3, "a", &[]),
            ("fewer than the limit", vec![report("a", 1), report("b", 2)], 2, "b", &[]),
            ("the oldest go, oldest first",
                vec![report("c", 3), report("a", 1), report("d", 4), report("b", 2)], 2, "d", &["a", "b"]),
            ("equal times go by name",
                vec![report("t-2", 1), report("t", 1), report("t-3", 1)], 1, "t-3", &["t", "t-2"]),
            ("retained ones neither count nor go",
                vec![retained(report("a", 1)), retained(report("b", 2)), report("c", 3), report("d", 4)], 1, "d", &["c"]),
            ("the newest pass takes the oldest place",
                vec![passed("a", 1), passed("b", 2), report("c", 3), report("d", 4), report("e", 5)], 2, "e", &["a", "c", "d"]),
            ("a pass that is kept anyway changes nothing",
                vec![passed("a", 1), report("b", 2), passed("c", 3)], 2, "c", &["a"]),
            ("with a limit of one the newest is kept, whatever its result",
                vec![passed("a", 1), report("b", 2)], 1, "b", &["a"]),
            ("a retained pass needs no place",
                vec![retained(passed("a", 1)), report("b", 2), report("c", 3), report("d", 4)], 2, "d", &["b"]),
            ("an older pass does not displace while a newer one is retained",
                vec![passed("a", 1), retained(passed("b", 2)), report("c", 3), report("d", 4)], 2, "d", &["a"]),
            ("unfinished ones count but stay",
                vec![unfinished(report("a", 1)), report("b", 2), unfinished(report("c", 3)), report("d", 4)], 2, "d", &["b"]),
            ("a clock that stepped back does not cost the new report",
                vec![report("a", 10), report("b", 11), report("new", 1)], 2, "new", &["a"]),
            ("nor does the newest pass displace it",
                vec![report("a", 10), report("b", 11), passed("p", 2), report("new", 1)], 2, "new", &["a", "b"]),
            ("zero keeps the new one", vec![report("a", 1), report("b", 2)], 0, "b", &["a"]),
            ("a limit that was raised", vec![report("a", 1), report("b", 2)], 1000, "b", &[]),
        ]
    }

    #[test]
    fn table() {
        for (case, reports, limit, this, expected) in cases() {
            assert_eq!(prune(&reports, limit, this), expected, "{case}");
        }
    }

    /// A small generator of pseudo-random numbers; the same every time, so a failure can be looked at again.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }
    }

    #[test]
    fn properties() {
        let mut draw = Draw(7);
        for round in 0..5_000 {
            let count = 1 + draw.below(12);
            let reports: Vec<ReportRef> = (0..count)
                .map(|index| {
                    let finished = draw.below(8) > 0;
                    ReportRef {
                        // Few distinct times, so that ties happen.
                        passed: finished && draw.below(3) == 0,
                        retain: draw.below(5) == 0,
                        finished,
                        ..report(&format!("r{index:02}"), i64::try_from(draw.below(10)).unwrap())
                    }
                })
                .collect();
            let limit = usize::try_from(1 + draw.below(5)).unwrap();
            let this = reports[usize::try_from(draw.below(count)).unwrap()].name.clone();
            let gone = prune(&reports, limit, &this);
            let context = format!("round {round}: limit {limit}, this {this}, gone {gone:?}, {reports:#?}");

            let of = |name: &String| reports.iter().find(|report| report.name == *name).unwrap();
            let age = |report: &ReportRef| (report.started_at, report.name.clone());
            assert!(!gone.contains(&this), "deletes its own: {context}");
            assert!(
                gone.iter().map(of).all(|report| report.finished && !report.retain),
                "{context}"
            );
            let counted = reports.iter().filter(|report| !report.retain);
            let left: Vec<&ReportRef> = counted.clone().filter(|report| !gone.contains(&report.name)).collect();
            let finished_left = left.iter().filter(|report| report.finished).count();
            assert!(finished_left <= limit, "keeps too many: {context}");
            assert!(left.len() >= limit.min(counted.count()), "keeps too few: {context}");
            assert!(gone.is_sorted_by_key(|name| age(of(name))), "oldest first: {context}");

            let last_pass = reports
                .iter()
                .filter(|report| report.passed)
                .max_by_key(|report| age(report));
            if let Some(pass) = last_pass
                && limit > 1
            {
                assert!(!gone.contains(&pass.name), "loses the last pass: {context}");
            }
            // What is older than something deleted and still kept has a reason of its own.
            if let Some(newest_gone) = gone.iter().map(of).map(age).max() {
                for report in left.iter().filter(|report| age(report) < newest_gone) {
                    let is_last_pass = last_pass.is_some_and(|pass| pass.name == report.name);
                    assert!(
                        !report.finished || report.name == this || is_last_pass,
                        "{}: {context}",
                        report.name
                    );
                }
            }

            let mut shuffled = reports.clone();
            shuffled.reverse();
            assert_eq!(prune(&shuffled, limit, &this), gone, "order matters: {context}");
            let rest: Vec<ReportRef> = reports
                .iter()
                .filter(|report| !gone.contains(&report.name))
                .cloned()
                .collect();
            assert_eq!(
                prune(&rest, limit, &this),
                Vec::<String>::new(),
                "not settled at once: {context}"
            );
        }
    }
}
