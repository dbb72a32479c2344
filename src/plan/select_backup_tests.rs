//! Which backups are taken, and what is said of those that are not.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::ValidTest;
use super::fixtures::{from, namespaces, plain_test};
use super::membership::{holds, newer_lacking, none_holds};
use super::select_backup::{Inventory, Passed, Point, Selection, rank};
use crate::api::{Duration, RestoreTest, Selection as Choice};
use crate::facts::{Reason, Stop, UnusableBackup};
use crate::velero::{Backup, BackupStorageLocation, Contents, DeleteBackupRequest};

const NOW: &str = "2026-05-13T12:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap()
}

/// A completed backup of everything, begun at this hour of the day before, with changes merged in.
fn backup(name: &str, hour: u32, change: Value) -> Backup {
    let mut object = json!({
        "metadata": {
            "name": name,
            "uid": format!("uid-{name}"),
            "labels": { "velero.io/schedule-name": "daily" },
            // When the cluster learnt of it; the order must not depend on that.
            "creationTimestamp": format!("2026-05-13T{:02}:59:00Z", 10 - hour.min(10)),
        },
        "spec": {
            "includedNamespaces": ["*"],
            "storageLocation": "default",
            "excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"],
        },
        "status": {
            "phase": "Completed",
            "startTimestamp": format!("2026-05-12T{hour:02}:00:00Z"),
            "completionTimestamp": format!("2026-05-12T{hour:02}:05:00Z"),
            "expiration": "2026-06-12T00:00:00Z",
        },
    });
    merge(&mut object, change);
    from(object)
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

fn ok(name: &str, hour: u32) -> Backup {
    backup(name, hour, json!({}))
}

fn location(name: &str, phase: &str) -> BackupStorageLocation {
    let message = if phase == "Available" {
        Value::Null
    } else {
        json!("no route to store")
    };
    from(json!({ "metadata": { "name": name }, "status": { "phase": phase, "message": message } }))
}

fn latest(change: impl FnOnce(&mut RestoreTest)) -> ValidTest {
    plain_test(change)
}

fn named(name: &str) -> ValidTest {
    plain_test(|test| test.spec.backup_source.backup_name = name.into())
}

fn ranked(test: &ValidTest, backups: &[Backup]) -> Result<Selection, Stop> {
    ranked_at(test, backups, &[location("default", "Available")], &[])
}

fn ranked_at(
    test: &ValidTest,
    backups: &[Backup],
    locations: &[BackupStorageLocation],
    deletions: &[DeleteBackupRequest],
) -> Result<Selection, Stop> {
    let inventory = Inventory {
        backups,
        locations,
        deletions,
    };
    rank(test, &inventory, now(), 42)
}

fn names(selection: &Selection) -> Vec<&str> {
    selection.candidates.iter().map(|point| point.name.as_str()).collect()
}

fn stop(outcome: Result<Selection, Stop>) -> (Reason, String) {
    let stop = outcome.unwrap_err();
    (stop.reason, stop.message)
}

#[test]
fn the_newest_by_its_own_start_comes_first() {
    let backups = [ok("b", 3), ok("d", 9), ok("a", 1), ok("c", 3)];
    assert_eq!(names(&ranked(&latest(|_| {}), &backups).unwrap()), ["d", "c", "b", "a"]);
}

#[test]
fn equal_starts_go_by_completion_then_by_name() {
    let later = json!({ "status": { "completionTimestamp": "2026-05-12T04:00:00Z" } });
    let backups = [ok("z", 3), backup("a", 3, later), ok("y", 3)];
    assert_eq!(names(&ranked(&latest(|_| {}), &backups).unwrap()), ["a", "z", "y"]);
}

