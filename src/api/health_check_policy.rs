//! `HealthCheckPolicy`: what a restored application must be able to do.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are what `kubectl explain` prints, where backticks are noise"
)]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{self, dns_label, dns_subdomain, rule};
use super::{CheckType, Duration, IntOrString, Scheme, limits};

/// What a restored application must be able to do.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "restore.kymaros.io",
    version = "v1alpha1",
    kind = "HealthCheckPolicy",
    plural = "healthcheckpolicies",
    shortname = "hcp",
    namespaced,
    status = "HealthCheckPolicyStatus",
    derive = "PartialEq",
    doc = "Checks that a restored application must pass in its sandbox. A RestoreTest names its policy in \
           spec.healthChecks.policyRef.",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Since the policy was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckPolicySpec {
    /// The checks, from 1 to 100, each with a name of its own. They run in this order, one at a time.
    #[schemars(
        length(min = 1, max = limits::CHECKS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub checks: Vec<Check>,
}

/// Nothing is recorded about a policy in this version; what its checks found is in each RestoreReport.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheckPolicyStatus {}

/// One check: its name, its type, and the block of that type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule(
        "(has(self.podStatus) ? 1 : 0) + (has(self.httpGet) ? 1 : 0) + (has(self.tcpSocket) ? 1 : 0) + (has(self.exec) ? 1 : 0) + (has(self.resourceExists) ? 1 : 0) == 1",
        "a check needs exactly one of the blocks podStatus, httpGet, tcpSocket, exec and resourceExists",
    ),
    rule(
        "self.type == 'podStatus' ? has(self.podStatus) : self.type == 'httpGet' ? has(self.httpGet) : self.type == 'tcpSocket' ? has(self.tcpSocket) : self.type == 'exec' ? has(self.exec) : has(self.resourceExists)",
        "the block of a check must be the one that its type names",
    ),
]))]
pub struct Check {
    /// Name of the check, as the report shows it. It must be unique in the policy.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub name: String,
    /// podStatus: enough pods are ready. httpGet: an HTTP answer is as expected. tcpSocket: a connection opens. exec: a
    /// command in a pod succeeds. resourceExists: objects are there. The block of the same name says more.
    #[serde(rename = "type")]
    pub type_: CheckType,
    /// Namespace, by its name in the backup, in whose sandbox the check runs. By default the sandbox that holds the
    /// target; if several do, the check fails and asks for this field. resourceExists looks for each object in all sandboxes,
    /// and asks for it where two have the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub namespace: Option<String>,
    /// If a critical check fails, all later ones are skipped. Default true for podStatus, false for the other types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// May the report quote what the check got to see (at most 512 bytes of an answer or a command's output)? Default
    /// true. Switch it off where the output may hold secrets.
    #[serde(default = "yes")]
    pub report_output: bool,
    /// For type podStatus: which pods must be ready, and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_status: Option<PodStatusCheck>,
    /// For type httpGet: the request, and the answer expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetCheck>,
    /// For type tcpSocket: where a TCP connection must open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketCheck>,
    /// For type exec: the command, the pod it runs in, and the outcome expected. The installation needs the component
    /// sandbox-exec for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// For type resourceExists: the objects that must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_exists: Option<ResourceExistsCheck>,
}

impl Check {
    /// Does a failure of this check abort the later ones?
    pub fn is_critical(&self) -> bool {
        self.critical.unwrap_or(self.type_ == CheckType::PodStatus)
    }
}

const fn yes() -> bool {
    true
}

/// Passes when enough pods are ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatusCheck {
    /// Labels of the pods; a pod must have all of them. {} means every pod.
    #[schemars(schema_with = "schema::match_labels")]
    pub label_selector: BTreeMap<String, String>,
    /// How many of these pods must be ready at the same time. Default 1, from 1 to 1000.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_ready: u32,
    /// How long to wait for that. Default 5m.
    #[serde(default = "five_minutes")]
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
}

const fn one() -> u32 {
    1
}

const fn five_minutes() -> Duration {
    Duration::from_mins(5)
}

/// Passes when the answer of a Service of the sandbox is as expected. Redirects are answers too and are never followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("!self.insecureSkipVerify || self.scheme == 'HTTPS'", "insecureSkipVerify needs scheme: HTTPS"),
]))]
pub struct HttpGetCheck {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub service: String,
    /// Port of the Service, by number or by name.
    #[schemars(schema_with = "schema::port")]
    pub port: IntOrString,
    /// Path with which the request is made, query included, such as /healthz?full=1. Default /.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = [rule(
        r"self.matches('^/[^\\s]*$')",
        "must begin with '/' and hold no spaces",
    )]))]
    pub path: String,
    /// Status code that the answer must have. Default 200.
    #[serde(default = "status_ok")]
    #[schemars(range(min = 100, max = 599))]
    pub expected_status: u16,
    /// HTTP (the default) or HTTPS.
    #[serde(default = "plain_http")]
    pub scheme: Scheme,
    /// Value of the Host header, and the name asked for in TLS. Default <service>.<namespace>.svc of the namespace in the
    /// backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [rule(
        "self.matches('^[A-Za-z0-9.:_-]+$') || self.matches('^[[][0-9a-fA-F:]+[]](:[0-9]+)?$')",
        "must be a host name, with a port if need be",
    )]))]
    pub host: Option<String>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub headers: Vec<Header>,
    /// Regular expression that must be found in the body, of which the first 1 MiB is read. By default any body will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub body_matches: Option<String>,
    /// Longest time for one try, from dialling to the last byte read. Default 10s.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
    /// How often to try again after a failure, 2s apart. Default 3, at most 100. While the Services learn of the pods, in the
    /// first 5s of all checks, a refused connection costs none.
    #[serde(default = "three")]
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// With HTTPS: accept any certificate? Default false.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

