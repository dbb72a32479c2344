//! Names that a run gives: its id, its sandboxes, its report.

use chrono::{DateTime, Utc};

use crate::names::SANDBOX_INFIX;

/// Length of a run id. Admission policies know the sandboxes' names by it.
const RUN_ID: usize = 6;
/// Longest name of a namespace.
const LABEL: usize = 63;

/// A run's id, six of `a-z0-9`, from eight random bytes.
pub fn run_id(random: [u8; 8]) -> String {
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rest = u64::from_le_bytes(random);
    (0..RUN_ID)
        .map(|_| {
            let digit = usize::try_from(rest % 36).unwrap_or_default();
            rest /= 36;
            char::from(DIGITS[digit])
        })
        .collect()
}

/// Is this the name of a sandbox? Only the runner may make such namespaces, so none of them is an application's own.
pub fn is_sandbox_name(name: &str) -> bool {
    name.len() <= LABEL
        && name.rsplit_once(SANDBOX_INFIX).is_some_and(|(readable, id)| {
            !readable.is_empty()
                && id.len() == RUN_ID
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

/// The sandboxes' names for `(source, readable part)` pairs, in the same order and each only once.
///
/// The readable part is cut so that the run's suffix always survives whole. Two that are equal then get a number.
pub(super) fn sandboxes(readable: &[(String, String)], run_id: &str) -> Vec<(String, String)> {
    let suffix = format!("{SANDBOX_INFIX}{run_id}");
    let room = LABEL - suffix.len();
    let mut taken: Vec<String> = Vec::with_capacity(readable.len());
    for (_, wanted) in readable {
        let mut name = cut(wanted, room).to_owned();
        let mut count = 1;
        while taken.contains(&name) {
            count += 1;
            let index = format!("-{count}");
            name = format!("{}{index}", cut(wanted, room - index.len()));
        }
        taken.push(name);
    }
    let names = taken.iter().map(|name| format!("{name}{suffix}"));
    readable.iter().map(|(source, _)| source.clone()).zip(names).collect()
}

/// The first `room` bytes, which are characters in a DNS label, without a dash at the end.
fn cut(label: &str, room: usize) -> &str {
    label.get(..room).unwrap_or(label).trim_end_matches('-')
}

/// The report's name. `attempt` counts from 1; later ones are for when the name before is taken.
pub fn report_name(test: &str, started_at: DateTime<Utc>, attempt: u32) -> String {
    let name = format!("{test}-{}", started_at.format("%Y%m%d-%H%M%S"));
    if attempt > 1 { format!("{name}-{attempt}") } else { name }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn run_ids_are_six_of_36_and_use_them_all() {
        let mut seen = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for seed in 0..2_000_u64 {
            let id = run_id((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
            assert_eq!(id.len(), 6);
            seen.extend(id.chars());
            ids.insert(id);
        }
        assert_eq!(
            seen.into_iter().collect::<String>(),
            "0123456789abcdefghijklmnopqrstuvwxyz"
        );
        assert_eq!(ids.len(), 2_000);
        assert_eq!(run_id([0; 8]), "aaaaaa");
    }

    #[test]
    fn knows_sandboxes_by_their_names() {
        for (name, expected) in [
            ("rp-test-nightly-shop-kymaros-x7k2p9", true),
            ("x-kymaros-abc123", true),
            ("a-kymaros-b-kymaros-abc123", true),
            ("shop", false),
            ("kymaros-system", false),
            ("-kymaros-abc123", false),
            ("shop-kymaros-abc12", false),
            ("shop-kymaros-abc1234", false),
            ("shop-kymaros-ABC123", false),
            ("shop-kymaros-abc-12", false),
            ("shop-kymaros-abc123-2", false),
        ] {
            assert_eq!(is_sandbox_name(name), expected, "{name}");
        }
    }

    fn names(readable: &[&str]) -> Vec<String> {
        let readable: Vec<_> = readable
            .iter()
            .map(|text| ((*text).to_owned(), (*text).to_owned()))
            .collect();
        sandboxes(&readable, "abc123")
            .into_iter()
            .map(|(_, name)| name)
            .collect()
    }

    #[test]
    fn short_names_stay_whole() {
        assert_eq!(
            names(&["rp-test-nightly-shop"]),
            ["rp-test-nightly-shop-kymaros-abc123"]
        );
        let full = "a".repeat(48);
        assert_eq!(names(&[&full]), [format!("{full}-kymaros-abc123")]);
    }

    #[test]
    fn long_names_are_cut_and_numbered() {
        let (one, two) = (format!("{}one", "a".repeat(60)), format!("{}two", "a".repeat(60)));
        let got = names(&[&one, &two, &one]);
        assert_eq!(
            got,
            [
                format!("{}-kymaros-abc123", "a".repeat(48)),
                format!("{}-2-kymaros-abc123", "a".repeat(46)),
                format!("{}-3-kymaros-abc123", "a".repeat(46)),
            ]
        );
    }

    #[test]
    fn no_dash_is_left_before_the_suffix() {
        let name = format!("{}-b{}", "a".repeat(47), "c".repeat(20));
        assert_eq!(names(&[&name]), [format!("{}-kymaros-abc123", "a".repeat(47))]);
    }

    #[test]
    fn a_number_can_be_taken_too() {
        assert_eq!(
            names(&["shop", "shop-2", "shop"]),
            ["shop-kymaros-abc123", "shop-2-kymaros-abc123", "shop-3-kymaros-abc123"]
        );
        assert_eq!(
            names(&["shop", "shop", "shop-2"]),
            [
                "shop-kymaros-abc123",
                "shop-2-kymaros-abc123",
                "shop-2-2-kymaros-abc123"
            ]
        );
    }

    #[test]
    fn every_name_is_a_label_a_sandbox_and_its_own() {
        let stems = [
            "a",
            "shop-db",
            "a-very-long-namespace-name-that-goes-on-and-on-and-on-until-it",
        ];
        for length in 1..=63 {
            let wanted: Vec<String> = (0..16)
                .map(|index| format!("{}{}", "x-".repeat(length)[..length].to_owned(), stems[index % 3]))
                .collect();
            let got = names(&wanted.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 16, "{got:?}");
            for name in &got {
                assert!(
                    name.len() <= 63 && is_sandbox_name(name) && !name.contains("--k"),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn reports_are_named_by_test_and_time() {
        let started: DateTime<Utc> = "2024-03-15T03:00:12.9Z".parse().unwrap();
        assert_eq!(
            report_name("my-app-nightly", started, 1),
            "my-app-nightly-20240315-030012"
        );
        assert_eq!(
            report_name("my-app-nightly", started, 2),
            "my-app-nightly-20240315-030012-2"
        );
        assert_eq!(
            report_name("my-app-nightly", started, 3),
            "my-app-nightly-20240315-030012-3"
        );
    }
}