#[test]
fn a_point_says_where_it_lies_and_what_it_lacks() {
    let selection = ranked(&latest(|_| {}), &[ok("a", 3)]).unwrap();
    let point = &selection.candidates[0];
    assert_eq!(point.uid.as_deref(), Some("uid-a"));
    assert_eq!(point.started_at.to_rfc3339(), "2026-05-12T03:00:00+00:00");
    assert_eq!(
        (point.storage_location.as_str(), point.phase.as_str()),
        ("default", "Completed")
    );
    // The server's own exclusion of snapshots does not count.
    assert_eq!(point.partial, None);
    let newer = vec![UnusableBackup {
        name: "b".into(),
        phase: "Failed".into(),
    }];
    let facts = point.facts(newer.clone());
    assert_eq!(
        (facts.name.as_str(), facts.started_at, facts.bytes),
        ("a", Some(point.started_at), None)
    );
    assert_eq!((facts.newer_unusable, facts.uid.as_deref()), (newer, Some("uid-a")));

    let test = latest(|test| test.spec.backup_source.allow_partially_failed = true);
    for (change, expected) in [
        (
            json!({ "spec": { "labelSelector": { "matchLabels": { "a": "b" } } } }),
            "it was taken with filters (labelSelector)",
        ),
        (
            json!({ "status": { "phase": "PartiallyFailed", "errors": 2 } }),
            "it ended PartiallyFailed with 2 errors",
        ),
        (
            json!({ "spec": { "includedResources": ["pods"] }, "status": { "phase": "PartiallyFailed", "errors": 1 } }),
            "it ended PartiallyFailed with 1 error and it was taken with filters (includedResources: pods)",
        ),
    ] {
        let selection = ranked(&test, &[backup("a", 3, change)]).unwrap();
        assert_eq!(selection.candidates[0].partial.as_deref(), Some(expected));
    }
}

#[test]
fn what_cannot_be_restored_from_is_refused_with_its_reason() {
    for (change, expected) in [
        (json!({ "status": { "phase": "Failed" } }), "is Failed"),
        (
            json!({ "status": { "phase": "Failed", "failureReason": "disk full" } }),
            "is Failed (disk full)",
        ),
        (
            json!({ "status": { "phase": "FailedValidation", "validationErrors": ["x", "y"] } }),
            "is FailedValidation (x; y)",
        ),
        (
            json!({ "status": { "phase": "PartiallyFailed" } }),
            "is PartiallyFailed (set spec.backupSource.allowPartiallyFailed to restore it all the same)",
        ),
        (
            json!({ "status": { "phase": "InProgress" } }),
            "is not finished (InProgress)",
        ),
        (
            json!({ "status": { "phase": "FinalizingPartiallyFailed" } }),
            "is not finished (FinalizingPartiallyFailed)",
        ),
        (json!({ "status": { "phase": null } }), "is not finished (New)"),
        (
            json!({ "status": { "phase": "Dreaming" } }),
            "is not finished (Dreaming)",
        ),
        (json!({ "status": { "phase": "Deleting" } }), "is being deleted"),
        (json!({ "metadata": { "deletionTimestamp": NOW } }), "is being deleted"),
        (
            json!({ "status": { "startTimestamp": null } }),
            "does not say when it was begun",
        ),
        (
            json!({ "status": { "expiration": "2026-05-13T11:00:00Z" } }),
            "expired at 2026-05-13T11:00:00Z",
        ),
        (
            json!({ "status": { "expiration": "2026-05-13T14:00:00Z" } }),
            "expires at 2026-05-13T14:00:00Z, before this run may end (spec.timeout 2h0m0s): lower spec.timeout, or keep backups longer",
        ),
    ] {
        let selection = ranked(&latest(|_| {}), &[ok("a", 3), backup("b", 4, change.clone())]).unwrap();
        assert_eq!(names(&selection), ["a"], "{change}");
        let refused = &selection.refused[0];
        assert_eq!((refused.name.as_str(), refused.reason.as_str()), ("b", expected));

        let (reason, message) = stop(ranked(&named("b"), &[backup("b", 4, change.clone())]));
        assert_eq!((reason, message), (unfit(expected), format!("backup b {expected}")));
        let (reason, _) = stop(ranked(&latest(|_| {}), &[backup("b", 4, change)]));
        assert_eq!(reason, unfit(expected));
    }
}

/// What a backup is that is not used for this. Its TTL against the test's timeout is nobody's damage.
fn unfit(why: &str) -> Reason {
    if why.starts_with("expires at") {
        Reason::InvalidSpec
    } else {
        Reason::BackupUnusable
    }
}

