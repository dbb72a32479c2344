//! The verdict as a table: a run where all is well, one thing that goes wrong, and what it must cost.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::*;
use crate::facts::*;
use table::TABLE;

mod not_in_backup;
mod table;

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_710_471_612 + seconds, 0).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn brief() -> Brief {
    let check = |name: &str, critical| CheckBrief {
        name: name.to_owned(),
        critical,
    };
    Brief {
        test: "shop-nightly".to_owned(),
        sources: vec!["shop".to_owned()],
        checks: Some(vec![check("db-ready", true), check("web", false)]),
        max_rto: Some(secs(1800)),
        ..Brief::default()
    }
}

fn kind(group: &str, kind: &str, resource: &str, names: &[&str]) -> KindFacts {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    KindFacts {
        source: "shop".to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        resource: resource.to_owned(),
        expected: names.clone(),
        present: Some(names.clone()),
        created: names.into_iter().collect(),
        ..KindFacts::default()
    }
}

fn check(name: &str, status: Status) -> CheckFact {
    CheckFact {
        name: name.to_owned(),
        status,
        duration: secs(1),
        message: String::new(),
        excluded: false,
    }
}

/// A run in which all went well: 100 points.
pub(super) fn good() -> Facts {
    Facts {
        run_id: "abc123".to_owned(),
        run_started: time(-8),
        backup: Some(BackupFacts {
            name: "shop-1".to_owned(),
            started_at: Some(time(-14_412)),
            bytes: Some(2_469_606_195),
            ..BackupFacts::default()
        }),
        isolation: Isolation::Proved,
        restore: Some(RestoreFacts {
            name: "kymaros-abc123".to_owned(),
            created_at: time(0),
            phase: "Completed".to_owned(),
            terminal: true,
            created_items: Some(9),
            ..RestoreFacts::default()
        }),
        objects: Some(ObjectFacts {
            kinds: vec![
                kind("apps", "Deployment", "deployments.apps", &["api", "web"]),
                kind("apps", "StatefulSet", "statefulsets.apps", &["db"]),
                kind("", "ConfigMap", "configmaps", &["web"]),
                kind("", "PersistentVolumeClaim", "persistentvolumeclaims", &["data-db-0"]),
            ],
        }),
        volumes: vec![volume()],
        pods: Some(PodFacts {
            workloads: ["api", "web", "db"].map(workload).to_vec(),
            ready_after: Some(secs(270)),
            stable: true,
            ..PodFacts::default()
        }),
        checks: vec![check("db-ready", Status::Pass), check("web", Status::Pass)],
        dependencies: Some(Vec::new()),
        elapsed: Some(secs(695)),
        ..Facts::default()
    }
}

fn workload(name: &str) -> WorkloadFacts {
    WorkloadFacts {
        source: "shop".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        desired: 1,
        ready: 1,
    }
}

fn volume() -> VolumeFacts {
    VolumeFacts {
        source: "shop".to_owned(),
        claim: "data-db-0".to_owned(),
        method: Some("PodVolumeBackup".to_owned()),
        listed: true,
        bytes: 1000,
        to_restore: 1000,
        restored_bytes: 1000,
        restore_phase: Some("Completed".to_owned()),
        claim_phase: Some("Bound".to_owned()),
        mounted: true,
        ..VolumeFacts::default()
    }
}

/// The living namespace, and what of it the backup does not hold.
fn living(absent: &[(&str, &str, &[&str])]) -> LivingFacts {
    let kind = |(group, kind, names): &(&str, &str, &[&str])| AbsentFacts {
        group: (*group).to_owned(),
        kind: (*kind).to_owned(),
        reason: "nobody knows".to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..AbsentFacts::default()
    };
    LivingFacts {
        source: "shop".to_owned(),
        absent: absent.iter().map(kind).collect(),
        ..LivingFacts::default()
    }
}

fn failure(fault: Fault) -> PodFailure {
    PodFailure {
        source: "shop".to_owned(),
        name: "db-0".to_owned(),
        cause: "Pod db-0: CrashLoopBackOff — OOMKilled".to_owned(),
        certain: false,
        fault,
    }
}

