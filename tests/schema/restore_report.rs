//! `RestoreReport`: the two reference examples, the queries people use on them, and what never changes again.

use kymaros_runner::api::{RestoreReport, limits};
use serde_json::{Value, json};

use crate::cluster::{Cluster, fixture, merge};

const PASSING: &str = "my-app-nightly-20240315-030012";
const FAILING: &str = "orders-db-validation-20240316-030008";

/// Creates a report as the runner does: the object first, then its status.
fn write(cluster: &Cluster, mut report: Value) {
    report["metadata"].as_object_mut().unwrap().remove("namespace");
    cluster.ok(&["create", "-f", "-"], Some(&report));
    patch(
        cluster,
        report["metadata"]["name"].as_str().unwrap(),
        &json!({ "status": report["status"] }),
    )
    .unwrap();
}

/// Merges into a report by way of its status, and returns the server's words if it refuses.
fn patch(cluster: &Cluster, name: &str, change: &Value) -> Result<(), String> {
    let arguments = [
        "patch",
        "rr",
        name,
        "--subresource=status",
        "--type=merge",
        "--patch-file=/dev/stdin",
    ];
    let output = cluster.kubectl(&arguments, Some(change));
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn read(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.ok(&["get", "rr", name, "-o", "json"], None)).unwrap()
}

fn with_both_examples(test: &str) -> Cluster {
    let cluster = Cluster::open(test);
    write(&cluster, fixture("report-passing.yaml"));
    write(&cluster, fixture("report-failing.yaml"));
    cluster
}