#[test]
fn outliving_the_run_by_a_second_is_enough_and_no_expiration_is_none() {
    for expiration in [json!("2026-05-13T14:00:01Z"), Value::Null] {
        let change = json!({ "status": { "expiration": expiration } });
        assert_eq!(
            names(&ranked(&latest(|_| {}), &[backup("a", 3, change)]).unwrap()),
            ["a"]
        );
    }
    let change = json!({ "status": { "expiration": "2026-05-13T14:00:01Z" } });
    let longer = latest(|test| test.spec.timeout = Duration::from_mins(121));
    assert_eq!(stop(ranked(&longer, &[backup("a", 3, change)])).0, Reason::InvalidSpec);
}

#[test]
fn a_request_to_delete_counts_in_any_phase() {
    let here = [location("default", "Available")];
    for phase in ["", "New", "InProgress", "Processed"] {
        let request =
            from(json!({ "metadata": { "name": "x" }, "spec": { "backupName": "b" }, "status": { "phase": phase } }));
        let selection = ranked_at(&latest(|_| {}), &[ok("a", 3), ok("b", 4)], &here, &[request]).unwrap();
        assert_eq!(names(&selection), ["a"], "{phase}");
        assert_eq!(selection.refused[0].reason, "is being deleted");
        // Its deletion is no failure of the backup.
        assert_eq!(selection.newer_unusable(&selection.candidates[0], &[]), []);
    }
}

#[test]
fn filters_narrow_latest() {
    let other = json!({ "metadata": { "labels": { "velero.io/schedule-name": "weekly" } } });
    let by_hand = json!({ "metadata": { "labels": null } });
    let elsewhere = json!({ "spec": { "storageLocation": "archive" } });
    let backups = [
        ok("a", 1),
        backup("w", 2, other),
        backup("h", 3, by_hand),
        backup("x", 4, elsewhere),
    ];
    let both = [location("default", "Available"), location("archive", "Available")];
    let rank = |change: fn(&mut RestoreTest)| ranked_at(&latest(change), &backups, &both, &[]).unwrap();
    assert_eq!(names(&rank(|_| {})), ["x", "h", "w", "a"]);
    let selection = rank(|test| test.spec.backup_source.schedule_name = Some("daily".into()));
    assert_eq!(
        (names(&selection), selection.refused.len()),
        (vec!["x", "a"], 0),
        "strangers are not even mentioned"
    );
    assert_eq!(
        names(&rank(
            |test| test.spec.backup_source.storage_location = Some("archive".into())
        )),
        ["x"]
    );
    // 33 hours reach back to 3 o'clock of the day before.
    let selection = rank(|test| test.spec.backup_source.window = Some(Duration::from_mins(33 * 60)));
    assert_eq!(names(&selection), ["x", "h"]);
    let why = "is older than spec.backupSource.window (33h0m0s): begun at 2026-05-12T02:00:00Z";
    assert_eq!(selection.refused[0].reason, why);
}

#[test]
fn only_backups_that_may_hold_all_namespaces_are_candidates() {
    let of = |names: Value| json!({ "spec": { "includedNamespaces": names } });
    let backups = [
        backup("all", 1, of(json!([]))),
        backup("both", 2, of(json!(["shop", "db"]))),
        backup("pattern", 3, of(json!(["shop", "d*"]))),
        backup("one", 4, of(json!(["shop"]))),
        backup("none", 5, of(json!(["other"]))),
        backup(
            "without",
            6,
            json!({ "spec": { "excludedNamespaces": ["shop", "db"] } }),
        ),
    ];
    let test = latest(|test| test.spec.backup_source.namespaces = namespaces(&["shop", "db"]));
    let selection = ranked(&test, &backups).unwrap();
    assert_eq!(names(&selection), ["pattern", "both", "all"]);
    let refused: Vec<_> = selection
        .refused
        .iter()
        .map(|one| (one.name.as_str(), one.reason.as_str()))
        .collect();
    assert_eq!(refused, [("one", "was not asked to hold db")]);
}

