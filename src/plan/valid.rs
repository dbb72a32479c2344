//! A `RestoreTest` that was found valid, and what judging needs to know of it.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;

use super::{naming, rules};
use crate::api::{Check, HealthCheckPolicy, RestoreTest, RestoreTestSpec};
use crate::facts::{Brief, CheckBrief, DependencyBrief};

/// A `RestoreTest` with its policy, made by [`validate`](super::validate::validate) only: that one exists proves that every
/// name in it is one, every pattern compiles, and no namespace is listed twice.
#[derive(Clone, Debug)]
pub struct ValidTest {
    /// Name of the test.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its spec.
    pub spec: RestoreTestSpec,
    /// The checks of its policy in order; `None` without a policy.
    pub checks: Option<Vec<Check>>,
    /// When it should run.
    pub schedule: Option<ParsedSchedule>,
    pub(super) _proof: Proof,
}

/// Keeps others from making a [`ValidTest`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof;

/// A schedule that was understood.
#[derive(Clone, Debug)]
pub struct ParsedSchedule {
    /// When.
    pub cron: Cron,
    /// In which zone.
    pub zone: Tz,
}

impl ParsedSchedule {
    /// The first start after `now`; `None` if there is none, as with the 30th of February.
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let next = self
            .cron
            .find_next_occurrence(&now.with_timezone(&self.zone), false)
            .ok()?;
        Some(next.to_utc())
    }
}

impl ValidTest {
    /// The source namespaces, in the order of the spec.
    pub fn sources(&self) -> Vec<String> {
        sources(&self.spec)
    }

    /// Is a backup of this name wanted, or whichever is best?
    pub fn named_backup(&self) -> Option<&str> {
        let name = self.spec.backup_source.backup_name.as_str();
        (name != LATEST).then_some(name)
    }

    /// Only a part of each namespace is restored, so what is expected is what the provider selected and not everything
    /// that the backup holds.
    pub fn is_partial(&self) -> bool {
        !self.spec.backup_source.label_selector.is_empty()
    }

    /// Each source namespace with the name of its sandbox, in the order of the spec. Names are unique.
    pub fn sandbox_names(&self, run_id: &str) -> Vec<(String, String)> {
        let readable = self.spec.backup_source.namespaces.iter().map(|namespace| {
            let default = || {
                format!(
                    "{}-{}-{}",
                    self.spec.sandbox.namespace_prefix, self.name, namespace.name
                )
            };
            (
                namespace.name.clone(),
                namespace.sandbox_name.clone().unwrap_or_else(default),
            )
        });
        naming::sandboxes(&readable.collect::<Vec<_>>(), run_id)
    }
}

/// The name that stands for whichever backup is best.
pub(super) const LATEST: &str = "latest";

fn sources(spec: &RestoreTestSpec) -> Vec<String> {
    spec.backup_source
        .namespaces
        .iter()
        .map(|namespace| namespace.name.clone())
        .collect()
}

/// What judging needs to know of a test.
pub fn brief(test: &ValidTest) -> Brief {
    brief_of(&test.name, &test.spec, test.checks.as_deref())
}

/// The same of a test that is not valid, for the report that says so.
pub fn brief_of_invalid(test: &RestoreTest, policy: Option<&HealthCheckPolicy>) -> Brief {
    // A policy that was asked for and is not there must not read as if none had been asked for.
    let checks = match policy {
        Some(policy) => Some(policy.spec.checks.as_slice()),
        None => test.spec.health_checks.policy_ref.as_ref().map(|_| [].as_slice()),
    };
    brief_of(test.metadata.name.as_deref().unwrap_or_default(), &test.spec, checks)
}

fn brief_of(name: &str, spec: &RestoreTestSpec, checks: Option<&[Check]>) -> Brief {
    let check = |check: &Check| CheckBrief {
        name: check.name.clone(),
        critical: check.is_critical(),
    };
    let dependencies = spec.dependencies.iter().map(|dependency| DependencyBrief {
        service: dependency.service.clone(),
        namespace: dependency.namespace.clone(),
        port: dependency.port,
    });
    Brief {
        test: name.to_owned(),
        sources: sources(spec),
        checks: checks.map(|checks| checks.iter().map(check).collect()),
        dependencies: dependencies.collect(),
        max_rto: spec.sla.max_rto.as_ref().map(|target| target.time().0),
        max_backup_age: spec.sla.max_backup_age.as_ref().map(|target| target.time().0),
        max_rto_written: spec.sla.max_rto.as_ref().map(ToString::to_string),
        max_backup_age_written: spec.sla.max_backup_age.as_ref().map(ToString::to_string),
        partial_restore: !spec.backup_source.label_selector.is_empty(),
        not_served: not_served(spec),
    }
}

