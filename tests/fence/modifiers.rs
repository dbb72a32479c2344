//! Resource modifiers: the provider does with restored objects what they say, and it is cluster-admin. So the fence knows every rule
//! that the runner makes, and refuses any other, whoever holds the runner's token.

use kymaros_runner::api::RestoreTest;
use kymaros_runner::build::Owner;
use kymaros_runner::build::restore::{self, Neutraliser};
use kymaros_runner::plan;
use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, with};
use crate::support::scene::Scene;

/// The text that the runner writes for a test with these options of `spec.restore`.
pub(crate) fn text(options: &Value, neutraliser: Neutraliser) -> String {
    let test: RestoreTest = serde_json::from_value(json!({
        "apiVersion": "restore.kymaros.io/v1alpha1", "kind": "RestoreTest",
        "metadata": {"name": "fence", "namespace": "kymaros-system", "uid": "u-1"},
        "spec": {"backupSource": {"provider": "velero", "namespaces": [{"name": "shop"}]}, "restore": options},
    }))
    .expect("a test");
    let valid = plan::validate(&test, None).expect("a valid test");
    let map = restore::modifiers(&valid, &Owner::default(), neutraliser);
    map.data.expect("a text").remove("rules.yaml").expect("a text")
}

/// The rules of every drill, with one more before the last line.
fn and(rule: &str) -> String {
    let all = text(&json!({}), Neutraliser::Admission);
    format!("{},\n{rule}\n]}}", all.strip_suffix("\n]}").expect("the last line"))
}

fn merge(resource: &str, patch: &Value) -> String {
    json!({"conditions": {"groupResource": resource}, "mergePatches": [{"patchData": patch.to_string()}]}).to_string()
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn only_rules_that_the_runner_makes() {
    let scene = Scene::open().await;
    let map = |data: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {
                "name": format!("kymaros-{}", scene.run), "namespace": "velero", "labels": {"kymaros.io/managed-by": "kymaros"},
            },
        })
    };
    let rules = |text: &str| map(json!({ "rules.yaml": text }));
    let refused = |piece| Expect::Refused("provider-configmaps", piece);
    let not_made = refused("a resource modifier rule that the runner does not make");
    let classes = json!({"storageClassMapping": {"fast": "standard", "1": "inf", "a.b-c": "d.e"}});
    let longest = json!({"storageClassMapping": {"f".repeat(63): "t".repeat(63)}});
    let all = text(&json!({}), Neutraliser::Admission);
    // What became a ClusterRoleBinding of production's volume, and made the token cluster-admin.
    let takeover = json!({
        "conditions": {"groupResource": "persistentvolumes"},
        "patches": [
            {"operation": "replace", "path": "/kind", "value": "ClusterRoleBinding"},
            {"operation": "replace", "path": "/apiVersion", "value": "rbac.authorization.k8s.io/v1"},
            {"operation": "replace", "path": "/metadata/name", "value": "takeover"},
            {"operation": "remove", "path": "/spec"},
            {"operation": "add", "path": "/roleRef", "value": "{\"kind\": \"ClusterRole\", \"name\": \"view\"}"},
        ],
    })
    .to_string();
    let class = |to: &str| {
        json!({
            "conditions": {"groupResource": "persistentvolumeclaims", "matches": [{"path": "/spec/storageClassName", "value": "\"fast\""}]},
            "mergePatches": [{"patchData": format!("{{\"spec\":{{\"storageClassName\":\"{to}\"}}}}")}],
        })
        .to_string()
    };
    let takes_as_yaml = and("- conditions: {groupResource: secrets}");
    let cases = [
        case("of a drill", Verb::Create, rules(&all), Expect::Accepted),
        case(
            "of a drill that maps storage classes",
            Verb::Create,
            rules(&text(&classes, Neutraliser::Admission)),
            Expect::Accepted,
        ),
        case(
            "of a drill that maps classes of the longest names",
            Verb::Create,
            rules(&text(&longest, Neutraliser::Admission)),
            Expect::Accepted,
        ),
        case(
            "of a drill where admission changes nothing",
            Verb::Create,
            rules(&text(&classes, Neutraliser::Modifiers)),
            Expect::Accepted,
        ),
        case(
            "a class that is changed alike",
            Verb::Create,
            rules(&and(&class("slow"))),
            Expect::Accepted,
        ),
        case("another kind", Verb::Create, rules(&and(&takeover)), not_made),
        case(
            "a Secret that is a ConfigMap",
            Verb::Create,
            rules(&and(&merge("secrets", &json!({"kind": "ConfigMap"})))),
            not_made,
        ),
        case(
            "another command",
            Verb::Create,
            rules(&and(&merge(
                "pods",
                &json!({"spec": {"containers": [{"name": "c", "command": ["cat", "/stolen/key"]}]}}),
            ))),
            not_made,
        ),
        case(
            "a binding to whom the thief likes",
            Verb::Create,
            rules(&and(&merge(
                "rolebindings.rbac.authorization.k8s.io",
                &json!({"subjects": []}),
            ))),
            not_made,
        ),
        case(
            "a snapshot that goes with the sandbox",
            Verb::Create,
            rules(&and(&merge(
                "volumesnapshotcontents.snapshot.storage.k8s.io",
                &json!({"spec": {"deletionPolicy": "Delete"}}),
            ))),
            not_made,
        ),
        case(
            "more than a storage class",
            Verb::Create,
            rules(&and(&class("slow\\\",\\\"volumeName\\\":\\\"prod"))),
            not_made,
        ),
        case(
            "a class by its dots",
            Verb::Create,
            rules(&and(&class("a\\\"}},{\\\"b"))),
            not_made,
        ),
        case(
            "a rule behind a rule on one line",
            Verb::Create,
            rules(&and(&format!("{},{takeover}", class("slow")))),
            not_made,
        ),
        case("YAML beside JSON", Verb::Create, rules(&takes_as_yaml), not_made),
        case(
            "a rule less",
            Verb::Create,
            rules("{\"version\":\"v1\",\"resourceModifierRules\":[\n\n\n]}"),
            refused("must hold the rules of every drill"),
        ),
        case(
            "another text",
            Verb::Create,
            rules("version: v1\nresourceModifierRules: []\n"),
            refused("one resource modifier rule a line"),
        ),
        case(
            "no text",
            Verb::Create,
            map(json!({})),
            refused("one resource modifier rule a line"),
        ),
        case(
            "a second text",
            Verb::Create,
            map(json!({"rules.yaml": all, "a.yaml": takeover})),
            refused("holds rules.yaml and nothing else"),
        ),
        case(
            "a second text in bytes",
            Verb::Create,
            with(&rules(&all), json!({"binaryData": {"a.yaml": "e30="}})),
            refused("holds rules.yaml and nothing else"),
        ),
        case(
            "under another name",
            Verb::Create,
            with(&rules(&all), json!({"metadata": {"name": "kymaros-modifiers"}})),
            refused("called kymaros-<run id>"),
        ),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    // With right rules first and wrong ones afterwards.
    failed.extend(
        failures(
            &scene.runner,
            &[
                case("right ones", Verb::Make, rules(&all), Expect::Accepted),
                case(
                    "changed afterwards",
                    Verb::Patch,
                    rules(&and(&takeover)),
                    Expect::NoRight,
                ),
                case(
                    "replaced afterwards",
                    Verb::Replace,
                    rules(&and(&takeover)),
                    Expect::NoRight,
                ),
                case("gone again", Verb::Remove, rules(&all), Expect::Accepted),
            ],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
