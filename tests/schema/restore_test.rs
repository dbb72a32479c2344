//! `RestoreTest`: mistakes that `kubectl apply` must catch, and defaults.

use kymaros_runner::api::RestoreTest;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Row, fixture, row};

const DURATION: &str = "must be more than 0s and at most 24h, written like 30m or 1h30m (there is no unit for days)";

fn minimal() -> Value {
    fixture("test-minimal.yaml")
}

#[test]
fn our_defaults_are_those_of_the_fixture() {
    let test: RestoreTest = serde_json::from_value(minimal()).unwrap();
    let spec = serde_json::to_value(&test.spec).unwrap();
    assert_eq!(spec, fixture("test-defaults.yaml")["spec"]);
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn the_server_fills_in_the_same_defaults() {
    let cluster = Cluster::open("defaults");
    assert_eq!(
        cluster.dry_run(&minimal())["spec"],
        fixture("test-defaults.yaml")["spec"]
    );
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn a_test_that_sets_everything_is_kept_as_written() {
    let cluster = Cluster::open("full");
    let full = fixture("test-full.yaml");
    let stored = cluster.dry_run(&full);
    assert_eq!(stored["spec"], full["spec"]);
    let ours: RestoreTest = serde_json::from_value(stored).unwrap();
    let ours = serde_json::to_value(&ours.spec).unwrap();
    let again = cluster.dry_run(&json!({
        "apiVersion": full["apiVersion"], "kind": full["kind"], "metadata": full["metadata"], "spec": ours,
    }));
    assert_eq!(again["spec"], ours);
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn mistakes_are_refused_in_words_that_help() {
    let cluster = Cluster::open("mistakes");
    cluster.judge(&minimal(), &source_rows());
    cluster.judge(&minimal(), &sandbox_rows());
    cluster.judge(&minimal(), &other_rows());
}

fn source_rows() -> Vec<Row> {
    let namespace = |name: &str| json!([{ "name": name }]);
    vec![
        row(
            "metadata.name",
            json!("a".repeat(53)),
            "the name of a RestoreTest must be at most 52 characters",
            json!("a".repeat(52)),
        ),
        row(
            "metadata.name",
            json!("my.app"),
            "the name of a RestoreTest must be at most 52 characters: lower-case letters, digits and '-'",
            json!("my-app"),
        ),
        row(
            "spec.backupSource.provider",
            json!("kasten"),
            "spec.backupSource.provider: Unsupported value: \"kasten\": supported values: \"velero\"",
            json!("velero"),
        ),
        row(
            "spec.backupSource.provider",
            Value::Null,
            "spec.backupSource.provider: Required value",
            json!("velero"),
        ),
        row(
            "spec.backupSource.providerNamespace",
            json!("Velero"),
            "spec.backupSource.providerNamespace: Invalid value: \"Velero\": must be lower-case letters, digits and '-'",
            json!("velero-2"),
        ),
        row(
            "spec.backupSource.backupName",
            json!(""),
            "spec.backupSource.backupName: Invalid value: \"\"",
            json!("shop-20240314.1"),
        ),
        row(
            "spec.backupSource.backupName",
            json!("shop/1"),
            "spec.backupSource.backupName: Invalid value: \"shop/1\": must be lower-case letters, digits, '-' and '.'",
            json!("shop-1"),
        ),
        row(
            "spec.backupSource",
            json!({ "backupName": "shop-1", "window": "168h" }),
            "window chooses among backups: it needs backupName: latest",
            json!({ "backupName": "latest", "window": "168h" }),
        ),
        row(
            "spec.backupSource",
            json!({ "backupName": "shop-1", "selection": "random" }),
            "selection: random chooses among backups: it needs backupName: latest",
            json!({ "selection": "random" }),
        ),
        row(
            "spec.backupSource",
            json!({ "backupName": "shop-1", "scheduleName": "nightly" }),
            "scheduleName chooses among backups: it needs backupName: latest",
            json!({ "scheduleName": "nightly" }),
        ),
        row(
            "spec.backupSource",
            json!({ "backupName": "shop-1", "storageLocation": "s3" }),
            "storageLocation chooses among backups: it needs backupName: latest",
            json!({ "storageLocation": "s3" }),
        ),
        row(
            "spec.backupSource.selection",
            json!("oldest"),
            "spec.backupSource.selection: Unsupported value: \"oldest\": supported values: \"newest\", \"random\"",
            json!("newest"),
        ),
        row(
            "spec.backupSource.window",
            json!("7d"),
            "spec.backupSource.window: Invalid value: \"7d\": must be more than 0s and at most 8784h, written like 26h or 168h (there is no unit for days)",
            json!("168h"),
        ),
        row(
            "spec.backupSource.namespaces",
            Value::Null,
            "spec.backupSource.namespaces: Required value",
            namespace("shop"),
        ),
        row(
            "spec.backupSource.namespaces",
            json!([]),
            "spec.backupSource.namespaces in body should have at least 1 items",
            namespace("shop"),
        ),
        row(
            "spec.backupSource.namespaces",
            (0..17).map(|i| json!({ "name": format!("n{i}") })).collect(),
            "spec.backupSource.namespaces: Too many: 17: must have at most 16 items",
            (0..16).map(|i| json!({ "name": format!("n{i}") })).collect(),
        ),
        row(
            "spec.backupSource.namespaces",
            json!([{ "name": "shop" }, { "name": "shop" }]),
            "spec.backupSource.namespaces[1]: Duplicate value: {\"name\":\"shop\"}",
            json!([{ "name": "shop" }, { "name": "shop-2" }]),
        ),
        row(
            "spec.backupSource.namespaces",
            namespace("*"),
            "spec.backupSource.namespaces[0].name: Invalid value: \"*\": must be lower-case letters",
            namespace("shop"),
        ),
        row(
            "spec.backupSource.namespaces",
            namespace("rp-test-nightly-shop-kymaros-a1b2c3"),
            "is the name of a sandbox; name the namespace that was backed up",
            namespace("shop-kymaros-a1b2c3d"),
        ),
        row(
            "spec.backupSource.namespaces",
            json!([{ "name": "shop", "sandboxName": "Shop_1" }]),
            "spec.backupSource.namespaces[0].sandboxName: Invalid value: \"Shop_1\": must be lower-case letters",
            json!([{ "name": "shop", "sandboxName": "drill-shop" }]),
        ),
        row(
            "spec.backupSource.labelSelector",
            json!({ "app": "my shop" }),
            "label values must be letters, digits",
            json!({ "app.kubernetes.io/name": "my-shop", "empty": "" }),
        ),
        row(
            "spec.backupSource.labelSelector",
            json!({ "-app": "shop" }),
            "label keys must be a name of at most 63 letters",
            json!({ "App_1": "shop" }),
        ),
        row(
            "spec.backupSource.labelSelector",
            json!({ "batch.kubernetes.io/job-name": "import" }),
            "Jobs and their pods are never restored",
            json!({ "batch.kubernetes.io/other": "import" }),
        ),
        row(
            "spec.schedule.cron",
            json!("0 3 * *"),
            "spec.schedule.cron: Invalid value: \"0 3 * *\": must be five fields such as '0 3 * * *', or @hourly",
            json!("0 3 * * *"),
        ),
        row(
            "spec.schedule.cron",
            json!("@every 5m"),
            "must be five fields such as",
            json!("@daily"),
        ),
        row(
            "spec.schedule.cron",
            json!("TZ=UTC 0 3 * * *"),
            "the time zone goes into timezone",
            json!("*/15 1-5 * JAN-MAR mon,FRI"),
        ),
        row(
            "spec.schedule",
            json!({ "timezone": "UTC" }),
            "spec.schedule.cron: Required value",
            json!({ "cron": "@weekly" }),
        ),
        row(
            "spec.schedule",
            json!({ "cron": "@daily", "timezone": "Mars/Olympus" }),
            "must be an IANA time zone name such as UTC or Europe/Paris",
            json!({ "cron": "@daily", "timezone": "America/Argentina/Buenos_Aires" }),
        ),
        row(
            "spec.schedule",
            json!({ "cron": "@daily", "timezone": "Local" }),
            "must be an IANA time zone name",
            json!({ "cron": "@daily", "timezone": "Etc/GMT+5" }),
        ),
        row(
            "spec.schedule",
            json!({ "cron": "@daily", "timezone": "+02:00" }),
            "must be an IANA time zone name",
            json!({ "cron": "@daily", "timezone": "Europe/Berlin" }),
        ),
    ]
}

/// The one entry of `sandbox.egress`.
fn way_out(cidr: &Value, ports: &Value) -> Value {
    json!([{ "cidr": cidr, "ports": ports }])
}

fn sandbox_rows() -> Vec<Row> {
    vec![
        row(
            "spec.sandbox.namespacePrefix",
            json!("-x"),
            "spec.sandbox.namespacePrefix: Invalid value: \"-x\": must be lower-case letters, digits and '-', beginning",
            json!("x"),
        ),
        row(
            "spec.sandbox.ttl",
            json!("1d"),
            "spec.sandbox.ttl: Invalid value: \"1d\": must be more than 0s and at most 24h",
            json!("24h"),
        ),
        row(
            "spec.sandbox.ttl",
            json!("-5m"),
            "spec.sandbox.ttl: Invalid value: \"-5m\": must be more than 0s",
            json!("5m"),
        ),
        row("spec.sandbox.ttl", json!(30), "spec.sandbox.ttl", json!("30s")),
        row(
            "spec.sandbox.keepFailedFor",
            json!("169h"),
            "must be from 0s to 168h",
            json!("168h"),
        ),
        row(
            "spec.sandbox.resourceQuota.cpu",
            json!(0),
            "spec.sandbox.resourceQuota.cpu: Invalid value: 0: must be a positive quantity such as 2, 500m or 4Gi",
            json!(2),
        ),
        row(
            "spec.sandbox.resourceQuota.cpu",
            json!("0"),
            "must be a positive quantity",
            json!("500m"),
        ),
        row(
            "spec.sandbox.resourceQuota.memory",
            json!("4GB"),
            "spec.sandbox.resourceQuota.memory: Invalid value: \"4GB\": must be a positive quantity such as 2, 500m or 4Gi",
            json!("4Gi"),
        ),
        row(
            "spec.sandbox.resourceQuota.memory",
            json!("-1"),
            "must be a positive quantity",
            json!("1e3"),
        ),
        row(
            "spec.sandbox.resourceQuota.storage",
            json!("lots"),
            "must be a positive quantity",
            json!("50Gi"),
        ),
        row(
            "spec.sandbox.networkIsolation",
            json!("none"),
            "spec.sandbox.networkIsolation: Unsupported value: \"none\": supported values: \"strict\", \"group\"",
            json!("group"),
        ),
        row(
            "spec.sandbox.isolationProof",
            json!("skip"),
            "spec.sandbox.isolationProof: Unsupported value: \"skip\": supported values: \"required\", \"report\"",
            json!("report"),
        ),
        row(
            "spec.sandbox.podSecurity",
            json!("restricted"),
            "spec.sandbox.podSecurity: Unsupported value: \"restricted\": supported values: \"baseline\", \"privileged\"",
            json!("privileged"),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("198.51.100.7"), &json!([{ "port": 443 }])),
            "spec.sandbox.egress[0].cidr: Invalid value: \"198.51.100.7\": must be an address range such as 198.51.100.7/32",
            way_out(&json!("2001:db8::/64"), &json!([{ "port": 443, "protocol": "UDP" }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("0.0.0.0/0"), &json!([{ "port": 443 }])),
            "must not be every address: name the networks that the application needs",
            way_out(&json!("10.0.0.0/8"), &json!([{ "port": 443 }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("::/0"), &json!([{ "port": 443 }])),
            "must not be every address",
            way_out(&json!("fd00::/8"), &json!([{ "port": 443 }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("198.51.100.7/32"), &Value::Null),
            "spec.sandbox.egress[0].ports: Required value",
            way_out(
                &json!("198.51.100.7/32"),
                &json!([{ "port": 443 }, { "port": 443, "protocol": "SCTP" }]),
            ),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("198.51.100.7/32"), &json!([])),
            "spec.sandbox.egress[0].ports in body should have at least 1 items",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 65535 }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 0 }])),
            "spec.sandbox.egress[0].ports[0].port in body should be greater than or equal to 1",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 1 }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 443, "protocol": "tcp" }])),
            "spec.sandbox.egress[0].ports[0].protocol: Unsupported value: \"tcp\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 443, "protocol": "TCP" }])),
        ),
        row(
            "spec.sandbox.egress",
            way_out(
                &json!("198.51.100.7/32"),
                &json!([{ "port": 443 }, { "port": 443, "protocol": "TCP" }]),
            ),
            "spec.sandbox.egress[0].ports[1]: Duplicate value",
            way_out(&json!("198.51.100.7/32"), &json!([{ "port": 443 }, { "port": 444 }])),
        ),
        row(
            "spec.sandbox.egress",
            json!(vec![
                json!({ "cidr": "198.51.100.7/32", "ports": [{ "port": 443 }] });
                2
            ]),
            "spec.sandbox.egress[1]: Duplicate value",
            way_out(&json!("198.51.100.8/32"), &json!([{ "port": 443 }])),
        ),
        row(
            "spec.sandbox.dns.cidr",
            json!("169.254.20.10"),
            "spec.sandbox.dns.cidr: Invalid value: \"169.254.20.10\": must be an address range such as 169.254.20.10/32",
            json!("169.254.20.10/32"),
        ),
        row(
            "spec.sandbox.dns.cidr",
            json!("10.0.0.0/33"),
            "must be an address range",
            json!("fd00::a/128"),
        ),
        row(
            "spec.sandbox.dns.ports",
            json!([]),
            "spec.sandbox.dns.ports in body should have at least 1 items",
            json!([53, 5353]),
        ),
        row(
            "spec.sandbox.dns.ports",
            json!([0]),
            "spec.sandbox.dns.ports[0] in body should be greater than or equal to 1",
            json!([5353]),
        ),
        row(
            "spec.sandbox.dns.podSelector",
            json!({ "k8s-app": null }),
            "spec.sandbox.dns.podSelector in body should have at least 1 properties",
            json!({ "k8s-app": "coredns" }),
        ),
    ]
}