fn root_path() -> String {
    "/".to_owned()
}

const fn status_ok() -> u16 {
    200
}

const fn plain_http() -> Scheme {
    Scheme::Http
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn three() -> u32 {
    3
}

/// A header to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("has(self.value) != has(self.valueFrom)", "a header needs value or valueFrom, and not both"),
]))]
pub struct Header {
    /// Name of the header. Host has a field of its own.
    #[schemars(length(min = 1, max = 128), extend("x-kubernetes-validations" = [
        rule("self.matches('^[A-Za-z0-9_-]+$')", "must be letters, digits, '-' and '_'"),
        rule("!self.matches('(?i)^(host|content-length|transfer-encoding|connection)$')", "is set by the runner; use host for the Host header"),
    ]))]
    pub name: String,
    /// Its value, readable by everybody who may read this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = [
        rule(r"!self.matches('[\\x00-\\x08\\x0a-\\x1f\\x7f]')", "must be one line"),
    ]))]
    pub value: Option<String>,
    /// Where its value comes from, if it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<HeaderSource>,
}

/// Where the value of a header comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderSource {
    /// A key of a restored Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret that was restored into the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, which is read in the sandbox the check runs in. The installation needs the component
    /// sandbox-header-secrets for it.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [dns_subdomain()]))]
    pub name: String,
    /// The key whose value is used.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        rule("self.matches('^[-._a-zA-Z0-9]+$')", "must be letters, digits, '-', '_' and '.'"),
    ]))]
    pub key: String,
}

/// Passes when a TCP connection to a Service of the sandbox opens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpSocketCheck {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub service: String,
    /// Port of the Service, by number or by name.
    #[schemars(schema_with = "schema::port")]
    pub port: IntOrString,
    /// Longest time for one try. Default 10s.
    #[serde(default = "ten_seconds")]
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
    /// How often to try again after a failure, 2s apart. Default 3, at most 100. While the Services learn of the pods, in the
    /// first 5s of all checks, a refused connection costs none.
    #[serde(default = "three")]
    #[schemars(range(max = 100))]
    pub retries: u32,
}

/// Passes when a command in one ready pod ends as expected. The installation needs the component sandbox-exec for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecCheck {
    /// Labels of the pods; the command runs in one ready pod that has all of them. {} means any pod.
    #[schemars(schema_with = "schema::match_labels")]
    pub pod_selector: BTreeMap<String, String>,
    /// Name of the container. Default the one that kubectl exec would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [dns_label()]))]
    pub container: Option<String>,
    /// The command and its arguments, from 1 to 64. It is not run by a shell unless it names one.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Exit code that means success. Default 0, at most 255.
    #[serde(default)]
    #[schemars(range(min = 0, max = 255))]
    pub success_exit_code: i32,
    /// Regular expression that must be found in the standard output, of which the first 64 KiB are read. By default any
    /// output will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub output_matches: Option<String>,
    /// How long the command may take. Default 30s.
    #[serde(default = "half_a_minute")]
    #[schemars(schema_with = "schema::timeout")]
    pub timeout: Duration,
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

/// Passes when all of the objects are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceExistsCheck {
    /// The objects that must be there, from 1 to 100.
    #[schemars(length(min = 1, max = 100))]
    pub resources: Vec<ResourceRef>,
}

/// An object that must be there. Its contents are not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Kind of the object, such as ConfigMap.
    #[schemars(length(min = 1, max = 63), extend("x-kubernetes-validations" = [
        rule("self.matches('^[A-Z][A-Za-z0-9]*$')", "must be a kind, such as ConfigMap"),
    ]))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), extend("x-kubernetes-validations" = [
        rule("!self.matches('[/%]') && self != '.' && self != '..'", "must be the name of an object"),
    ]))]
    pub name: String,
    /// Group and version of the kind, such as apps/v1. By default that of the group which the cluster serves; of several
    /// the one of Kubernetes itself, and if that does not decide, the check fails and asks for this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317), extend("x-kubernetes-validations" = [
        rule("self.matches('^([a-z0-9.-]+/)?v[a-z0-9]+$')", "must be a group and version such as apps/v1, or v1"),
    ]))]
    pub api_version: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_a_check() {
        let check: Check = serde_json::from_value(json!({
            "name": "api", "type": "httpGet", "httpGet": { "service": "api", "port": 80 },
        }))
        .unwrap();
        assert!(!check.is_critical() && check.report_output);
        let http = check.http_get.unwrap();
        assert_eq!((http.path.as_str(), http.expected_status, http.retries), ("/", 200, 3));
        assert_eq!(
            (http.timeout, http.port),
            (Duration::from_secs(10), IntOrString::Int(80))
        );

        let mut check: Check = serde_json::from_value(json!({
            "name": "db", "type": "podStatus", "podStatus": { "labelSelector": { "app": "db" } },
        }))
        .unwrap();
        assert!(check.is_critical());
        check.critical = Some(false);
        assert!(!check.is_critical());
        let pods = check.pod_status.unwrap();
        assert_eq!((pods.min_ready, pods.timeout), (1, Duration::from_mins(5)));
    }
}
