//! One spoilt field per row: the mistake must be found, at that field and nowhere else.

use serde_json::{Value, json};

use super::fixtures::{from, good_policy, good_test};
use super::{PlanError, validate};
use crate::api::{HealthCheckPolicy, RestoreTest};

/// A field as a JSON pointer, a bad value for it (JSON in single quotes), and how the error begins.
type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const TEST: &[Row] = &[
    ("/metadata/name", "'Nightly'", "metadata.name: "),
    ("/metadata/name", "'a.b'", "metadata.name: "),
    ("/spec/backupSource/providerNamespace", "'Velero'", "spec.backupSource.providerNamespace: "),
    ("/spec/backupSource/backupName", "''", "spec.backupSource.backupName: "),
    ("/spec/backupSource/scheduleName", "'-x'", "spec.backupSource.scheduleName: "),
    ("/spec/backupSource/storageLocation", "'x_y'", "spec.backupSource.storageLocation: "),
    ("/spec/backupSource/window", "'0s'", "spec.backupSource.window: must be more than 0s"),
    ("/spec/backupSource/window", "'8785h'", "spec.backupSource.window: must be at most 8784h, is 8785h0m0s"),
    ("/spec/backupSource/namespaces/1/name", "'shop'", "spec.backupSource.namespaces[1].name: \"shop\" is listed twice"),
    ("/spec/backupSource/namespaces/1/name", "'d*'", "spec.backupSource.namespaces[1].name: "),
    ("/spec/backupSource/namespaces/1/name", "'rp-test-x-kymaros-abc123'", "spec.backupSource.namespaces[1].name: \"rp-test-x-kymaros-abc123\" is the name of a sandbox"),
    ("/spec/backupSource/namespaces/1/sandboxName", "'Data'", "spec.backupSource.namespaces[1].sandboxName: "),
    ("/spec/backupSource/labelSelector", "{'a b': 'x'}", "spec.backupSource.labelSelector[a b]: "),
    ("/spec/backupSource/labelSelector", "{'app': 'x y'}", "spec.backupSource.labelSelector[app]: "),
    ("/spec/backupSource/labelSelector", "{'batch.kubernetes.io/job-name': 'x'}", "spec.backupSource.labelSelector[batch.kubernetes.io/job-name]: Jobs"),
    ("/spec/schedule/cron", "'61 3 * * *'", "spec.schedule.cron: minute \"61\": must be from 0 to 59"),
    ("/spec/schedule/cron", "'0 3 * *'", "spec.schedule.cron: "),
    ("/spec/schedule/cron", "'TZ=UTC 0 3 * * *'", "spec.schedule.cron: "),
    ("/spec/schedule/timezone", "'Mars/Olympus'", "spec.schedule.timezone: \"Mars/Olympus\" is no IANA"),
    ("/spec/schedule/timezone", "'Local'", "spec.schedule.timezone: "),
    ("/spec/schedule/timezone", "''", "spec.schedule.timezone: "),
    ("/spec/sandbox/namespacePrefix", "'rp_test'", "spec.sandbox.namespacePrefix: "),
    ("/spec/sandbox/ttl", "'0s'", "spec.sandbox.ttl: must be more than 0s"),
    ("/spec/sandbox/ttl", "'25h'", "spec.sandbox.ttl: must be at most 24h"),
    ("/spec/sandbox/keepFailedFor", "'169h'", "spec.sandbox.keepFailedFor: must be at most 168h"),
    ("/spec/sandbox/resourceQuota/cpu", "0", "spec.sandbox.resourceQuota.cpu: "),
    ("/spec/sandbox/resourceQuota/memory", "'4GB'", "spec.sandbox.resourceQuota.memory: \"4GB\" must be a positive"),
    ("/spec/sandbox/resourceQuota/storage", "'-1'", "spec.sandbox.resourceQuota.storage: "),
    ("/spec/sandbox/egress/0/cidr", "'198.51.100.7/24'", "spec.sandbox.egress[0].cidr: 198.51.100.7/24 is no network"),
    ("/spec/sandbox/egress/0/ports", "[]", "spec.sandbox.egress[0].ports: must have from 1 to 16"),
    ("/spec/sandbox/egress/0/ports/1/port", "0", "spec.sandbox.egress[0].ports[1].port: must be from 1 to 65535, is 0"),
    ("/spec/sandbox/egress/0/ports/1", "{'port': 5432}", "spec.sandbox.egress[0].ports[1]: TCP 5432 is listed twice"),
    ("/spec/sandbox/egress/0/ports/1/port", "53", "spec.sandbox.egress[0].ports[1].port: 53 is a port of DNS"),
    ("/spec/sandbox/dns/namespace", "'kube.system'", "spec.sandbox.dns.namespace: "),
    ("/spec/sandbox/dns/podSelector", "{}", "spec.sandbox.dns.podSelector: must not be empty"),
    ("/spec/sandbox/dns/podSelector", "{'a': '-'}", "spec.sandbox.dns.podSelector[a]: "),
    ("/spec/sandbox/dns/cidr", "'169.254.20.10'", "spec.sandbox.dns.cidr: "),
    ("/spec/sandbox/dns/ports", "[]", "spec.sandbox.dns.ports: must have from 1 to 4"),
    ("/spec/sandbox/dns/ports", "[53, 0]", "spec.sandbox.dns.ports[1]: must be from 1 to 65535, is 0"),
    ("/spec/sandbox/dns/ports", "[53, 53]", "spec.sandbox.dns.ports[1]: 53 is listed twice"),
    ("/spec/sandbox/dns/domain", "'cluster..local'", "spec.sandbox.dns.domain: "),
    ("/spec/restore/excludedResources/0", "'*'", "spec.restore.excludedResources[0]: "),
    ("/spec/restore/excludedResources/1", "'persistentvolumes'", "spec.restore.excludedResources[1]: must not be"),
    ("/spec/restore/excludedResources/1", "'pv'", "spec.restore.excludedResources[1]: must not be"),
    ("/spec/restore/storageClassMapping", "{'Fast': 'x'}", "spec.restore.storageClassMapping[Fast]: "),
    ("/spec/restore/storageClassMapping", "{'fast': ''}", "spec.restore.storageClassMapping[fast]: must not be empty"),
    ("/spec/restore/customResources/0", "'Widget'", "spec.restore.customResources[0]: "),
    ("/spec/restore/customResources/0", "'widgets'", "spec.restore.customResources[0]: "),
    ("/spec/restore/customResources/0", "'*.example.com'", "spec.restore.customResources[0]: "),
    ("/spec/restore/queueTimeout", "'0s'", "spec.restore.queueTimeout: "),
    ("/spec/restore/timeout", "'48h'", "spec.restore.timeout: must be at most 24h, is 48h0m0s"),
    ("/spec/completeness/ignore/0", "'cache-*'", "spec.completeness.ignore[0]: "),
    ("/spec/completeness/ignore/0", "'shop/ConfigMap/x'", "spec.completeness.ignore[0]: "),
    ("/spec/completeness/ignore/0", "'ConfigMap/'", "spec.completeness.ignore[0]: "),
    ("/spec/podStartup/timeout", "'0s'", "spec.podStartup.timeout: "),
    ("/spec/podStartup/stableFor", "'25h'", "spec.podStartup.stableFor: "),
    ("/spec/podStartup/ignore", "['runner-*']", "spec.podStartup.ignore[0]: \"runner-*\" must be Kind/name, such as Pod/runner-*"),
    ("/spec/podStartup/ignore", "['team=ci', 'team in (ci)']", "spec.podStartup.ignore[1]: "),
    ("/spec/healthChecks/timeout", "'25h'", "spec.healthChecks.timeout: "),
    ("/spec/healthChecks/policyRef", "'App'", "spec.healthChecks.policyRef: "),
    ("/spec/dependencies/0/service", "'redis.platform'", "spec.dependencies[0].service: "),
    ("/spec/dependencies/0/namespace", "''", "spec.dependencies[0].namespace: "),
    ("/spec/dependencies/0/port", "0", "spec.dependencies[0].port: must be from 1 to 65535"),
    ("/spec/sla/maxRTO", "'0s'", "spec.sla.maxRTO: "),
    ("/spec/sla/maxRTO", "null", "spec.sla.alertOnExceed: needs spec.sla.maxRTO"),
    ("/spec/sla/maxBackupAge", "'9000h'", "spec.sla.maxBackupAge: "),
    ("/spec/notifications/onFailure/0/channel", "''", "spec.notifications.onFailure[0].channel: "),
    ("/spec/notifications/onFailure/0/webhookSecretRef", "'A'", "spec.notifications.onFailure[0].webhookSecretRef: "),
    ("/spec/logCollection/maxLines", "5", "spec.logCollection.maxLines: must be from 10 to 1000, is 5"),
    ("/spec/timeout", "'24h1s'", "spec.timeout: must be at most 24h, is 24h0m1s"),
    ("/spec/timeout", "'0s'", "spec.timeout: "),
    ("/spec/historyLimit", "0", "spec.historyLimit: must be from 1 to 1000, is 0"),
];