#[test]
fn newer_failures_are_told_and_nothing_else_is() {
    let phase = |phase: &str| json!({ "status": { "phase": phase } });
    let backups = [
        backup("old-failure", 1, phase("Failed")),
        ok("good", 3),
        backup("failed", 4, phase("Failed")),
        backup("partial", 5, phase("PartiallyFailed")),
        // Never begun, so only its creation places it: 4:59 of the next day.
        backup(
            "invalid",
            6,
            json!({ "status": { "phase": "FailedValidation", "startTimestamp": null } }),
        ),
        backup("running", 7, phase("InProgress")),
        backup("deleting", 8, phase("Deleting")),
        backup("expiring", 9, json!({ "status": { "expiration": NOW } })),
        backup(
            "stranger",
            9,
            json!({ "spec": { "includedNamespaces": ["x"] }, "status": { "phase": "Failed" } }),
        ),
    ];
    let newer = |change: fn(&mut RestoreTest)| {
        let selection = ranked(&latest(change), &backups).unwrap();
        let good = selection.candidates.iter().find(|point| point.name == "good").unwrap();
        let newer: Vec<String> = selection
            .newer_unusable(good, &[])
            .iter()
            .map(|b| format!("{} {}", b.name, b.phase))
            .collect();
        newer
    };
    assert_eq!(
        newer(|_| {}),
        ["invalid FailedValidation", "partial PartiallyFailed", "failed Failed"]
    );
    let allow = |test: &mut RestoreTest| test.spec.backup_source.allow_partially_failed = true;
    assert_eq!(newer(allow), ["invalid FailedValidation", "failed Failed"]);
}

#[test]
fn a_partially_failed_one_is_taken_where_allowed() {
    let backups = [
        ok("a", 3),
        backup("b", 4, json!({ "status": { "phase": "PartiallyFailed" } })),
    ];
    let test = latest(|test| test.spec.backup_source.allow_partially_failed = true);
    assert_eq!(names(&ranked(&test, &backups).unwrap()), ["b", "a"]);
}

#[test]
fn a_random_choice_reaches_every_backup_and_is_the_same_for_the_same_draw() {
    let backups: Vec<Backup> = (0..6).map(|hour| ok(&format!("b{hour}"), hour)).collect();
    let failed = backup(
        "failed",
        3,
        json!({ "status": { "phase": "Failed", "startTimestamp": "2026-05-12T03:30:00Z" } }),
    );
    let newest_failed = backup("newest", 9, json!({ "status": { "phase": "Failed" } }));
    let all: Vec<Backup> = backups.into_iter().chain([failed, newest_failed]).collect();
    let test = latest(|test| test.spec.backup_source.selection = Choice::Random);
    let here = [location("default", "Available")];
    let inventory = Inventory {
        backups: &all,
        locations: &here,
        deletions: &[],
    };
    let mut firsts = std::collections::BTreeMap::<String, u32>::new();
    for draw in 0..600 {
        let selection = rank(&test, &inventory, now(), draw).unwrap();
        assert_eq!(selection, rank(&test, &inventory, now(), draw).unwrap());
        *firsts.entry(selection.candidates[0].name.clone()).or_default() += 1;
        let mut names = names(&selection);
        names.sort_unstable();
        assert_eq!(names, ["b0", "b1", "b2", "b3", "b4", "b5"]);
        // An old one drawn on purpose makes no failure of before the newest good one newer.
        let newer: Vec<_> = selection
            .newer_unusable(&selection.candidates[0], &[])
            .into_iter()
            .map(|b| b.name)
            .collect();
        assert_eq!(newer, ["newest"]);
    }
    assert!(
        firsts.len() == 6 && firsts.values().all(|count| (60..140).contains(count)),
        "{firsts:?}"
    );
}

#[test]
fn a_named_backup_is_taken_and_no_other() {
    let backups = [ok("a", 3), ok("b", 4)];
    let selection = ranked(&named("a"), &backups).unwrap();
    assert_eq!(names(&selection), ["a"]);
    assert_eq!(selection.newer_unusable(&selection.candidates[0], &[]), []);
    let (reason, message) = stop(ranked(&named("c"), &backups));
    assert_eq!(reason, Reason::BackupNotFound);
    assert_eq!(
        message,
        "there is no Backup \"c\" in namespace velero; the newest for these namespaces: b, a"
    );
    let (reason, message) = stop(ranked(&named("c"), &[]));
    assert_eq!(reason, Reason::BackupNotFound);
    assert!(message.ends_with("none there holds these namespaces"), "{message}");
}