fn other_rows() -> Vec<Row> {
    let dependency = |port: Value| json!([{ "service": "redis", "namespace": "platform", "port": port }]);
    let channel = |kind: &str| json!([{ "type": kind, "webhookSecretRef": "hook" }]);
    vec![
        row("spec.timeout", json!("25h"), DURATION, json!("23h59m")),
        row("spec.timeout", json!("0s"), DURATION, json!("1ms")),
        row("spec.timeout", json!("1 h"), DURATION, json!("1h")),
        row("spec.timeout", json!("PT5M"), DURATION, json!("0.5h")),
        row("spec.timeout", json!(""), DURATION, json!("2h")),
        row(
            "spec.historyLimit",
            json!(0),
            "spec.historyLimit in body should be greater than or equal to 1",
            json!(1),
        ),
        row(
            "spec.historyLimit",
            json!(1001),
            "spec.historyLimit in body should be less than or equal to 1000",
            json!(1000),
        ),
        row(
            "spec.restore.timeout",
            json!("2"),
            "spec.restore.timeout: Invalid value: \"2\": must be more than 0s",
            json!("2h"),
        ),
        row(
            "spec.restore.queueTimeout",
            json!("0"),
            "spec.restore.queueTimeout: Invalid value: \"0\": must be more than 0s",
            json!("1m"),
        ),
        row(
            "spec.restore.excludedResources",
            json!(["events", "events"]),
            "spec.restore.excludedResources[1]: Duplicate value: \"events\"",
            json!(["events", "deployments.apps"]),
        ),
        row(
            "spec.restore.customResources",
            json!([""]),
            "spec.restore.customResources[0] in body should be at least 1 chars long",
            json!(["*"]),
        ),
        row(
            "spec.restore.customResources",
            json!(["caches"]),
            "each must be a group such as example.com, a kind and its group such as Cache.example.com, or *",
            json!(["example.com", "Cache.example.com"]),
        ),
        row(
            "spec.restore.excludedResources",
            json!(["pv"]),
            "persistentvolumes must not be excluded: claims would wait for the source's own volumes",
            json!(["poddisruptionbudgets.policy"]),
        ),
        row(
            "spec.restore.storageClassMapping",
            json!({ "gold": "Local Path" }),
            "spec.restore.storageClassMapping[gold]: Invalid value: \"Local Path\": must be lower-case letters",
            json!({ "gold": "local.path" }),
        ),
        row(
            "spec.restore.excludedResources",
            json!(["*"]),
            "each must name a kind as the API's addresses do, such as events or deployments.apps",
            json!(["secrets"]),
        ),
        row(
            "spec.restore.storageClassMapping",
            json!({ "gold": "" }),
            "spec.restore.storageClassMapping.gold in body should be at least 1 chars long",
            json!({ "gold": "local-path" }),
        ),
        row(
            "spec.completeness.ignore",
            json!(["cache-*"]),
            "each must be Kind/name, with * for any text",
            json!(["PersistentVolumeClaim/cache-*"]),
        ),
        row("spec.podStartup.timeout", json!("-1s"), DURATION, json!("1s")),
        row(
            "spec.podStartup.stableFor",
            json!("forever"),
            "spec.podStartup.stableFor: Invalid value: \"forever\": must be from 0s to 24h",
            json!("0s"),
        ),
        row(
            "spec.podStartup.ignore",
            json!(["runner-*"]),
            "each must be Kind/name, such as Pod/runner-* or Deployment/ci-*, or labels of pods",
            json!(["Pod/runner-*"]),
        ),
        row(
            "spec.podStartup.ignore",
            json!(["team in (ci)"]),
            "each must be Kind/name, such as Pod/runner-* or Deployment/ci-*, or labels of pods",
            json!(["example.com/team=ci,build=shop-*"]),
        ),
        row(
            "spec.healthChecks.policyRef",
            json!("My Policy"),
            "spec.healthChecks.policyRef: Invalid value: \"My Policy\": must be lower-case letters",
            json!("my-policy"),
        ),
        row("spec.healthChecks.timeout", json!("1w"), DURATION, json!("1h")),
        row(
            "spec.dependencies",
            dependency(json!(0)),
            "spec.dependencies[0].port in body should be greater than or equal to 1",
            dependency(json!(6379)),
        ),
        row(
            "spec.dependencies",
            dependency(json!("redis")),
            "spec.dependencies[0].port",
            dependency(json!(1)),
        ),
        row(
            "spec.dependencies",
            json!([{ "service": "redis.platform", "namespace": "platform", "port": 1 }]),
            "spec.dependencies[0].service: Invalid value: \"redis.platform\": must be lower-case letters",
            dependency(json!(65535)),
        ),
        row(
            "spec.sla.maxRTO",
            json!("30 minutes"),
            "spec.sla.maxRTO: Invalid value: \"30 minutes\": must be more than 0s",
            json!("30m"),
        ),
        row(
            "spec.sla.maxBackupAge",
            json!("1d"),
            "spec.sla.maxBackupAge: Invalid value: \"1d\": must be more than 0s and at most 8784h",
            json!("26h"),
        ),
        row(
            "spec.sla",
            json!({ "alertOnExceed": true }),
            "spec.sla: Invalid value: alertOnExceed needs maxRTO",
            json!({ "alertOnExceed": true, "maxRTO": "1h" }),
        ),
        row(
            "spec.notifications.onFailure",
            channel("email"),
            "spec.notifications.onFailure[0].type: Unsupported value: \"email\": supported values: \"slack\", \"webhook\"",
            channel("slack"),
        ),
        row(
            "spec.notifications.onSuccess",
            json!([{ "type": "webhook", "webhookSecretRef": "A B" }]),
            "spec.notifications.onSuccess[0].webhookSecretRef",
            channel("webhook"),
        ),
        row(
            "spec.logCollection.maxLines",
            json!(5000),
            "spec.logCollection.maxLines in body should be less than or equal to 1000",
            json!(1000),
        ),
        row(
            "spec.logCollection.scope",
            json!("none"),
            "spec.logCollection.scope: Unsupported value: \"none\": supported values: \"notReady\", \"all\"",
            json!("all"),
        ),
    ]
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn columns() {
    let cluster = Cluster::open("columns");
    cluster.ok(&["apply", "-f", "-"], Some(&minimal()));
    let status = json!({ "status": {
        "phase": "Completed", "lastScore": 96, "lastResult": "pass",
        "lastRunAt": "2024-03-15T03:00:12Z", "lastPassAt": "2024-03-15T03:00:12Z",
    } });
    cluster.ok(
        &[
            "patch",
            "rt",
            "nightly",
            "--subresource=status",
            "--type=merge",
            "-p",
            &status.to_string(),
        ],
        None,
    );
    let shown = cluster.ok(&["get", "rt"], None);
    let mut lines = shown.lines();
    let head: Vec<&str> = lines
        .next()
        .unwrap()
        .split("  ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect();
    assert_eq!(
        head,
        ["NAME", "PHASE", "SCORE", "RESULT", "LAST RUN", "LAST PASS", "AGE"],
        "{shown}"
    );
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["nightly", "Completed", "96", "pass"], "{shown}");
}
