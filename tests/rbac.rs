//! The runner's rights against its calls: every call that the scenarios recorded is granted by the shipped rules, and every
//! right that is granted was used by some call, but for those that the table below excuses.

#![allow(clippy::print_stdout, reason = "the figures are for the summary")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "a test program's settings")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// Where the scenarios put the runners' logs.
const LOGS: &str = "build/test-logs/scenarios";

/// Where a rule applies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Scope {
    Everywhere,
    Own,
    Provider,
    Sandbox,
    Source,
}

/// The shipped rules, and what the scenarios add to them.
const RULES: &[(Scope, &str)] = &[
    (Scope::Everywhere, "manifests/rbac/cluster.yaml"),
    (Scope::Own, "manifests/rbac/own-namespace.yaml"),
    (Scope::Provider, "manifests/rbac/provider-namespace.yaml"),
    (Scope::Sandbox, "manifests/rbac/sandbox.yaml"),
    (Scope::Sandbox, "kustomize/components/sandbox-exec/clusterrole.yaml"),
    (
        Scope::Sandbox,
        "kustomize/components/sandbox-header-secrets/clusterrole.yaml",
    ),
    (
        Scope::Source,
        "kustomize/components/compare-with-source/rights/rights.yaml",
    ),
    // What people add who let custom resources in.
    (Scope::Sandbox, "tests/scenarios/install/parcels.yaml"),
];

/// Rights that no scenario uses: verb, group, resource (`*` for any), and why they are granted all the same.
const EXCUSED: &[(&str, &str, &str, &str)] = &[
    (
        "list",
        "coordination.k8s.io",
        "leases",
        "only while another run holds the Lease, and for the sweep",
    ),
    ("list", "restore.kymaros.io", "restoretests", "only for the sweep"),
    (
        "watch",
        "coordination.k8s.io",
        "leases",
        "only while another run holds the Lease",
    ),
    ("list", "", "pods", "only while another run holds the Lease"),
    ("watch", "", "pods", "only while another run holds the Lease"),
    ("get", "batch", "*", "only for a test with a schedule"),
    (
        "get",
        "restore.kymaros.io",
        "restorereports",
        "only where a test has a report already",
    ),
    ("get", "", "configmaps", "only where an answer was lost"),
    ("create", "", "limitranges", "only with sandbox.resourceQuota"),
    (
        "bind",
        "rbac.authorization.k8s.io",
        "clusterroles",
        "checked by the API server itself when the RoleBinding is made",
    ),
    (
        "*",
        "snapshot.storage.k8s.io",
        "volumesnapshotcontents",
        "the test bed has no CSI snapshots",
    ),
    (
        "patch",
        "",
        "persistentvolumes",
        "only for volumes whose class retains them",
    ),
    (
        "watch",
        "",
        "persistentvolumes",
        "only while a volume of a sandbox is still there",
    ),
    ("*", "velero.io", "datadownloads", "only where snapshots' data is moved"),
    (
        "patch",
        "velero.io",
        "podvolumerestores",
        "only while a volume is restored as somebody else's restore appears",
    ),
    (
        "*",
        "velero.io",
        "schedules",
        "reading them is granted with the other kinds a choice may rest on",
    ),
    ("get", "velero.io", "*", "lists and watches come with it"),
    ("watch", "velero.io", "*", "what may be listed may be followed"),
    (
        "delete",
        "restore.kymaros.io",
        "restorereports",
        "used by the scenario of pruning",
    ),
    (
        "*",
        "",
        "secrets",
        "opt-in, or asked for by dry run where the provider's list and the quota disagree",
    ),
    (
        "get",
        "storage.k8s.io",
        "storageclasses",
        "only for claims that wait for a consumer",
    ),
    ("patch", "events.k8s.io", "events", "repeated Events are patched"),
    (
        "*",
        "",
        "pods/exec",
        "opt-in; from Kubernetes 1.35 both verbs are checked for one call",
    ),
];

#[derive(Deserialize)]
struct Role {
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// A call as the log has it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Call {
    verb: String,
    group: String,
    resource: String,
    namespace: String,
}