#[test]
fn a_location_out_of_reach_is_no_finding_about_the_backup() {
    let away = [location("default", "Unavailable")];
    let here = [location("default", "Available")];
    let why = "lies in BackupStorageLocation default, which is Unavailable (no route to store)";
    let unavailable = Reason::ProviderUnavailable;

    let found = stop(ranked_at(&named("a"), &[ok("a", 3)], &away, &[]));
    assert_eq!(found, (unavailable, format!("backup a {why}")));
    let found = stop(ranked_at(&latest(|_| {}), &[ok("a", 3)], &away, &[]));
    assert_eq!(
        found,
        (
            unavailable,
            format!("there is no usable backup of shop in namespace velero: a {why}")
        )
    );
    // What is wrong with the backup itself stays a finding.
    let failed = backup("a", 3, json!({ "status": { "phase": "Failed" } }));
    assert_eq!(
        stop(ranked_at(&named("a"), &[failed], &away, &[])).0,
        Reason::BackupUnusable
    );

    let (reason, message) = stop(ranked_at(&named("a"), &[], &away, &[]));
    assert_eq!(reason, unavailable);
    assert!(
        message.ends_with("is Unavailable (no route to store), so not all backups may be known"),
        "{message}"
    );
    assert_eq!(stop(ranked_at(&latest(|_| {}), &[], &away, &[])).0, unavailable);
    assert_eq!(
        stop(ranked_at(&latest(|_| {}), &[], &here, &[])).0,
        Reason::BackupNotFound
    );

    let (reason, message) = stop(ranked_at(&latest(|_| {}), &[], &[], &[]));
    assert_eq!(reason, unavailable);
    assert!(
        message.ends_with("but there is no BackupStorageLocation in namespace velero"),
        "{message}"
    );
    let (reason, message) = stop(ranked_at(
        &latest(|_| {}),
        &[ok("a", 3)],
        &[location("other", "Available")],
        &[],
    ));
    assert_eq!(reason, unavailable);
    assert!(
        message.ends_with("a lies in BackupStorageLocation default, which does not exist"),
        "{message}"
    );
    let (_, message) = stop(ranked_at(
        &latest(|_| {}),
        &[ok("a", 3)],
        &[location("default", "")],
        &[],
    ));
    assert!(message.contains("which is not validated yet"), "{message}");
}

#[test]
fn an_unrelated_location_out_of_reach_changes_nothing() {
    let both = [location("default", "Available"), location("archive", "Unavailable")];
    assert_eq!(
        names(&ranked_at(&latest(|_| {}), &[ok("a", 3)], &both, &[]).unwrap()),
        ["a"]
    );
    let test = latest(|test| test.spec.backup_source.storage_location = Some("default".into()));
    assert_eq!(stop(ranked_at(&test, &[], &both, &[])).0, Reason::BackupNotFound);
    let failed = backup("a", 3, json!({ "status": { "phase": "Failed" } }));
    assert_eq!(
        stop(ranked_at(&latest(|_| {}), &[failed], &both, &[])).0,
        Reason::BackupUnusable
    );
    // An older good backup that cannot be reached is why nothing is usable.
    let old = backup("old", 1, json!({ "spec": { "storageLocation": "archive" } }));
    let failed = backup("a", 3, json!({ "status": { "phase": "Failed" } }));
    assert_eq!(
        stop(ranked_at(&latest(|_| {}), &[failed, old], &both, &[])).0,
        Reason::ProviderUnavailable
    );
}

#[test]
fn a_message_names_the_nearest_and_the_filters() {
    let backups: Vec<Backup> = (0..8)
        .map(|hour| backup(&format!("b{hour}"), hour, json!({ "status": { "phase": "Failed" } })))
        .collect();
    let test = latest(|test| {
        test.spec.backup_source.schedule_name = Some("daily".into());
        test.spec.backup_source.storage_location = Some("default".into());
    });
    let (reason, message) = stop(ranked(&test, &backups));
    assert_eq!(reason, Reason::BackupUnusable);
    let expected = "there is no usable backup of shop in namespace velero of schedule daily in storage location default: \
                    b7 is Failed; b6 is Failed; b5 is Failed; b4 is Failed; b3 is Failed; and 3 more";
    assert_eq!(message, expected);
}

fn contents(namespaces: &[&str]) -> Contents {
    Contents {
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        ..Contents::default()
    }
}

