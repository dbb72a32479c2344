//! What becomes of restored Roles and `RoleBindings` in a sandbox: they give rights to nobody outside, and none that reach what the
//! fence guards.

use std::fs;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use crate::neutralised::{Change, differences};
use crate::support::cases::{Case, Expect, Outcome, Verb, case, failures, make, read, send, with};
use crate::support::scene::Scene;
use crate::support::{apply_text, client, kubectl_in_cluster, root};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const REMOVED: &str = "/metadata/annotations/kymaros.io~1removed-subjects";

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn bare(kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

/// As Velero writes it, for whatever Restore: what a drill may write at all is another policy's matter.
fn restored(namespace: &str, kind: &str, body: Value) -> Value {
    let label = json!({"metadata": {"labels": {"velero.io/restore-name": "nightly"}}});
    with(&with(&bare(kind, namespace, "restored"), label), body)
}

fn binding(namespace: &str, subjects: &[Value]) -> Value {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"});
    restored(namespace, "RoleBinding", json!({"roleRef": role, "subjects": subjects}))
}

fn role(namespace: &str, rules: &Value) -> Value {
    restored(namespace, "Role", json!({ "rules": rules }))
}

/// Nobody of these may keep a right in the sandbox.
fn outsiders(scene: &Scene) -> Vec<Value> {
    let production = &scene.production;
    vec![
        group(&format!("system:serviceaccounts:{production}")),
        group("system:serviceaccounts"),
        group("system:authenticated"),
        group("system:masters"),
        group("developers"),
        group(&format!("system:serviceaccounts:{}", scene.foreign)),
        group(&format!("developers-kymaros-{}", scene.run)),
        user("jane"),
        user("system:anonymous"),
        user(&format!("system:serviceaccount:{production}:default")),
        user(&format!("jane-kymaros-{}", scene.run)),
        account(production, "default"),
        account("kymaros-system", "kymaros-runner"),
        account(&scene.foreign, "default"),
    ]
}

/// The copies of what production had, which keep what they had.
fn insiders(scene: &Scene) -> Vec<Value> {
    vec![
        account(&scene.sandbox, "default"),
        account(&scene.sibling, "worker"),
        group(&format!("system:serviceaccounts:{}", scene.sandbox)),
    ]
}

fn without_label(object: &Value) -> Value {
    with(
        object,
        json!({"metadata": {"labels": {"velero.io/restore-name": null}}}),
    )
}

fn annotated(object: &Value, count: &Value) -> Value {
    with(
        object,
        json!({"metadata": {"annotations": {"kymaros.io/removed-subjects": count}}}),
    )
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn restored_rolebindings_grant_nothing_outside() {
    let scene = Scene::open().await;
    let (inside, outside) = (insiders(&scene), outsiders(&scene));
    let mixed: Vec<Value> = outside.iter().chain(&inside).cloned().collect();
    let bind = |subjects: &[Value]| binding(&scene.sandbox, subjects);
    let created = |about, object, stored| Change {
        about,
        verb: Verb::Create,
        object,
        stored,
    };
    let mut changes = vec![
        created(
            "everybody",
            bind(&mixed),
            json!({"/subjects": inside, REMOVED: outside.len().to_string()}),
        ),
        created(
            "insiders alone",
            bind(&inside),
            json!({"/subjects": inside, "/metadata/annotations": null}),
        ),
        created("nobody", bind(&[]), json!({"/subjects": null, REMOVED: null})),
        created(
            "a number that the backup brings",
            annotated(&bind(&inside), &json!("99")),
            json!({REMOVED: null, "/subjects": inside}),
        ),
        created(
            "a number that the backup brings, where some went",
            annotated(&bind(&outside[..1]), &json!("99")),
            json!({REMOVED: "1"}),
        ),
        created(
            "a name that the server completes",
            with(
                &bind(&mixed),
                json!({"metadata": {"name": null, "generateName": "restored-"}}),
            ),
            json!({"/subjects": inside}),
        ),
        created(
            "another annotation stays",
            with(
                &bind(&outside[..2]),
                json!({"metadata": {"annotations": {"note": "x"}}}),
            ),
            json!({REMOVED: "2", "/metadata/annotations/note": "x"}),
        ),
    ];
    for outsider in &outside {
        changes.push(created(
            "one outsider",
            bind(std::slice::from_ref(outsider)),
            json!({"/subjects": null, REMOVED: "1"}),
        ));
    }
    let mut failed = differences(&scene, &changes).await;

    // A person whom an administrator lets in, and production's own bindings.
    let untouched = |about, object: Value| Change {
        about,
        verb: Verb::Create,
        stored: json!({"/subjects": object["subjects"], REMOVED: null}),
        object,
    };
    let others = [
        untouched("not restored", without_label(&bind(&outside))),
        untouched("in production", binding(&scene.production, &outside)),
    ];
    failed.extend(differences(&scene, &others).await);
    let label = json!({"metadata": {"labels": {"velero.io/restore-name": format!("kymaros-{}", scene.run)}}});
    match send(&scene.admin, Verb::Create, &with(&bind(&mixed), label)).await {
        Outcome::Accepted(stored) if stored["subjects"] == json!(inside) => {}
        Outcome::Accepted(stored) => failed.push(format!("of a drill: {}", stored["subjects"])),
        outcome => failed.push(format!("of a drill: {outcome}")),
    }
    failed.extend(changed_later(&scene).await);
    failed.extend(by_an_account_of_the_sandbox(&scene).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Whoever changes a restored `RoleBinding` lets nobody in by that, and cannot take its mark off.
async fn changed_later(scene: &Scene) -> Vec<String> {
    let (inside, outside) = (insiders(scene), outsiders(scene));
    let first = binding(&scene.sandbox, &[inside[0].clone(), outside[0].clone()]);
    make(&scene.provider, std::slice::from_ref(&first)).await;
    let stored = read(&scene.admin, &first).await;
    let mut failed = Vec::new();
    if stored["subjects"] != json!([inside[0]]) {
        failed.push(format!("what was stored: {}", stored["subjects"]));
    }
    // Without labels of its own, so that a null in the change stays one.
    let later = |change: Value| with(&bare("RoleBinding", &scene.sandbox, "restored"), change);
    let more = later(json!({"subjects": [inside[0], outside[1], outside[2]]}));
    let change = |about, verb, object, stored| Change {
        about,
        verb,
        object,
        stored,
    };
    let changes = [
        change(
            "subjects added by a patch",
            Verb::Patch,
            more.clone(),
            json!({"/subjects": [inside[0]], REMOVED: "3"}),
        ),
        change(
            "subjects added by a replacement",
            Verb::Replace,
            more,
            json!({"/subjects": [inside[0]], REMOVED: "3"}),
        ),
        change(
            "another change keeps the number",
            Verb::Patch,
            later(json!({"metadata": {"labels": {"a": "b"}}})),
            json!({REMOVED: "1"}),
        ),
        change(
            "another number",
            Verb::Patch,
            annotated(&later(json!({})), &json!("99")),
            json!({REMOVED: "1"}),
        ),
        change(
            "no number",
            Verb::Patch,
            annotated(&later(json!({})), &Value::Null),
            json!({REMOVED: "1"}),
        ),
    ];
    failed.extend(differences(scene, &changes).await);
    let refused = Expect::Refused("sandbox-rbac", "restore-name of a Role or RoleBinding");
    let mark = |value: Value| later(json!({"metadata": {"labels": {"velero.io/restore-name": value}}}));
    let cases = [
        case("the mark taken off", Verb::Patch, mark(Value::Null), refused),
        case("another mark", Verb::Patch, mark(json!("other")), refused),
        case(
            "the mark taken off, with subjects",
            Verb::Patch,
            with(&mark(Value::Null), json!({"subjects": [outside[0]]})),
            refused,
        ),
    ];
    failed.extend(failures(&scene.admin, &cases).await);
    failed
}

/// A restored application with rights on Roles and `RoleBindings` gives none away.
async fn by_an_account_of_the_sandbox(scene: &Scene) -> Vec<String> {
    let (inside, outside) = (insiders(scene), outsiders(scene));
    let rights = without_label(&with(
        &binding(&scene.sandbox, &[account(&scene.sandbox, "default")]),
        json!({"metadata": {"name": "rights"}, "roleRef": {"name": "cluster-admin"}}),
    ));
    make(&scene.admin, &[rights]).await;
    let own = client(Some(&format!("system:serviceaccount:{}:default", scene.sandbox))).await;
    let object = without_label(&with(
        &binding(&scene.sandbox, &[inside[0].clone(), outside[0].clone()]),
        json!({"metadata": {"name": "own"}}),
    ));
    let rule = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let wide = without_label(&with(
        &role(&scene.sandbox, &rule),
        json!({"metadata": {"name": "own"}}),
    ));
    for _ in 0..100 {
        match send(&own, Verb::Create, &object).await {
            Outcome::Accepted(stored) if stored["subjects"] == json!([inside[0]]) => {
                let refused = Expect::Refused("sandbox-rbac", "wildcards over pods");
                return failures(&own, &[case("a Role of its own", Verb::Create, wide, refused)]).await;
            }
            Outcome::Accepted(stored) => {
                return vec![format!("by an account of the sandbox: {}", stored["subjects"])];
            }
            // The authorizer learns of a binding a moment after it was made.
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    vec!["the account of the sandbox has no rights after 10 s".to_owned()]
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        {"apiGroups": groups, "resources": resources, "verbs": verbs},
    ])
}

/// Rules of Roles, each beside a harmless one; whether a sandbox takes them.
fn rules() -> Vec<(&'static str, Value, Option<&'static str>)> {
    const VERBS: Option<&str> = Some("the verbs escalate, bind and impersonate");
    const WILD: Option<&str> = Some("wildcards over pods");
    const RBAC: &str = "rbac.authorization.k8s.io";
    const NETWORK: &str = "networking.k8s.io";
    let all = ["*"];
    vec![
        ("escalate", rule(&[RBAC], &["roles"], &["get", "escalate"]), VERBS),
        ("bind", rule(&[RBAC], &["clusterroles"], &["bind"]), VERBS),
        (
            "impersonate",
            rule(&[""], &["serviceaccounts"], &["impersonate"]),
            VERBS,
        ),
        (
            "a narrower impersonation",
            rule(
                &["authentication.k8s.io"],
                &["serviceaccounts"],
                &["impersonate:serviceaccount"],
            ),
            VERBS,
        ),
        ("everything", rule(&all, &all, &all), WILD),
        ("reading everything", rule(&all, &all, &["get", "list", "watch"]), WILD),
        ("reading the core group", rule(&[""], &all, &["get"]), WILD),
        ("everything of networking", rule(&[NETWORK], &all, &["delete"]), WILD),
        ("everything of RBAC", rule(&[RBAC], &all, &["create"]), WILD),
        ("every exec", rule(&[""], &["*/exec"], &["create"]), WILD),
        ("every token", rule(&all, &["*/token"], &["create"]), WILD),
        ("every verb on pods", rule(&[""], &["pods"], &all), WILD),
        (
            "every verb on exec",
            rule(&[""], &["configmaps", "pods/exec"], &all),
            WILD,
        ),
        ("every verb on services", rule(&[""], &["services"], &all), WILD),
        ("every verb on quotas", rule(&[""], &["resourcequotas"], &all), WILD),
        ("every verb on limit ranges", rule(&[""], &["limitranges"], &all), WILD),
        (
            "every verb on accounts",
            rule(&[""], &["serviceaccounts"], &["get", "*"]),
            WILD,
        ),
        (
            "every verb on tokens",
            rule(&[""], &["serviceaccounts/token"], &all),
            WILD,
        ),
        (
            "every verb on policies",
            rule(&["apps", NETWORK], &["networkpolicies"], &all),
            WILD,
        ),
        ("every verb on Roles", rule(&[RBAC], &["roles"], &all), WILD),
        (
            "every verb on ClusterRoles",
            rule(&[RBAC], &["clusterroles"], &all),
            WILD,
        ),
        (
            "policies of every group",
            rule(&all, &["networkpolicies"], &["delete"]),
            WILD,
        ),
        ("pods of every group", rule(&all, &["pods"], &["create"]), WILD),
        ("every verb on workloads", rule(&["apps", "batch"], &all, &all), None),
        (
            "every verb on configuration",
            rule(&[""], &["configmaps", "secrets", "persistentvolumeclaims"], &all),
            None,
        ),
        ("every verb on Ingresses", rule(&[NETWORK], &["ingresses"], &all), None),
        ("every verb on a custom kind", rule(&["example.com"], &all, &all), None),
        (
            "reading pods of every group",
            rule(&all, &["pods"], &["get", "list", "watch"]),
            None,
        ),
        ("every scale", rule(&all, &["*/scale"], &["get", "update"]), None),
        (
            "named verbs on pods",
            rule(
                &[""],
                &["pods", "pods/exec", "services"],
                &["get", "list", "create", "delete"],
            ),
            None,
        ),
        (
            "named verbs on policies",
            rule(&[NETWORK], &["networkpolicies"], &["get", "create", "delete"]),
            None,
        ),
        ("no rules", json!([]), None),
    ]
}

/// The rules as cases of a policy in this namespace.
fn role_cases(namespace: &str, policy: &'static str) -> Vec<Case> {
    let of = |(about, rules, refused): (&'static str, Value, Option<&'static str>)| {
        let expect = refused.map_or(Expect::Accepted, |piece| Expect::Refused(policy, piece));
        case(about, Verb::Create, role(namespace, &rules), expect)
    };
    rules().into_iter().map(of).collect()
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn restored_roles_reach_nothing_that_the_fence_guards() {
    let scene = Scene::open().await;
    let sandbox = &scene.sandbox;
    let wide = rule(&["*"], &["*"], &["*"]);
    let narrow = role(
        sandbox,
        &json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]),
    );
    let later = |rules: &Value| with(&bare("Role", sandbox, "there"), json!({ "rules": rules }));
    make(
        &scene.provider,
        &[with(&narrow, json!({"metadata": {"name": "there"}}))],
    )
    .await;
    let own = [account(sandbox, "default")];
    let to = |name: &str| with(&binding(sandbox, &own), json!({"roleRef": {"name": name}}));
    let wild = Expect::Refused("sandbox-rbac", "its rule: * on * in the groups *");
    let everything = Expect::Refused("sandbox-rbac", "may not grant everything");
    let mut cases = role_cases(sandbox, "sandbox-rbac");
    cases.extend([
        case("widened by a patch", Verb::Patch, later(&wide), wild),
        case("widened by a replacement", Verb::Replace, later(&wide), wild),
        case(
            "widened and its mark taken off",
            Verb::Patch,
            with(
                &later(&wide),
                json!({"metadata": {"labels": {"velero.io/restore-name": null}}}),
            ),
            Expect::Refused("sandbox-rbac", "restore-name of a Role"),
        ),
        case(
            "a name that the server completes",
            Verb::Create,
            with(
                &role(sandbox, &wide),
                json!({"metadata": {"name": null, "generateName": "r-"}}),
            ),
            wild,
        ),
        case("cluster-admin", Verb::Create, to("cluster-admin"), everything),
        case(
            "a controller of Kubernetes",
            Verb::Create,
            to("system:controller:namespace-controller"),
            everything,
        ),
        case("edit", Verb::Create, to("edit"), Expect::Accepted),
        case(
            "not restored",
            Verb::Create,
            without_label(&with(&role(sandbox, &wide), json!({"metadata": {"name": "person"}}))),
            Expect::Accepted,
        ),
        case(
            "in production",
            Verb::Create,
            role(&scene.production, &wide),
            Expect::Accepted,
        ),
    ]);
    let failed = failures(&scene.provider, &cases).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A copy of one policy that looks at namespaces of this label, and takes them for sandboxes.
fn alone(policy: &str, label: &str) -> String {
    let text = fs::read_to_string(root().join(format!("manifests/fence/{policy}.yaml"))).expect("a policy");
    text.replace("kymaros-fence-", "kymaros-fence-alone-")
        .replace("kymaros.io/managed-by: kymaros\n", &format!("kymaros-tests: {label}\n"))
        .replace("-kymaros-[a-z0-9]", "-alone-[a-z0-9]")
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base and copies of its policies, makes and deletes namespaces)"]
async fn each_rbac_policy_holds_without_the_other() {
    let scene = Scene::open().await;
    let [net, inert] = ["net", "inert"].map(|name| format!("{name}-alone-{}", scene.run));
    let copies = alone("sandbox-rbac", "rbac-net") + "---\n" + &alone("neutralise-rolebindings", "rbac-inert");
    apply_text(&copies);
    let namespaces = [(&net, "rbac-net"), (&inert, "rbac-inert")].map(
        |(name, label)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"kymaros-tests": label}}}),
    );
    make(&scene.admin, &namespaces).await;
    let mut failed = in_force(&scene.provider, &net, &inert).await;

    let refused = |piece| Expect::Refused("alone-sandbox-rbac", piece);
    let mut cases = role_cases(&net, "alone-sandbox-rbac");
    for outsider in outsiders(&scene) {
        let only = "may grant rights to its ServiceAccounts only; not to";
        cases.push(case(
            "an outsider",
            Verb::Create,
            binding(&net, &[outsider]),
            refused(only),
        ));
    }
    cases.extend([
        case(
            "named in the refusal",
            Verb::Create,
            binding(
                &net,
                &[account(&net, "default"), group("developers"), account("prod", "x")],
            ),
            refused("not to Group developers, ServiceAccount prod/x"),
        ),
        case(
            "its own accounts",
            Verb::Create,
            binding(
                &net,
                &[
                    account(&net, "default"),
                    group(&format!("system:serviceaccounts:{net}")),
                ],
            ),
            Expect::Accepted,
        ),
        case(
            "not restored",
            Verb::Create,
            without_label(&binding(&net, &[group("developers")])),
            Expect::Accepted,
        ),
    ]);
    failed.extend(failures(&scene.provider, &cases).await);

    let own = account(&inert, "default");
    let mixed: Vec<Value> = outsiders(&scene).into_iter().chain([own.clone()]).collect();
    let changes = [Change {
        about: "without the net",
        verb: Verb::Create,
        stored: json!({"/subjects": [own], REMOVED: (mixed.len() - 1).to_string()}),
        object: binding(&inert, &mixed),
    }];
    failed.extend(differences(&scene, &changes).await);
    kubectl_in_cluster(&["delete", "-f", "-", "--wait=false"], Some(&copies)).expect("the copies are gone again");
    for namespace in namespaces {
        send(&scene.admin, Verb::Remove, &namespace).await;
    }
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Waits for both copies; a new policy is in force a second or two after it was written.
async fn in_force(provider: &Client, net: &str, inert: &str) -> Vec<String> {
    let mut last = String::new();
    for _ in 0..100 {
        let first = send(provider, Verb::Create, &binding(net, &[group("developers")])).await;
        let second = send(provider, Verb::Create, &binding(inert, &[group("developers")])).await;
        if let (Outcome::Refused(_), Outcome::Accepted(stored)) = (&first, &second)
            && stored.get("subjects").is_none()
        {
            return Vec::new();
        }
        last = format!("the copies are not in force: {first}, {second}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    vec![last]
}