fn excluded(name: &str, reason: &str) -> ExcludedFact {
    ExcludedFact {
        source: "shop".to_owned(),
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

/// A check looked in vain for what is kept out.
fn vain(facts: &mut Facts, check: usize) {
    facts.checks[check] = CheckFact {
        status: Status::Skip,
        message: "Skipped: its pods are held".to_owned(),
        excluded: true,
        ..facts.checks[check].clone()
    };
}

fn pods(facts: &mut Facts) -> &mut PodFacts {
    facts.pods.as_mut().unwrap()
}

fn restore(facts: &mut Facts) -> &mut RestoreFacts {
    facts.restore.as_mut().unwrap()
}

fn objects(facts: &mut Facts) -> &mut Vec<KindFacts> {
    &mut facts.objects.as_mut().unwrap().kinds
}

fn db_down(facts: &mut Facts) {
    pods(facts).workloads[2].ready = 0;
    pods(facts).failures.push(failure(Fault::Backup));
    pods(facts).stable = false;
}

fn stop(reason: Reason) -> Stop {
    Stop::new(reason, "it happened")
}

fn nothing_restored(facts: &mut Facts, reason: Reason) {
    *facts = Facts {
        run_id: facts.run_id.clone(),
        run_started: facts.run_started,
        stop: Some(stop(reason)),
        ..Facts::default()
    };
}

#[test]
fn each_thing_that_goes_wrong_costs_what_it_must() {
    for (what, change, score, outcome, reason, points, words) in TABLE {
        let (mut brief, mut facts) = (brief(), good());
        change(&mut brief, &mut facts);
        let verdict = judge(&brief, &facts);
        let got: Vec<u32> = verdict.levels.iter().map(|(_, _, l)| l.points).collect();
        assert_eq!(
            (got.as_slice(), verdict.score),
            (points.as_slice(), *score),
            "{what}: {verdict:#?}"
        );
        assert_eq!(
            (verdict.outcome, verdict.reason.as_str()),
            (*outcome, *reason),
            "{what}"
        );
        assert!(
            verdict.message.contains(words),
            "{what}: {words:?} not in {:?}",
            verdict.message
        );
        let status = status::status(&brief, &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
        assert!(serde_json::to_string(&status).is_ok());
    }
}

/// No one thing going wrong may raise the score, on top of any other.
#[test]
fn trouble_never_pays() {
    for (first, one, ..) in TABLE {
        let (mut brief_one, mut facts_one) = (brief(), good());
        one(&mut brief_one, &mut facts_one);
        let alone = judge(&brief_one, &facts_one).score;
        for reason in [
            Reason::DeadlineExceeded,
            Reason::Interrupted,
            Reason::SandboxDenied,
            Reason::LeaseLost,
        ] {
            let stopped = Facts {
                stop: Some(stop(reason)),
                ..facts_one.clone()
            };
            assert!(judge(&brief_one, &stopped).score <= alone, "{first} and then {reason}");
        }
        let slow = Facts {
            elapsed: Some(secs(100_000)),
            ..facts_one.clone()
        };
        assert!(judge(&brief_one, &slow).score <= alone, "{first}, slowly");
    }
}

/// The table is complete: each level fails in it, and each reason of a condition stands in it.
#[test]
fn every_reason_has_a_row() {
    let stops = ALL_REASONS.iter().map(|(reason, _)| reason.as_str());
    let levels = [
        "RestoreIntegrityFailed",
        "CompletenessFailed",
        "PodStartupFailed",
        "InternalHealthFailed",
        "CrossNamespaceDepsFailed",
        "RtoComplianceFailed",
    ];
    let others = ["Passed", "NotFullyTested", "BackupTooOld", "NewerBackupUnusable"];
    for reason in stops.chain(levels).chain(others) {
        assert!(TABLE.iter().any(|row| row.4 == reason), "{reason} has no row");
    }
}

/// Every reason for an early end, and whether it says something about the backup.
const ALL_REASONS: [(Reason, bool); 15] = [
    (Reason::BackupNotFound, true),
    (Reason::BackupUnusable, true),
    (Reason::NamespaceNotInBackup, true),
    (Reason::DeadlineAfterRto, true),
    (Reason::InvalidSpec, false),
    (Reason::ProviderUnavailable, false),
    (Reason::ProviderInterrupted, false),
    (Reason::QueueTimeout, false),
    (Reason::Deferred, false),
    (Reason::IsolationNotEnforced, false),
    (Reason::SandboxDenied, false),
    (Reason::ApiUnavailable, false),
    (Reason::DeadlineExceeded, false),
    (Reason::LeaseLost, false),
    (Reason::Interrupted, false),
];

#[test]
fn conclusive_is_what_says_something_about_the_backup() {
    for (reason, conclusive) in ALL_REASONS {
        let facts = Facts {
            stop: Some(stop(reason)),
            ..good()
        };
        assert_eq!(judge(&brief(), &facts).conclusive, conclusive, "{reason}");
    }
}

#[test]
fn the_example_of_the_reference_page_comes_out_as_it_stands_there() {
    let facts = good();
    let verdict = judge(&brief(), &facts);
    let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(800));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["startedAt"], "2024-03-15T03:00:12Z");
    assert_eq!(json["completedAt"], "2024-03-15T03:11:47Z");
    assert_eq!(json["rto"]["measured"], "11m35s");
    assert_eq!(json["rto"]["withinSLA"], true);
    assert_eq!(json["backup"]["age"], "4h0m12s");
    assert_eq!(json["backup"]["size"], "2.3 GiB");
    assert_eq!(json["completeness"]["deployments"], "2/2");
    assert_eq!(json["completeness"]["customResources"], "0/0");
    let levels = &json["validationLevels"];
    assert_eq!(
        levels["restoreIntegrity"]["detail"],
        "Velero restore completed without errors"
    );
    assert_eq!(levels["restoreIntegrity"]["tested"][0], "shop-1");
    assert_eq!(
        levels["completeness"]["detail"],
        "All expected resources found in sandbox"
    );
    assert_eq!(levels["completeness"]["tested"][0], "Deployment/api");
    assert_eq!(
        levels["podStartup"]["detail"],
        "All pods reached Ready state within 4m30s"
    );
    assert_eq!(levels["podStartup"]["tested"][0], "api");
    assert_eq!(levels["internalHealth"]["detail"], "2/2 health checks passed");
    assert_eq!(
        levels["crossNamespaceDeps"]["detail"],
        "No cross-namespace dependencies declared"
    );
    assert_eq!(levels["rtoCompliance"]["detail"], "11m35s measured against 30m target");
    assert_eq!(levels["rtoCompliance"]["tested"][0], "sla.maxRTO");
    for (_, level) in levels.as_object().unwrap() {
        assert!(level["tested"].is_array() && level["notTested"].is_array());
    }
}

#[test]
fn names_carry_their_namespace_where_there_are_several() {
    let brief = Brief {
        sources: vec!["shop".into(), "platform".into()],
        ..brief()
    };
    let verdict = judge(&brief, &good());
    assert_eq!(verdict.levels[1].2.tested[0], "shop/Deployment/api");
    assert_eq!(verdict.levels[2].2.tested[0], "shop/api");
}

#[test]
fn a_clock_that_is_off_gives_no_negative_age() {
    let mut facts = good();
    facts.backup.as_mut().unwrap().started_at = Some(time(60));
    assert_eq!(judge(&brief(), &facts).age, Some(Duration::ZERO));
}

#[test]
fn held_custom_resources_count_as_not_there_and_are_named() {
    let mut facts = good();
    objects(&mut facts).push(KindFacts {
        source: "shop".into(),
        group: "example.com".into(),
        kind: "Widget".into(),
        custom: true,
        held: ["a", "b"]
            .map(|name| HeldFact {
                name: name.into(),
                rule: CUSTOM_RESOURCE_RULE.into(),
            })
            .to_vec(),
        present: Some(vec![]),
        ..KindFacts::default()
    });
    let verdict = judge(&brief(), &facts);
    let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
    assert_eq!(verdict.score, 100);
    assert_eq!(status.completeness.unwrap().custom_resources.unwrap(), "0/2");
    assert!(
        verdict
            .message
            .contains("restore.customResources: [Widget.example.com]"),
        "{}",
        verdict.message
    );
    assert_eq!(
        (status.held[0].kind.as_str(), status.held[0].count),
        ("Widget.example.com", 2)
    );
}

#[test]
fn what_admission_changed_is_told_and_costs_nothing() {
    let changed = |source: &str, count| KindFacts {
        source: source.into(),
        changed: vec![ChangedFact {
            count,
            rule: "subjects outside the sandbox removed".into(),
        }],
        ..kind("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", &["web"])
    };
    let mut facts = good();
    let before = judge(&brief(), &facts);
    objects(&mut facts).extend([changed("shop", 3), changed("blog", 2)]);
    let verdict = judge(&brief(), &facts);
    let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
    assert_eq!((verdict.score, &verdict.message), (100, &before.message));
    let changed = |kind: &str, count, rule: &str| crate::api::ChangedKind {
        kind: kind.into(),
        count,
        rule: rule.into(),
    };
    assert_eq!(
        status.changed,
        [changed("RoleBinding", 5, "subjects outside the sandbox removed")]
    );
}

/// Who reads of a passed drill has to know that something outside was within reach.
#[test]
fn ways_out_are_told_with_the_proof_and_in_the_message() {
    let told = |change: fn(&mut Facts)| {
        let mut facts = good();
        facts.ways_out = vec!["198.51.100.7/32 (TCP 5432)".into(), "2001:db8::/64 (UDP 8125)".into()];
        change(&mut facts);
        let verdict = judge(&brief(), &facts);
        let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
        let isolated = status.conditions.iter().find(|c| c.type_ == "SandboxIsolated").unwrap();
        (
            verdict,
            format!("{} {}: {}", isolated.status, isolated.reason, isolated.message),
        )
    };
    let (verdict, isolated) = told(|_| {});
    assert_eq!(verdict.score, 100);
    assert_eq!(
        isolated,
        "True Proved: opened afterwards by sandbox.egress: 198.51.100.7/32 (TCP 5432), 2001:db8::/64 (UDP 8125); \
         egress worked without the NetworkPolicies and was blocked with them"
    );
    let open = "sandbox.egress was open: 198.51.100.7/32 (TCP 5432); 2001:db8::/64 (UDP 8125)";
    assert!(verdict.message.ends_with(open), "{}", verdict.message);
    let (_, isolated) = told(|facts| facts.isolation = Isolation::NotTested("no probe".into()));
    assert!(
        isolated.starts_with("Unknown NotTested: opened afterwards by") && isolated.ends_with("; no probe"),
        "{isolated}"
    );
    let (verdict, isolated) = told(|facts| facts.isolation = Isolation::NotWatched("the watch pod was deleted".into()));
    assert!(
        isolated.starts_with("Unknown NotWatched: ") && isolated.ends_with("the watch pod was deleted"),
        "{isolated}"
    );
    assert!(
        verdict
            .message
            .contains("proved before the restore, but not watched during it"),
        "{}",
        verdict.message
    );
    let (verdict, _) = told(|facts| nothing_restored(facts, Reason::Deferred));
    assert!(
        !verdict.message.contains("sandbox.egress"),
        "nothing was there to go out: {}",
        verdict.message
    );
}

#[test]
fn custom_resources_that_were_let_in_are_named() {
    let mut facts = good();
    let widget = |present: &[&str]| KindFacts {
        source: "shop".into(),
        group: "example.com".into(),
        kind: "Widget".into(),
        custom: true,
        expected: vec!["a".into()],
        present: Some(present.iter().map(|name| (*name).to_owned()).collect()),
        ..KindFacts::default()
    };
    objects(&mut facts).push(widget(&["a"]));
    let message = judge(&brief(), &facts).message;
    assert!(
        message.contains("act on them outside the sandbox: Widget.example.com"),
        "{message}"
    );
    // What somebody else made there was not let in.
    *objects(&mut facts).last_mut().unwrap() = widget(&["b"]);
    let message = judge(&brief(), &facts).message;
    assert!(!message.contains("outside the sandbox"), "{message}");
}

#[test]
fn regression_is_a_fall_of_more_than_ten_points_or_a_level_that_passed() {
    let previous = |score, passed: &[&str]| PreviousReport {
        name: "shop-nightly-1".into(),
        score,
        passed: passed.iter().map(|p| (*p).to_owned()).collect(),
    };
    let regression = |facts: &Facts| {
        let verdict = judge(&brief(), facts);
        status::status(&brief(), facts, &verdict, crate::api::RunnerInfo::default(), time(700)).regression
    };
    let mut facts = good();
    facts.previous = Some(previous(100, &["podStartup"]));
    assert_eq!(regression(&facts), None);
    facts.checks[1].status = Status::Fail;
    facts.previous = Some(previous(99, &["podStartup"]));
    assert_eq!(regression(&facts), None, "ten points less is not more than ten");
    facts.previous = Some(previous(100, &["podStartup"]));
    assert_eq!(regression(&facts).unwrap().delta, -11);
    facts.previous = Some(previous(90, &["podStartup", "internalHealth"]));
    assert_eq!(regression(&facts).unwrap().levels, ["internalHealth"]);
    facts.stop = Some(stop(Reason::Interrupted));
    assert_eq!(regression(&facts), None, "a run that is not judged is not compared");
}

#[test]
fn a_report_never_outgrows_its_limit() {
    let mut facts = good();
    let names: Vec<String> = (0..3000).map(|i| format!("{}-{i}", "x".repeat(200))).collect();
    objects(&mut facts).push(KindFacts {
        expected: names,
        present: Some(vec![]),
        ..kind("", "Secret", "secrets", &[])
    });
    facts.checks[0].message = "m".repeat(10_000);
    let verdict = judge(&brief(), &facts);
    let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
    assert!(serde_json::to_vec(&status).unwrap().len() <= status::MOST_BYTES);
    assert!(status.missing.len() > 100);
    assert!(
        status.missing.last().unwrap().object.starts_with("and "),
        "{:?}",
        status.missing.last()
    );
    assert_eq!(status.completeness.unwrap().secrets.unwrap(), "0/3000");
}

/// Facts are recorded and replayed as JSON.
#[test]
fn facts_survive_json() {
    let text = serde_json::to_string(&good()).unwrap();
    let back: Facts = serde_json::from_str(&text).unwrap();
    assert_eq!(judge(&brief(), &back), judge(&brief(), &good()));
}

/// A run that is stopped in the middle earns nothing for what it did not come to see.
#[test]
fn what_a_stopped_run_did_not_see_earns_nothing() {
    let stopped = |change: fn(&mut Facts)| {
        let mut facts = good();
        facts.stop = Some(stop(Reason::Interrupted));
        change(&mut facts);
        let verdict = judge(&brief(), &facts);
        let status = status::status(&brief(), &facts, &verdict, crate::api::RunnerInfo::default(), time(700));
        (verdict, status)
    };
    let level = |verdict: &Verdict, index: usize| {
        let (_, _, level) = &verdict.levels[index];
        (level.status, level.points, level.detail.clone())
    };

    // The pods' lists had not come yet: that nothing should run is not known.
    let (verdict, _) = stopped(|f| f.pods = Some(PodFacts::default()));
    let (state, points, detail) = level(&verdict, 2);
    assert_eq!((state, points), (Status::Skip, 0), "{detail}");
    assert_eq!(
        level(&verdict, 4).0,
        Status::Skip,
        "dependencies are dialled once the pods are up"
    );
    // It was known when the run ended later.
    let (verdict, _) = stopped(|f| {
        pods(f).workloads.clear();
        objects(f).drain(..2);
    });
    assert_eq!(level(&verdict, 2).0, Status::Pass);
    // All ready, but not for long enough to be sure.
    let (verdict, _) = stopped(|f| pods(f).stable = false);
    let (state, points, detail) = level(&verdict, 2);
    assert_eq!((state, points), (Status::Fail, 19));
    assert!(detail.ends_with("whether they stay ready was not seen"), "{detail}");

    // The objects are there, but what became of the claim's data is not known.
    let (verdict, report) = stopped(|f| f.volumes.clear());
    let (state, points, detail) = level(&verdict, 1);
    assert_eq!((state, points), (Status::Skip, 0), "{detail}");
    assert!(verdict.levels[1].2.not_tested[0].starts_with("PersistentVolumeClaim/data-db-0 ("));
    assert_eq!(
        report.completeness.unwrap().deployments.unwrap(),
        "2/2",
        "what was counted stands"
    );
    let (verdict, _) = stopped(|f| {
        f.volumes.clear();
        objects(f)[2].present = Some(vec![]);
    });
    assert_eq!(
        (level(&verdict, 1).0, level(&verdict, 1).1),
        (Status::Fail, 12),
        "three of five are sure"
    );
}

/// The age of the backup is what would have been lost, with a target or without; where nothing was restored nothing is.
#[test]
fn rpo_is_measured_whenever_something_was_restored() {
    let rpo = |brief: &Brief, facts: &Facts| {
        let verdict = judge(brief, facts);
        status::status(brief, facts, &verdict, crate::api::RunnerInfo::default(), time(700)).rpo
    };
    let without = rpo(&brief(), &good()).unwrap();
    assert_eq!(
        (
            without.measured.to_string().as_str(),
            without.target,
            without.within_sla
        ),
        ("4h0m12s", None, None)
    );
    let target = Brief {
        max_backup_age: Some(secs(60)),
        ..brief()
    };
    assert_eq!(rpo(&target, &good()).unwrap().within_sla, Some(false));
    let mut facts = good();
    nothing_restored(&mut facts, Reason::ProviderUnavailable);
    facts.backup = good().backup;
    assert_eq!(rpo(&target, &facts), None);
}

/// A workload that our own policies refuse is held and wants no pods.
#[test]
fn a_refused_workload_is_not_lost() {
    let mut facts = good();
    restore(&mut facts).phase = "PartiallyFailed".into();
    restore(&mut facts).error_count = 1;
    restore(&mut facts).errors.push(ProviderProblem {
        object: Some("Deployment/web".into()),
        resource: Some("deployments.apps".into()),
        source: Some("shop".into()),
        name: Some("web".into()),
        message: "refused".into(),
        fault: Fault::Fence,
    });
    objects(&mut facts)[0].present = Some(vec!["api".into()]);
    pods(&mut facts).workloads.remove(1);
    let verdict = judge(&brief(), &facts);
    assert_eq!(
        (verdict.score, verdict.levels[2].2.status),
        (100, Status::Pass),
        "{verdict:#?}"
    );
}