#[test]
fn our_types_hold_all_of_the_examples() {
    for file in ["report-passing.yaml", "report-failing.yaml"] {
        let example = fixture(file);
        let ours: RestoreReport = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(serde_json::to_value(&ours).unwrap(), example);
    }
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn both_examples_come_back_as_written() {
    let cluster = with_both_examples("examples");
    for (file, name) in [("report-passing.yaml", PASSING), ("report-failing.yaml", FAILING)] {
        let (example, stored) = (fixture(file), read(&cluster, name));
        assert_eq!(stored["spec"], example["spec"]);
        assert_eq!(stored["status"], example["status"]);
        assert_eq!(stored["metadata"]["labels"], example["metadata"]["labels"]);
        serde_json::from_value::<RestoreReport>(stored).unwrap();
    }
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn every_documented_query_answers() {
    let cluster = with_both_examples("queries");
    let ask = |query: &str| cluster.shell(&query.replace("kymaros-system", &cluster.namespace));
    let cells = |line: &str| {
        line.split("  ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };

    let all = ask("kubectl get rr -n kymaros-system");
    let lines: Vec<_> = all.lines().map(cells).collect();
    assert_eq!(lines[0], ["NAME", "RESULT", "SCORE", "REASON", "AGE"], "{all}");
    assert_eq!(lines[1][..3], [PASSING, "pass", "96"], "{all}");
    assert_eq!(lines[2][..3], [FAILING, "fail", "42"], "{all}");

    let wide = ask("kubectl get rr -n kymaros-system -o wide");
    let lines: Vec<_> = wide.lines().map(cells).collect();
    assert_eq!(
        lines[0],
        [
            "NAME",
            "RESULT",
            "SCORE",
            "REASON",
            "AGE",
            "TEST",
            "RTO",
            "BACKUP",
            "BACKUP AGE",
            "MESSAGE"
        ],
        "{wide}"
    );
    for shown in ["my-app-nightly", "11m35s", "my-app-20240314-230000", "4h0m12s"] {
        assert!(lines[1].iter().any(|cell| cell == shown), "{shown}: {wide}");
    }

    let described = ask("kubectl describe rr my-app-nightly-20240315-030012 -n kymaros-system");
    for shown in [
        "Within SLA:  true",
        "Detail:  All pods reached Ready state within 4m30s",
        "Config Maps:       2/2",
    ] {
        assert!(described.contains(shown), "{shown}: {described}");
    }

    let one = ask("kubectl get rr -n kymaros-system -l kymaros.io/test=my-app-nightly");
    assert!(one.contains(PASSING) && !one.contains(FAILING), "{one}");

    let score =
        ask("kubectl get rr my-app-nightly-20240315-030012 -n kymaros-system \\\n-o jsonpath='{.status.score}'");
    assert_eq!(score, "96");

    let checks = ask("kubectl get rr my-app-nightly-20240315-030012 -n kymaros-system \\\n\
         -o jsonpath='{range .status.checks[*]}{.name}{\"\\t\"}{.status}{\"\\t\"}{.message}{\"\\n\"}{end}'");
    assert_eq!(
        checks,
        "api-http-ready\tpass\tHTTP 200 received from /healthz\nworker-pod-running\tpass\t3/3 pods ready\n"
    );

    let failed = ask("kubectl get rr -n kymaros-system \\\n\
         -o jsonpath='{range .items[?(@.status.result==\"fail\")]}{.metadata.name}{\"\\n\"}{end}'");
    assert_eq!(failed, format!("{FAILING}\n"));
}

fn condition(kind: &str, reason: &str) -> Value {
    json!({ "type": kind, "status": "False", "reason": reason, "message": "", "lastTransitionTime": "2024-03-16T03:18:33Z" })
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn reason_is_that_of_the_conclusive_condition() {
    let cluster = Cluster::open("reason");
    let mut report = fixture("report-failing.yaml");
    report["status"]["conditions"] = json!([
        condition("SandboxCleanedUp", "Kept"),
        condition("Conclusive", "QueueTimeout")
    ]);
    write(&cluster, report);
    let shown = cluster.ok(&["get", "rr", FAILING, "--no-headers"], None);
    assert_eq!(
        shown.split_whitespace().collect::<Vec<_>>()[1..4],
        ["fail", "42", "QueueTimeout"],
        "{shown}"
    );
    let twice = json!({ "status": { "conditions": [condition("Complete", "A"), condition("Complete", "B")] } });
    let said = patch(&cluster, FAILING, &twice).unwrap_err();
    assert!(
        said.contains("status.conditions[1]: Duplicate value: {\"type\":\"Complete\"}"),
        "{said}"
    );
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn a_finished_report_stays_as_it_is() {
    let cluster = with_both_examples("frozen");
    let full = fixture("report-full.yaml");
    write(&cluster, full.clone());
    let name = full["metadata"]["name"].as_str().unwrap();
    let fields = full["status"].as_object().unwrap();
    for field in fields.keys().filter(|field| *field != "conditions") {
        let said = patch(&cluster, name, &json!({ "status": { field: null } })).unwrap_err();
        assert!(
            said.contains(&format!("{field} of a finished report cannot be changed")),
            "{field}: {said}"
        );
        if field != "checks" {
            let other = json!({ "status": { field: other(&full["status"][field]) } });
            let said = patch(&cluster, name, &other).unwrap_err();
            assert!(
                said.contains(&format!("{field} of a finished report cannot be changed")),
                "{field}: {said}"
            );
        }
    }
    // Also what the finished report lacks cannot be added later.
    for field in fields
        .keys()
        .filter(|field| fixture("report-passing.yaml")["status"].get(*field).is_none())
    {
        let added = json!({ "status": { field: full["status"][field] } });
        patch(&cluster, PASSING, &added).unwrap_err();
    }
    let said = cluster.refused(
        &["replace", "--subresource=status", "-f", "-"],
        Some(&json!({
            "apiVersion": full["apiVersion"], "kind": full["kind"], "spec": full["spec"],
            "metadata": read(&cluster, name)["metadata"],
        })),
    );
    assert!(said.contains("a finished report cannot be changed"), "{said}");

    let said = cluster.refused(
        &[
            "patch",
            "rr",
            name,
            "--type=merge",
            "-p",
            r#"{"spec":{"testRef":"other"}}"#,
        ],
        None,
    );
    assert!(
        said.contains("spec: Invalid value: the spec of a report cannot be changed"),
        "{said}"
    );

    cluster.ok(&["label", "rr", name, "kymaros.io/retain=true"], None);
}

/// Clean-up ends after the report is finished, and says in one condition how; the others are part of the verdict.
#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn of_the_conditions_of_a_finished_report_only_that_of_clean_up_changes() {
    let cluster = with_both_examples("conditions");
    let full = fixture("report-full.yaml");
    write(&cluster, full.clone());
    let name = full["metadata"]["name"].as_str().unwrap();
    let before = full["status"]["conditions"].as_array().unwrap().clone();
    let at = |kind: &str| before.iter().position(|c| c["type"] == kind).unwrap();
    let (conclusive, cleaned) = (at("Conclusive"), at("SandboxCleanedUp"));
    let set =
        |name: &str, conditions: &[Value]| patch(&cluster, name, &json!({ "status": { "conditions": conditions } }));
    let changed = |index: usize, key: &str, value: &str| {
        let mut conditions = before.clone();
        conditions[index][key] = json!(value);
        conditions
    };
    let without = |index: usize| {
        let mut conditions = before.clone();
        conditions.remove(index);
        conditions
    };
    let mut refused = vec![
        // What makes a verdict say nothing.
        (name, {
            let mut conditions = before.clone();
            conditions[conclusive] = condition("Conclusive", "ProviderUnavailable");
            conditions
        }),
        (name, without(conclusive)),
        (name, without(cleaned)),
        (name, Vec::new()),
        (
            name,
            [before.as_slice(), &[condition("SandboxIsolatedToo", "Made")]].concat(),
        ),
        // One that has none gets no verdict later.
        (PASSING, vec![condition("Conclusive", "ProviderUnavailable")]),
        (
            PASSING,
            vec![
                condition("SandboxCleanedUp", "Left"),
                condition("Conclusive", "ProviderUnavailable"),
            ],
        ),
    ];
    for index in (0..before.len()).filter(|index| *index != cleaned) {
        for (key, value) in [
            ("message", "changed"),
            ("reason", "Changed"),
            ("status", "Unknown"),
            ("lastTransitionTime", "2020-01-01T00:00:00Z"),
        ] {
            refused.push((name, changed(index, key, value)));
        }
    }
    for (name, conditions) in refused {
        let said = set(name, &conditions).unwrap_err();
        assert!(
            said.contains("of the conditions of a finished report only SandboxCleanedUp can be changed"),
            "{conditions:?}: {said}"
        );
    }
    let away = patch(&cluster, name, &json!({ "status": { "conditions": null } })).unwrap_err();
    assert!(away.contains("only SandboxCleanedUp can be changed"), "{away}");

    // As the runner does it: the whole list, with one condition in it that is new or another; and the same list once more.
    let ended = |conditions: &mut Vec<Value>| {
        conditions.retain(|c| c["type"] != "SandboxCleanedUp");
        conditions.push(condition("SandboxCleanedUp", "Left"));
    };
    let mut after = before.clone();
    ended(&mut after);
    for _ in 0..2 {
        set(name, &after).unwrap();
        assert_eq!(read(&cluster, name)["status"]["conditions"], json!(after));
    }
    let mut added = Vec::new();
    ended(&mut added);
    set(PASSING, &added).unwrap();
    assert_eq!(read(&cluster, PASSING)["status"]["conditions"], json!(added));
}

/// A value of the same shape that says something else.
fn other(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let (name, value) = fields.iter().next().unwrap();
            json!({ name: other(value) })
        }
        Value::Array(_) => json!([]),
        Value::Bool(yes) => json!(!yes),
        Value::Number(number) => json!(number.as_i64().unwrap() - 1),
        Value::String(text) => match text.as_str() {
            "pass" | "partial" => json!("fail"),
            _ if text.ends_with('Z') => json!("2020-01-01T00:00:00Z"),
            _ if text.ends_with('s') => json!("59m59s"),
            _ => json!("9/9"),
        },
        Value::Null => json!("null"),
    }
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn an_unfinished_report_may_be_completed() {
    let cluster = Cluster::open("unfinished");
    let mut report = fixture("report-failing.yaml");
    let status = report["status"].take();
    report.as_object_mut().unwrap().remove("status");
    report["metadata"].as_object_mut().unwrap().remove("namespace");
    cluster.ok(&["create", "-f", "-"], Some(&report));
    patch(
        &cluster,
        FAILING,
        &json!({ "status": { "startedAt": status["startedAt"], "score": 0, "result": "fail" } }),
    )
    .unwrap();
    patch(&cluster, FAILING, &json!({ "status": status })).unwrap();
    assert_eq!(read(&cluster, FAILING)["status"], status);
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn a_report_with_every_field_comes_back_as_written() {
    let cluster = Cluster::open("full-report");
    let full = fixture("report-full.yaml");
    write(&cluster, full.clone());
    let stored = read(&cluster, full["metadata"]["name"].as_str().unwrap());
    assert_eq!(stored["status"], full["status"]);
    let ours: RestoreReport = serde_json::from_value(stored).unwrap();
    assert_eq!(serde_json::to_value(ours.status).unwrap(), full["status"]);
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn reports_at_their_limits_are_accepted_and_beyond_refused() {
    let cluster = Cluster::open("limits");
    let mut full = fixture("report-full.yaml");
    // As large as a report may be: longer than the sum of what fits into 256 KiB is not written.
    let long = |length: usize| json!("ä".repeat(length));
    full["status"]["message"] = long(limits::MESSAGE);
    full["status"]["missing"] = (0..limits::MISSING)
        .map(|i| json!({ "object": format!("ConfigMap/c{i}"), "reason": "r".repeat(100) }))
        .collect();
    full["status"]["validationLevels"]["completeness"]["tested"] =
        (0..limits::TESTED).map(|i| json!(format!("Deployment/d{i}"))).collect();
    full["status"].as_object_mut().unwrap().remove("completedAt");
    write(&cluster, full.clone());
    let name = full["metadata"]["name"].as_str().unwrap();
    for (change, says) in [
        (
            json!({ "message": long(limits::MESSAGE + 1) }),
            "status.message: Too long: may not be more than 4096",
        ),
        (
            json!({ "score": 101 }),
            "status.score: Invalid value: 101: score in body should be less than or equal to 100",
        ),
        (
            json!({ "score": -1 }),
            "score in body should be greater than or equal to 0",
        ),
        (
            json!({ "result": "skip" }),
            "status.result: Unsupported value: \"skip\": supported values: \"pass\", \"fail\", \"partial\"",
        ),
        (
            json!({ "startedAt": "yesterday" }),
            "startedAt in body must be of type date-time",
        ),
        (
            json!({ "rto": { "measured": "11 minutes" } }),
            "rto.measured in body should match",
        ),
        (
            json!({ "completeness": { "pvcs": "1 of 1" } }),
            "completeness.pvcs in body should match",
        ),
        (
            json!({ "validationLevels": { "podStartup": { "status": "partial" } } }),
            "status.validationLevels.podStartup.status: Unsupported value: \"partial\": supported values: \"pass\", \"fail\", \"skip\"",
        ),
        (
            json!({ "checks": [{ "name": "a" }] }),
            "status.checks[0].status: Required value",
        ),
        (
            json!({ "regression": { "delta": -101 } }),
            "regression.delta in body should be greater than or equal to -100",
        ),
    ] {
        let said = patch(&cluster, name, &json!({ "status": change })).unwrap_err();
        assert!(
            said.contains(says),
            "{change}\n  should say: {says}\n  but said: {said}"
        );
    }
    let mut nameless = fixture("report-passing.yaml");
    merge(
        &mut nameless,
        &json!({ "metadata": { "namespace": null }, "spec": { "testRef": null } }),
    );
    let said = cluster.refused(&["create", "-f", "-"], Some(&nameless));
    assert!(said.contains("spec.testRef: Required value"), "{said}");
    patch(
        &cluster,
        name,
        &json!({ "status": { "completedAt": "2024-03-15T03:11:47Z" } }),
    )
    .unwrap();
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn explain_reads_well() {
    let cluster = Cluster::open("explain");
    let explain = |path: &str| {
        cluster
            .ok(&["explain", path], None)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (path, says) in [
        ("rr", "What one run of a RestoreTest found: score and result"),
        (
            "rr.status.completeness",
            "How many of the expected objects are in the sandbox, by kind, as present/expected.",
        ),
        (
            "rr.status.completeness",
            "deployments <string> Deployments, as present/expected, such as 3/3.",
        ),
        (
            "rr.status.validationLevels",
            "restoreIntegrity <Object> The restore itself succeeded, without errors of the provider. 25 points.",
        ),
        (
            "rr.status.conditions",
            "Conclusive: False if the run says nothing about the backup",
        ),
        (
            "rt.spec.backupSource.backupName",
            "Name of a backup, or latest (the default)",
        ),
        (
            "rt.spec.sandbox.ttl",
            "Longest life of a sandbox after its run ended or died",
        ),
        ("rt.spec.notifications", "This version does not send notifications yet"),
        ("rt.spec.logCollection", "This version does not collect logs yet"),
        (
            "hcp.spec.checks",
            "-required- Name of the check, as the report shows it.",
        ),
    ] {
        let shown = explain(path);
        assert!(shown.contains(says), "{path} should say: {says}\n{shown}");
    }
}
