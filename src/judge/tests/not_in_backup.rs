//! What a report says of the comparison with the living namespace.

use super::*;
use crate::api::RestoreReportStatus;

fn report(brief: &Brief, facts: &Facts) -> RestoreReportStatus {
    let verdict = judge(brief, facts);
    status::status(brief, facts, &verdict, crate::api::RunnerInfo::default(), time(700))
}

fn detail(facts: &Facts) -> String {
    judge(&brief(), facts).levels[1].2.detail.clone()
}

#[test]
fn what_the_backup_forgot_is_listed_and_counted_as_expected() {
    let facts = Facts {
        living: vec![living(&[
            ("apps", "Deployment", &["worker"]),
            ("", "Service", &["worker"]),
            ("batch", "CronJob", &["nightly"]),
        ])],
        ..good()
    };
    let status = report(&brief(), &facts);
    let listed: Vec<(&str, &str)> = status
        .not_in_backup
        .iter()
        .map(|absent| (absent.object.as_str(), absent.reason.as_str()))
        .collect();
    let expected = ["Deployment/worker", "Service/worker", "CronJob/nightly"];
    assert_eq!(listed, expected.map(|object| (object, "nobody knows")));
    assert!(status.missing.is_empty(), "the backup does not hold them");
    let counts = status.completeness.unwrap();
    assert_eq!(
        (
            counts.deployments.as_deref(),
            counts.services.as_deref(),
            counts.config_maps.as_deref()
        ),
        (Some("2/3"), Some("0/1"), Some("1/1"))
    );
    let others: Vec<(&str, &str)> = counts
        .others
        .iter()
        .map(|o| (o.kind.as_str(), o.count.as_str()))
        .collect();
    assert_eq!(others, [("StatefulSet.apps", "1/1"), ("CronJob.batch", "0/1")]);
    let level = status.validation_levels.unwrap().completeness.unwrap();
    assert!(
        level.tested.contains(&"Deployment/worker".to_owned()) && level.tested.contains(&"CronJob/nightly".to_owned())
    );
    assert!(!level.tested.contains(&"Service/worker".to_owned()));
}

#[test]
fn custom_resources_that_the_backup_forgot_count_among_their_own() {
    let mut forgotten = living(&[("example.com", "Widget", &["w"])]);
    forgotten.absent[0].custom = true;
    let facts = Facts {
        living: vec![forgotten],
        ..good()
    };
    let counts = report(&brief(), &facts).completeness.unwrap();
    assert_eq!(counts.custom_resources.as_deref(), Some("0/1"));
}

#[test]
fn what_need_not_come_back_is_not_tested_and_says_why() {
    let mut ignored = living(&[("", "ConfigMap", &["cache"])]);
    ignored.absent[0].ignored = true;
    let facts = Facts {
        living: vec![ignored],
        ..good()
    };
    let status = report(&brief(), &facts);
    assert!(status.not_in_backup.is_empty());
    assert_eq!(status.completeness.unwrap().config_maps.as_deref(), Some("1/1"));
    let level = status.validation_levels.unwrap().completeness.unwrap();
    assert_eq!(
        level.not_tested,
        ["ConfigMap/cache (not in the backup: nobody knows; spec.completeness.ignore)"]
    );
}

#[test]
fn the_detail_says_what_was_compared_and_what_was_not() {
    let all = "All expected resources found in sandbox";
    let gap = |gap| LivingFacts {
        gap: Some(gap),
        ..living(&[])
    };
    let partly = LivingFacts {
        unlisted: vec!["pods".to_owned(), "widgets.example.com".to_owned()],
        ..living(&[])
    };
    for (living, expected) in [
        // The namespace is gone, or younger than the backup.
        (vec![], ""),
        (vec![living(&[])], "; compared with the living namespace shop"),
        (
            vec![gap(Gap::NotPermitted)],
            "; no comparison was made with the living namespace shop, whose objects the runner may not list: add the component \
             compare-with-source to the test",
        ),
        (
            vec![gap(Gap::Failed("list Pod in shop: no answer".to_owned()))],
            "; the comparison with the living namespace shop failed: list Pod in shop: no answer",
        ),
        (
            vec![partly],
            "; compared with the living namespace shop; in shop the runner may not list, and so did not compare, pods; widgets.example.com",
        ),
    ] {
        let facts = Facts { living, ..good() };
        assert_eq!(detail(&facts), format!("{all}{expected}"));
    }
}

#[test]
fn several_namespaces_are_named_together() {
    let brief = Brief {
        sources: vec!["shop".into(), "db".into()],
        ..brief()
    };
    let of = |source: &str, living: LivingFacts| LivingFacts {
        source: source.to_owned(),
        ..living
    };
    let facts = Facts {
        living: vec![
            of("shop", living(&[("", "ConfigMap", &["first"])])),
            of("db", living(&[])),
        ],
        ..good()
    };
    let verdict = judge(&brief, &facts);
    let detail = &verdict.levels[1].2.detail;
    assert!(
        detail.ends_with("; not in the backup: shop/ConfigMap/first; compared with the living namespaces shop; db"),
        "{detail}"
    );
}

/// Whatever was found before the API server failed is true all the same.
#[test]
fn a_comparison_that_ended_early_keeps_what_it_found() {
    let facts = Facts {
        living: vec![LivingFacts {
            gap: Some(Gap::Failed("no answer".to_owned())),
            ..living(&[("", "ConfigMap", &["first"])])
        }],
        ..good()
    };
    assert_eq!(judge(&brief(), &facts).score, 89);
    assert!(detail(&facts).ends_with(
        "; not in the backup: ConfigMap/first; the comparison with the living namespace shop failed: no answer"
    ));
}

#[test]
fn a_forgotten_kind_of_many_objects_fits_into_a_report() {
    let names: Vec<String> = (0..20_000).map(|n| format!("{n:05}-{}", "x".repeat(240))).collect();
    let mut forgotten = living(&[("", "ConfigMap", &[])]);
    forgotten.absent[0].names = names;
    let facts = Facts {
        living: vec![forgotten],
        ..good()
    };
    let status = report(&brief(), &facts);
    let bytes = serde_json::to_vec(&status).unwrap().len();
    assert!(bytes <= status::MOST_BYTES, "{bytes} bytes");
    let last = status.not_in_backup.last().unwrap();
    let gone: usize = last
        .object
        .strip_prefix("and ")
        .and_then(|t| t.strip_suffix(" more"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(status.not_in_backup.len() - 1 + gone, 20_000);
    assert_eq!(status.completeness.unwrap().config_maps.as_deref(), Some("1/20001"));
}
