//! `HealthCheckPolicy`: mistakes that `kubectl apply` must catch, and defaults.

use kymaros_runner::api::HealthCheckPolicy;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Row, fixture, row};

/// A check with the block of its type.
fn check(kind: &str, block: Value) -> Value {
    json!([{ "name": "api", "type": kind, kind: block }])
}

fn http(field: &str, value: Value) -> Value {
    let mut block = json!({ "service": "api", "port": 8080 });
    block[field] = value;
    check("httpGet", block)
}

fn exec(field: &str, value: Value) -> Value {
    let mut block = json!({ "podSelector": { "app": "db" }, "command": ["pg_isready"] });
    block[field] = value;
    check("exec", block)
}

fn header(header: Value) -> Value {
    http("headers", json!([header]))
}

fn resource(field: &str, value: &str) -> Value {
    let mut resource = json!({ "kind": "ConfigMap", "name": "settings" });
    resource[field] = json!(value);
    check("resourceExists", json!({ "resources": [resource] }))
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn a_policy_with_every_type_of_check_is_kept_as_written() {
    let cluster = Cluster::open("policy");
    let policy = fixture("policy-full.yaml");
    let stored = cluster.dry_run(&policy);
    assert_eq!(stored["spec"], policy["spec"]);
    let ours: HealthCheckPolicy = serde_json::from_value(stored).unwrap();
    assert_eq!(ours.spec.checks.len(), 5);
    assert_eq!(serde_json::to_value(&ours.spec).unwrap(), policy["spec"]);
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn the_server_fills_in_our_defaults() {
    let cluster = Cluster::open("policy-defaults");
    let mut policy = fixture("policy-full.yaml");
    policy["spec"] = json!({ "checks": [
        { "name": "pods", "type": "podStatus", "podStatus": { "labelSelector": {} } },
        { "name": "http", "type": "httpGet", "httpGet": { "service": "api", "port": "http" } },
        { "name": "tcp", "type": "tcpSocket", "tcpSocket": { "service": "api", "port": 80 } },
        { "name": "exec", "type": "exec", "exec": { "podSelector": {}, "command": ["true"] } },
    ] });
    let ours: HealthCheckPolicy = serde_json::from_value(policy.clone()).unwrap();
    assert_eq!(
        cluster.dry_run(&policy)["spec"],
        serde_json::to_value(&ours.spec).unwrap()
    );
}

#[test]
#[ignore = "needs an API server (KYMAROS_TEST_KUBECONFIG); installs the definitions"]
fn mistakes_are_refused_in_words_that_help() {
    let cluster = Cluster::open("policy-mistakes");
    let mut base = fixture("policy-full.yaml");
    base["spec"] = json!({ "checks": check("tcpSocket", json!({ "service": "api", "port": 80 })) });
    cluster.judge(&base, &rows());
    cluster.judge(&base, &http_rows());
}

fn rows() -> Vec<Row> {
    let checks = |bad: Value, says: &'static str, good: Value| row("spec.checks", bad, says, good);
    let tcp = |port: Value| check("tcpSocket", json!({ "service": "api", "port": port }));
    let pods = |minimum: i64| {
        check(
            "podStatus",
            json!({ "labelSelector": { "app": "api" }, "minReady": minimum }),
        )
    };
    let named = |first: &str, second: &str| {
        json!([
            { "name": first, "type": "tcpSocket", "tcpSocket": { "service": "api", "port": 80 } },
            { "name": second, "type": "tcpSocket", "tcpSocket": { "service": "api", "port": 81 } },
        ])
    };
    let number = |count: usize| -> Value {
        (0..count)
            .map(|i| json!({ "name": format!("c{i}"), "type": "tcpSocket", "tcpSocket": { "service": "api", "port": 80 } }))
            .collect()
    };
    let both = json!([{
        "name": "api", "type": "tcpSocket",
        "tcpSocket": { "service": "api", "port": 80 }, "exec": { "podSelector": {}, "command": ["true"] },
    }]);
    let good = tcp(json!(80));
    vec![
        checks(
            json!([]),
            "spec.checks in body should have at least 1 items",
            good.clone(),
        ),
        checks(
            number(101),
            "spec.checks: Too many: 101: must have at most 100 items",
            number(100),
        ),
        checks(
            named("a", "a"),
            "spec.checks[1]: Duplicate value: {\"name\":\"a\"}",
            named("a", "b"),
        ),
        checks(
            named("a", "B b"),
            "spec.checks[1].name: Invalid value: \"B b\": must be lower-case letters",
            named("a", "b-b"),
        ),
        checks(
            json!([{ "name": "api", "type": "ping" }]),
            "spec.checks[0].type: Unsupported value: \"ping\"",
            good.clone(),
        ),
        checks(
            json!([{ "name": "api", "type": "exec" }]),
            "spec.checks[0]: Invalid value: a check needs exactly one of the blocks podStatus, httpGet, tcpSocket, exec and resourceExists",
            exec("container", json!("db")),
        ),
        checks(both, "a check needs exactly one of the blocks", good.clone()),
        checks(
            json!([{ "name": "api", "type": "httpGet", "tcpSocket": { "service": "api", "port": 80 } }]),
            "spec.checks[0]: Invalid value: the block of a check must be the one that its type names",
            good.clone(),
        ),
        checks(
            pods(0),
            "spec.checks[0].podStatus.minReady in body should be greater than or equal to 1",
            pods(1),
        ),
        checks(
            check("podStatus", json!({})),
            "spec.checks[0].podStatus.labelSelector: Required value",
            pods(3),
        ),
        checks(
            tcp(json!(0)),
            "spec.checks[0].tcpSocket.port: Invalid value: 0: must be a port number from 1 to 65535, without quotes, or the name of a port of the Service",
            tcp(json!(1)),
        ),
        checks(
            tcp(json!(65536)),
            "must be a port number from 1 to 65535",
            tcp(json!(65535)),
        ),
        checks(
            tcp(json!("80")),
            "spec.checks[0].tcpSocket.port: Invalid value: \"80\": must be a port number from 1 to 65535, without quotes",
            tcp(json!("http-8")),
        ),
        checks(
            tcp(json!("HTTP")),
            "or the name of a port of the Service",
            tcp(json!("http")),
        ),
        checks(
            exec("command", json!([])),
            "spec.checks[0].exec.command in body should have at least 1 items",
            exec("command", json!(["sh", "-c", ""])),
        ),
        checks(
            exec("successExitCode", json!(256)),
            "spec.checks[0].exec.successExitCode in body should be less than or equal to 255",
            exec("successExitCode", json!(3)),
        ),
        checks(
            exec("timeout", json!("1d")),
            "spec.checks[0].exec.timeout: Invalid value: \"1d\": must be more than 0s",
            exec("timeout", json!("1m")),
        ),
        checks(
            exec("outputMatches", json!("x".repeat(1025))),
            "spec.checks[0].exec.outputMatches: Too long: may not be more than 1024",
            exec("outputMatches", json!("^ok$")),
        ),
        checks(
            check("resourceExists", json!({ "resources": [] })),
            "spec.checks[0].resourceExists.resources in body should have at least 1 items",
            resource("name", "settings"),
        ),
        checks(
            resource("kind", "configmaps"),
            "spec.checks[0].resourceExists.resources[0].kind: Invalid value: \"configmaps\": must be a kind, such as ConfigMap",
            resource("kind", "Ingress"),
        ),
        checks(
            resource("name", "a/b"),
            "spec.checks[0].resourceExists.resources[0].name: Invalid value: \"a/b\": must be the name of an object",
            resource("name", "system:node"),
        ),
        checks(
            resource("apiVersion", "apps"),
            "must be a group and version such as apps/v1, or v1",
            resource("apiVersion", "networking.k8s.io/v1"),
        ),
    ]
}

fn http_rows() -> Vec<Row> {
    let http = |field: &str, bad: Value, says: &'static str, good: Value| {
        row("spec.checks", http(field, bad), says, http(field, good))
    };
    let secret = json!({ "secretKeyRef": { "name": "token", "key": "value" } });
    let tls = |scheme: &str| {
        check(
            "httpGet",
            json!({ "service": "a", "port": 1, "scheme": scheme, "insecureSkipVerify": true }),
        )
    };
    vec![
        http(
            "service",
            json!("http://api"),
            "spec.checks[0].httpGet.service: Invalid value: \"http://api\": must be lower-case letters",
            json!("api"),
        ),
        http(
            "path",
            json!("healthz"),
            "spec.checks[0].httpGet.path: Invalid value: \"healthz\": must begin with '/' and hold no spaces",
            json!("/healthz?full=1"),
        ),
        http(
            "path",
            json!("/a b"),
            "must begin with '/' and hold no spaces",
            json!("/a%20b"),
        ),
        http(
            "expectedStatus",
            json!(99),
            "spec.checks[0].httpGet.expectedStatus in body should be greater than or equal to 100",
            json!(302),
        ),
        http(
            "scheme",
            json!("ftp"),
            "spec.checks[0].httpGet.scheme: Unsupported value: \"ftp\": supported values: \"HTTP\", \"HTTPS\"",
            json!("HTTPS"),
        ),
        http(
            "host",
            json!("a b"),
            "spec.checks[0].httpGet.host: Invalid value: \"a b\": must be a host name",
            json!("[fd00::1]:80"),
        ),
        http(
            "retries",
            json!(-1),
            "spec.checks[0].httpGet.retries in body should be greater than or equal to 0",
            json!(0),
        ),
        http(
            "timeout",
            json!("10"),
            "spec.checks[0].httpGet.timeout: Invalid value: \"10\": must be more than 0s",
            json!("10s"),
        ),
        row(
            "spec.checks",
            tls("HTTP"),
            "spec.checks[0].httpGet: Invalid value: insecureSkipVerify needs scheme: HTTPS",
            tls("HTTPS"),
        ),
        row(
            "spec.checks",
            header(json!({ "name": "Accept" })),
            "a header needs value or valueFrom, and not both",
            header(json!({ "name": "Accept", "value": "*/*" })),
        ),
        row(
            "spec.checks",
            header(json!({ "name": "X", "value": "a", "valueFrom": secret })),
            "a header needs value or valueFrom, and not both",
            header(json!({ "name": "X", "valueFrom": secret })),
        ),
        row(
            "spec.checks",
            header(json!({ "name": "Host", "value": "a" })),
            "is set by the runner; use host for the Host header",
            header(json!({ "name": "X-Host", "value": "a" })),
        ),
        row(
            "spec.checks",
            header(json!({ "name": "A b", "value": "a" })),
            "must be letters, digits, '-' and '_'",
            header(json!({ "name": "A-b", "value": "a\tb" })),
        ),
        row(
            "spec.checks",
            header(json!({ "name": "A", "value": "a\r\nB: c" })),
            "spec.checks[0].httpGet.headers[0].value: Invalid value: \"a\\r\\nB: c\": must be one line",
            header(json!({ "name": "A", "value": "ä: c" })),
        ),
    ]
}