/// Fields that are set but change nothing in this version, each named as it stands in the spec.
fn not_served(spec: &RestoreTestSpec) -> Vec<String> {
    let mut fields = Vec::new();
    if !spec.notifications.is_empty() {
        fields.push("spec.notifications".to_owned());
    }
    if spec.sla.alert_on_exceed {
        fields.push("spec.sla.alertOnExceed".to_owned());
    }
    if spec.log_collection.enabled {
        fields.push("spec.logCollection.enabled".to_owned());
    }
    for (index, entry) in spec.restore.custom_resources.iter().enumerate() {
        if let Some(rule) = rules::never_let_in(entry) {
            fields.push(format!(
                "spec.restore.customResources[{index}] ({entry} always stays out: {rule})"
            ));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::fixtures::{good_policy, good_test, plain_test};
    use crate::plan::validate;

    #[test]
    fn the_brief_says_what_was_asked() {
        let valid = validate(&good_test(), Some(&good_policy())).unwrap();
        let brief = brief(&valid);
        assert_eq!(
            (brief.test.as_str(), brief.sources.join(" ")),
            ("nightly", "shop db".to_owned())
        );
        let checks = brief.checks.as_ref().unwrap();
        let critical: Vec<_> = checks
            .iter()
            .filter(|check| check.critical)
            .map(|check| check.name.as_str())
            .collect();
        assert_eq!((checks.len(), critical), (5, vec!["pods"]));
        assert_eq!(brief.dependencies[0].to_string(), "redis.platform");
        assert_eq!(brief.max_rto, Some(Duration::from_mins(15)));
        assert_eq!(brief.max_backup_age, Some(Duration::from_hours(26)));
        assert_eq!(
            (
                brief.max_rto_written.as_deref(),
                brief.max_backup_age_written.as_deref()
            ),
            (Some("15m"), Some("26h"))
        );
        assert!(brief.partial_restore && valid.is_partial());
        let not_served = [
            "spec.notifications",
            "spec.sla.alertOnExceed",
            "spec.logCollection.enabled",
        ];
        assert_eq!(brief.not_served, not_served);
        assert_eq!(valid.uid, "0c6f");
    }

    #[test]
    fn nothing_set_is_nothing_unserved() {
        let brief = brief(&plain_test(|_| {}));
        assert!(brief.not_served.is_empty() && brief.checks.is_none() && !brief.partial_restore);
    }

    #[test]
    fn entries_that_let_nothing_in_are_named() {
        let let_in = |test: &mut RestoreTest| {
            test.spec.restore.custom_resources = vec!["example.com".into(), "Application.argoproj.io".into()];
        };
        let expected = "spec.restore.customResources[1] (Application.argoproj.io always stays out: GitOps)";
        assert_eq!(brief(&plain_test(let_in)).not_served, [expected]);
    }

    #[test]
    fn an_invalid_test_has_a_brief_too() {
        let mut test = good_test();
        test.metadata.name = Some("Bad Name".into());
        let brief = brief_of_invalid(&test, Some(&good_policy()));
        assert_eq!(
            (brief.test.as_str(), brief.checks.map(|checks| checks.len())),
            ("Bad Name", Some(5))
        );
        // It was asked for, so "no policy" would be wrong.
        assert_eq!(brief_of_invalid(&test, None).checks, Some(Vec::new()));
        test.spec.health_checks.policy_ref = None;
        assert_eq!(brief_of_invalid(&test, None).checks, None);
    }

    #[test]
    fn sandboxes_are_named_by_prefix_test_and_source_or_as_asked() {
        let valid = validate(&good_test(), Some(&good_policy())).unwrap();
        let names = valid.sandbox_names("x7k2p9");
        let expected = [
            ("shop", "rp-test-nightly-shop-kymaros-x7k2p9"),
            ("db", "data-kymaros-x7k2p9"),
        ];
        assert_eq!(
            names,
            expected.map(|(source, name)| (source.to_owned(), name.to_owned()))
        );
    }

    #[test]
    fn the_next_start_is_in_the_zone() {
        let schedule = validate(&good_test(), Some(&good_policy())).unwrap().schedule.unwrap();
        for (now, expected) in [
            ("2026-05-13T12:00:00Z", "2026-05-14T01:00:00+00:00"),
            ("2026-12-13T12:00:00Z", "2026-12-14T02:00:00+00:00"),
            // At the very instant the next one is meant.
            ("2026-05-14T01:00:00Z", "2026-05-15T01:00:00+00:00"),
        ] {
            assert_eq!(
                schedule.next_after(now.parse().unwrap()).unwrap().to_rfc3339(),
                expected
            );
        }
        let never = plain_test(|test| {
            test.spec.schedule = Some(crate::plan::fixtures::from(serde_json::json!({ "cron": "0 0 30 2 *" })));
        });
        assert_eq!(
            never
                .schedule
                .unwrap()
                .next_after("2026-05-13T12:00:00Z".parse().unwrap()),
            None
        );
    }

    #[test]
    fn latest_is_no_name() {
        assert_eq!(plain_test(|_| {}).named_backup(), None);
        let named = plain_test(|test| test.spec.backup_source.backup_name = "daily-1".into());
        assert_eq!(named.named_backup(), Some("daily-1"));
    }
}