/// The same below `spec.checks` of the policy.
#[rustfmt::skip]
const POLICY: &[Row] = &[
    ("", "[]", ": must have from 1 to 100"),
    ("/0/name", "'Pods'", "[0].name: "),
    ("/1/name", "'pods'", "[1].name: \"pods\" is the name of another check too"),
    ("/1/namespace", "'other'", "[1].namespace: \"other\" is not listed"),
    ("/0/podStatus", "null", "[0].podStatus: is missing"),
    ("/0/tcpSocket", "{'service': 'a', 'port': 1}", "[0].tcpSocket: does not belong to a check of type podStatus"),
    ("/0/podStatus/labelSelector", "{'a': 'b c'}", "[0].podStatus.labelSelector[a]: "),
    ("/0/podStatus/minReady", "0", "[0].podStatus.minReady: "),
    ("/0/podStatus/timeout", "'0s'", "[0].podStatus.timeout: "),
    ("/1/httpGet/service", "'web.shop'", "[1].httpGet.service: "),
    ("/1/httpGet/port", "0", "[1].httpGet.port: must be from 1 to 65535, is 0"),
    ("/1/httpGet/port", "'8080'", "[1].httpGet.port: \"8080\" must be a port number"),
    ("/1/httpGet/path", "'healthz'", "[1].httpGet.path: "),
    ("/1/httpGet/path", "'/a b'", "[1].httpGet.path: "),
    ("/1/httpGet/expectedStatus", "99", "[1].httpGet.expectedStatus: "),
    ("/1/httpGet/host", "'a/b'", "[1].httpGet.host: "),
    ("/1/httpGet/host", "'[fd00::1]x'", "[1].httpGet.host: "),
    ("/1/httpGet/headers/0/name", "'Host'", "[1].httpGet.headers[0].name: \"Host\" is set by the runner"),
    ("/1/httpGet/headers/0/name", "'A B'", "[1].httpGet.headers[0].name: "),
    ("/1/httpGet/headers/0/name", "''", "[1].httpGet.headers[0].name: must not be empty"),
    ("/1/httpGet/headers/0/value", "'a\\r\\nB: c'", "[1].httpGet.headers[0].value: must be one line"),
    ("/1/httpGet/headers/0/value", "null", "[1].httpGet.headers[0]: a header needs value or valueFrom"),
    ("/1/httpGet/headers/1/value", "'x'", "[1].httpGet.headers[1]: a header needs value or valueFrom"),
    ("/1/httpGet/headers/1/valueFrom/secretKeyRef/name", "'A'", "[1].httpGet.headers[1].valueFrom.secretKeyRef.name: "),
    ("/1/httpGet/headers/1/valueFrom/secretKeyRef/key", "'a/b'", "[1].httpGet.headers[1].valueFrom.secretKeyRef.key: "),
    ("/1/httpGet/bodyMatches", "'(ok'", "[1].httpGet.bodyMatches: does not compile: "),
    ("/1/httpGet/bodyMatches", "''", "[1].httpGet.bodyMatches: must not be empty"),
    ("/1/httpGet/timeout", "'25h'", "[1].httpGet.timeout: "),
    ("/1/httpGet/retries", "101", "[1].httpGet.retries: "),
    ("/1/httpGet/insecureSkipVerify", "true", "[1].httpGet.insecureSkipVerify: needs scheme: HTTPS"),
    ("/2/tcpSocket/service", "''", "[2].tcpSocket.service: "),
    ("/2/tcpSocket/port", "65536", "[2].tcpSocket.port: "),
    ("/2/tcpSocket/timeout", "'0s'", "[2].tcpSocket.timeout: "),
    ("/2/tcpSocket/retries", "101", "[2].tcpSocket.retries: "),
    ("/3/exec/podSelector", "{'/': ''}", "[3].exec.podSelector[/]: "),
    ("/3/exec/container", "'DB'", "[3].exec.container: "),
    ("/3/exec/command", "[]", "[3].exec.command: must have from 1 to 64"),
    ("/3/exec/successExitCode", "256", "[3].exec.successExitCode: "),
    ("/3/exec/successExitCode", "-1", "[3].exec.successExitCode: "),
    ("/3/exec/outputMatches", "'[a'", "[3].exec.outputMatches: does not compile: "),
    ("/3/exec/timeout", "'25h'", "[3].exec.timeout: "),
    ("/4/resourceExists/resources", "[]", "[4].resourceExists.resources: must have from 1 to 100"),
    ("/4/resourceExists/resources/0/kind", "'configmaps'", "[4].resourceExists.resources[0].kind: "),
    ("/4/resourceExists/resources/0/name", "'../x'", "[4].resourceExists.resources[0].name: "),
    ("/4/resourceExists/resources/1/apiVersion", "'apps'", "[4].resourceExists.resources[1].apiVersion: "),
];