fn rules() -> Vec<(Scope, Rule)> {
    let mut rules = Vec::new();
    for (scope, path) in RULES {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for document in text.split("\n---\n") {
            let role: Role = serde_saphyr::from_str(document).unwrap_or_else(|e| panic!("{path}: {e}"));
            if role.kind.ends_with("Role") {
                rules.extend(role.rules.into_iter().map(|rule| (*scope, rule)));
            }
        }
    }
    rules
}

fn calls() -> (usize, BTreeSet<Call>) {
    let folder = Path::new(LOGS);
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{LOGS}: {e}; the scenarios have to be played first"));
    let mut all = 0;
    let mut calls = BTreeSet::new();
    for entry in entries {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| line.contains("kymaros_runner::api_call")) {
            let Ok(line) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let resource = match field("subresource").as_str() {
                "" => field("resource"),
                sub => format!("{}/{sub}", field("resource")),
            };
            // URLs that are no resources are open to everybody who is authenticated.
            if resource.is_empty() {
                continue;
            }
            all += 1;
            calls.insert(Call {
                verb: field("verb"),
                group: field("group"),
                resource,
                namespace: field("namespace"),
            });
        }
    }
    (all, calls)
}

fn applies(scope: Scope, namespace: &str) -> bool {
    match scope {
        Scope::Everywhere => true,
        Scope::Own => namespace == "kymaros-system",
        Scope::Provider => namespace.starts_with("velero"),
        Scope::Sandbox => {
            let tail = namespace.rsplit('-').next().unwrap_or_default();
            tail.len() == 6 && namespace.ends_with(&format!("-kymaros-{tail}"))
        }
        // Those of the scenarios. Without the component the runner tries one list and is refused.
        Scope::Source => {
            let made = namespace.starts_with("s-") || namespace.starts_with("shared-");
            made && !applies(Scope::Sandbox, namespace)
        }
    }
}

fn names(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted || item == "*")
}

fn grants(scope: Scope, rule: &Rule, call: &Call) -> bool {
    applies(scope, &call.namespace)
        && names(&rule.verbs, &call.verb)
        && names(&rule.api_groups, &call.group)
        && names(&rule.resources, &call.resource)
}

#[test]
#[ignore = "needs the logs of the scenarios"]
fn every_call_is_granted() {
    let rules = rules();
    let (all, calls) = calls();
    assert!(all > 500, "only {all} calls were recorded: did the scenarios log them?");
    // Refused on purpose, to see the fence refuse.
    let self_test = |call: &Call| call.resource == "rolebindings" && call.namespace == "kymaros-system";
    let refused: Vec<&Call> = calls
        .iter()
        .filter(|call| !self_test(call) && !rules.iter().any(|(scope, rule)| grants(*scope, rule, call)))
        .collect();
    assert!(refused.is_empty(), "not granted: {refused:#?}");
    println!("{all} calls, {} kinds of call, all granted", calls.len());
}

#[test]
#[ignore = "needs the logs of the scenarios"]
fn every_right_is_used() {
    let (_, calls) = calls();
    let mut idle = Vec::new();
    for (scope, rule) in rules() {
        for verb in &rule.verbs {
            for group in &rule.api_groups {
                for resource in &rule.resources {
                    // Inside a sandbox every kind of the backup is listed, and no backup of the scenarios holds them all.
                    if scope == Scope::Sandbox && ["get", "list", "watch"].contains(&verb.as_str()) {
                        continue;
                    }
                    let one = Rule {
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        verbs: vec![verb.clone()],
                    };
                    let excused = EXCUSED
                        .iter()
                        .any(|(v, g, r, _)| (*v == "*" || v == verb) && g == group && (*r == "*" || r == resource));
                    if !excused && !calls.iter().any(|call| grants(scope, &one, call)) {
                        idle.push(format!("{scope:?}: {verb} {resource}.{group}"));
                    }
                }
            }
        }
    }
    assert!(idle.is_empty(), "granted and never used: {idle:#?}");
}