#[test]
fn membership_is_decided_by_the_list() {
    let sources = ["shop".to_owned(), "db".to_owned()];
    assert_eq!(holds(&contents(&["db", "shop", "x"]), &sources), Ok(()));
    assert_eq!(holds(&contents(&["shop"]), &sources), Err(vec!["db".to_owned()]));
    assert_eq!(holds(&contents(&[]), &sources), Err(sources.to_vec()));
}

#[test]
fn what_is_missing_in_every_candidate_is_said() {
    let point = |name: &str| -> Point { ranked(&named(name), &[ok(name, 3)]).unwrap().candidates.remove(0) };
    let test = plain_test(|test| {
        test.spec.backup_source.backup_name = "a".into();
        test.spec.backup_source.namespaces = namespaces(&["shop", "db"]);
    });
    let stop = none_holds(&test, &[(point("a"), vec!["db".into()])], &[], 0);
    assert_eq!(
        stop,
        Stop::new(Reason::NamespaceNotInBackup, "backup a does not hold namespace db")
    );

    let test = latest(|test| test.spec.backup_source.namespaces = namespaces(&["shop", "db"]));
    let tried: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .map(|name| (point(name), vec!["shop".into(), "db".into()]))
        .to_vec();
    let stop = none_holds(&test, &tried, &[], 7);
    let start = "none of the 6 newest usable backups (7 older ones were not read) holds all of shop, db: backup a";
    assert!(stop.message.starts_with(start), "{}", stop.message);
    let stop = none_holds(&test, &tried, &[], 0);
    assert_eq!(stop.reason, Reason::BackupNotFound);
    let start = "no usable backup holds all of shop, db: backup a does not hold namespaces shop, db; backup b";
    assert!(
        stop.message.starts_with(start) && stop.message.ends_with("; and 1 more"),
        "{}",
        stop.message
    );
}

#[test]
fn whatever_makes_a_newer_backup_unusable_is_said() {
    let backups = [
        ok("good", 3),
        ok("without-files", 5),
        backup("failed", 6, json!({ "status": { "phase": "Failed" } })),
        backup("away", 7, json!({ "spec": { "storageLocation": "cold" } })),
        ok("older-without-files", 2),
    ];
    let locations = [location("default", "Available"), location("cold", "Unavailable")];
    let selection = ranked_at(&latest(|_| {}), &backups, &locations, &[]).unwrap();
    let point = |name: &str| selection.candidates.iter().find(|point| point.name == name).unwrap();
    let gone = ["without-files", "older-without-files"].map(|name| Passed::new(point(name), "its list is gone".into()));
    let newer: Vec<_> = selection.newer_unusable(point("good"), &gone);
    let newer: Vec<_> = newer.iter().map(|b| (b.name.as_str(), b.phase.as_str())).collect();
    assert_eq!(
        newer,
        [
            (
                "away",
                "lies in BackupStorageLocation cold, which is Unavailable (no route to store)"
            ),
            ("failed", "Failed"),
            ("without-files", "its list is gone"),
        ]
    );
    let stop = none_holds(&latest(|_| {}), &[], &gone, 0);
    assert_eq!(stop.reason, Reason::BackupUnusable);
    assert!(
        stop.message
            .ends_with("backup without-files: its list is gone; backup older-without-files: its list is gone")
    );
}

#[test]
fn newer_backups_without_the_namespace_are_mentioned() {
    let selection = ranked(&latest(|_| {}), &[ok("a", 3), ok("b", 4), ok("c", 5)]).unwrap();
    let tried = |names: &[&str]| -> Vec<(Point, Vec<String>)> {
        let named = selection
            .candidates
            .iter()
            .filter(|point| names.contains(&point.name.as_str()));
        named.map(|point| (point.clone(), vec!["shop".to_owned()])).collect()
    };
    let chosen = selection.candidates.last().unwrap();
    assert_eq!(newer_lacking(chosen, &[]), None);
    assert_eq!(
        newer_lacking(chosen, &tried(&["b", "c"])).unwrap(),
        "newer backup c does not hold namespace shop although its spec includes it, nor does 1 more; is it still backed up?"
    );
    assert_eq!(newer_lacking(&selection.candidates[0], &tried(&["b"])), None);
}