/// Fields that are too long, or have too many entries.
fn oversized() -> Vec<(&'static str, Value, &'static str)> {
    let many = |count: usize, value: Value| Value::Array(vec![value; count]);
    let labels = (0..17).map(|index| (format!("l{index}"), json!("v")));
    vec![
        (
            "/metadata/name",
            json!("a".repeat(53)),
            "metadata.name: must be at most 52",
        ),
        (
            "/spec/backupSource/labelSelector",
            Value::Object(labels.collect()),
            "spec.backupSource.labelSelector: must have at most 16",
        ),
        (
            "/spec/sandbox/namespacePrefix",
            json!("a".repeat(41)),
            "spec.sandbox.namespacePrefix: must be at most 40",
        ),
        (
            "/spec/restore/excludedResources",
            many(101, json!("events")),
            "spec.restore.excludedResources: must have at most 100",
        ),
        (
            "/spec/restore/customResources",
            many(51, json!("*")),
            "spec.restore.customResources: must have at most 50",
        ),
        (
            "/spec/completeness/ignore",
            many(101, json!("A/b")),
            "spec.completeness.ignore: must have at most 100",
        ),
        (
            "/spec/notifications/onSuccess",
            many(11, json!({ "type": "slack" })),
            "spec.notifications.onSuccess: must have at most 10",
        ),
    ]
}

fn errors(test: &RestoreTest, policy: Option<&HealthCheckPolicy>) -> Vec<String> {
    match validate(test, policy) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(PlanError::to_string).collect(),
    }
}

/// Reads a row's value.
fn value(text: &str) -> Value {
    serde_json::from_str(&text.replace('\'', "\"")).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Sets the value at a JSON pointer; the parent must be there.
fn set(object: &impl serde::Serialize, pointer: &str, value: Value) -> Value {
    let mut object = serde_json::to_value(object).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match object.pointer_mut(parent) {
        Some(Value::Array(list)) => list[key.parse::<usize>().unwrap()] = value,
        Some(Value::Object(map)) => _ = map.insert(key.to_owned(), value),
        _ => panic!("{pointer} has no parent"),
    }
    object
}

fn assert_one(found: &[String], expected: &str, row: &str) {
    assert!(found.len() == 1 && found[0].starts_with(expected), "{row}: {found:#?}");
    assert!(!found[0].contains('\n'), "{}", found[0]);
}

#[test]
fn a_good_test_is_valid() {
    assert_eq!(errors(&good_test(), Some(&good_policy())), Vec::<String>::new());
}

#[test]
fn one_mistake_is_one_error_at_its_field() {
    let rows = TEST
        .iter()
        .map(|(pointer, text, expected)| (*pointer, value(text), *expected));
    for (pointer, value, expected) in rows.chain(oversized()) {
        let spoilt: RestoreTest = from(set(&good_test(), pointer, value.clone()));
        assert_one(
            &errors(&spoilt, Some(&good_policy())),
            expected,
            &format!("{pointer} = {value}"),
        );
    }
}

#[test]
fn one_mistake_in_a_policy_is_one_error_at_its_field() {
    let too_many = Value::Array(vec![json!({ "name": "a", "value": "b" }); 21]);
    let too_long = [
        (
            "/1/httpGet/headers",
            too_many,
            "[1].httpGet.headers: must have at most 20",
        ),
        (
            "/3/exec/command/0",
            json!("x".repeat(4097)),
            "[3].exec.command[0]: must be at most 4096",
        ),
    ];
    let rows = POLICY
        .iter()
        .map(|(pointer, text, expected)| (*pointer, value(text), *expected));
    for (pointer, value, expected) in rows.chain(too_long) {
        let spoilt: HealthCheckPolicy = from(set(&good_policy(), &format!("/spec/checks{pointer}"), value.clone()));
        let expected = format!("HealthCheckPolicy app spec.checks{expected}");
        assert_one(
            &errors(&good_test(), Some(&spoilt)),
            &expected,
            &format!("{pointer} = {value}"),
        );
    }
}

#[test]
fn the_number_of_namespaces_is_bounded() {
    for (count, expected) in [
        (0, "must have from 1 to 16 entries, has 0"),
        (17, "must have from 1 to 16 entries, has 17"),
    ] {
        let names: Vec<Value> = (0..count).map(|index| json!({ "name": format!("n{index}") })).collect();
        let mut policy = good_policy();
        policy.spec.checks[1].namespace = None;
        let test: RestoreTest = from(set(&good_test(), "/spec/backupSource/namespaces", names.into()));
        assert_eq!(
            errors(&test, Some(&policy)),
            [format!("spec.backupSource.namespaces: {expected}")]
        );
    }
}

#[test]
fn a_named_backup_leaves_nothing_to_choose() {
    let mut test = good_test();
    test.spec.backup_source.backup_name = "daily-1".into();
    test.spec.backup_source.selection = crate::api::Selection::Random;
    let found = errors(&test, Some(&good_policy()));
    let fields: Vec<&str> = found.iter().map(|error| error.split(": ").next().unwrap()).collect();
    let expected = ["scheduleName", "storageLocation", "window", "selection"];
    assert_eq!(fields, expected.map(|field| format!("spec.backupSource.{field}")));
    assert!(
        found[0].ends_with("backupName says daily-1: it needs backupName: latest"),
        "{}",
        found[0]
    );
}

#[test]
fn a_policy_must_be_there() {
    let found = errors(&good_test(), None);
    assert_eq!(
        found,
        ["spec.healthChecks.policyRef: no HealthCheckPolicy \"app\" in namespace kymaros-system"]
    );
    let mut test = good_test();
    test.spec.health_checks.policy_ref = None;
    assert_eq!(errors(&test, None), Vec::<String>::new());
    assert!(
        validate(&test, Some(&good_policy())).unwrap().checks.is_none(),
        "a policy nobody asked for"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut test = good_test();
    test.metadata.name = Some("A".into());
    test.spec.timeout = crate::api::Duration::ZERO;
    test.spec.sandbox.namespace_prefix = "-".into();
    let mut policy = good_policy();
    policy.spec.checks[3].exec.as_mut().unwrap().command.clear();
    let errors = validate(&test, Some(&policy)).unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    let in_policy = "HealthCheckPolicy app spec.checks[3].exec.command";
    assert_eq!(
        paths,
        [
            "metadata.name",
            "spec.sandbox.namespacePrefix",
            in_policy,
            "spec.timeout"
        ]
    );
    let stop = super::invalid_spec(&errors);
    assert_eq!(stop.reason, crate::facts::Reason::InvalidSpec);
    assert_eq!(stop.message.matches("; ").count(), 3, "{}", stop.message);
}
