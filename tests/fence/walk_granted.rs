//! What RBAC grants the runner, in every way that it may be written and on every object that is not its own: there the
//! policies have to answer. `walk` holds the table of what is granted; nothing of it may be left out here.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::{Value, json};

use crate::ask::{Answer, PATCHES, Target, Way, ask};
use crate::support::cases::{Verb, make, role_binding, sandbox, send, with};
use crate::support::scene::Scene;
use crate::walk::GRANTED;
use crate::walk_props::{Props, event, lease, object, props, report};

/// What has to come of a request.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// It is the runner's own: otherwise a refusal of its neighbours would prove little.
    Accepted,
    /// RBAC knows better than the table: the role that would be bound holds more than the runner.
    NoRight,
    /// Refused by this policy, as a dry run and for good.
    By(&'static str),
    /// As a dry run it is a question, which is answered; for good it is refused by this policy.
    Asks(&'static str),
}

/// One object, written in several ways.
struct Row {
    object: Value,
    resource: &'static str,
    ways: Vec<Way>,
    wanted: Wanted,
}

fn row(resource: &'static str, ways: &[Way], object: Value, wanted: Wanted) -> Row {
    Row {
        object,
        resource,
        ways: ways.to_vec(),
        wanted,
    }
}

const MAKE: &[Way] = &[Way::Create, Way::Generate];
/// The API server patches custom resources in these ways only.
const CUSTOM_PATCHES: &[Way] = &[Way::MergePatch, Way::JsonPatch, Way::Apply];

/// Namespaces and RoleBindings: everywhere, and so everywhere fenced.
fn everywhere(scene: &Scene) -> Vec<Row> {
    let mut rows = Vec::new();
    let denied = Wanted::By("namespaces");
    let namespace = |name: &str, change: Value| object("v1", "Namespace", "", name, change);
    // All that a sandbox carries, because a JSON patch sets them as one.
    let mut annotation = json!({"metadata": {"annotations": sandbox(&scene.sandbox)["metadata"]["annotations"]}});
    annotation["metadata"]["annotations"]["kymaros.io/kept"] = json!("true");
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged", "team": "a"}}});
    let labelled = sandbox(&scene.sandbox);
    for name in [
        &scene.production,
        "kube-system",
        "velero",
        "kymaros-system",
        "default",
        "kube-node-lease",
    ] {
        let as_sandbox = with(&labelled, json!({"metadata": {"name": name}}));
        rows.push(row("namespaces", MAKE, as_sandbox, denied));
        rows.push(row("namespaces", PATCHES, namespace(name, annotation.clone()), denied));
        rows.push(row("namespaces", PATCHES, namespace(name, label.clone()), denied));
        // Nobody may delete these, says the API server before it asks a policy.
        if !["kube-system", "default"].contains(&name) {
            rows.push(row("namespaces", &[Way::Delete], namespace(name, json!({})), denied));
        }
        rows.push(row(
            "rolebindings",
            MAKE,
            role_binding(name),
            Wanted::By("rolebindings"),
        ));
    }
    let fresh = |name: &str| sandbox(&format!("{name}-kymaros-{}", scene.run));
    rows.extend([
        row(
            "namespaces",
            &[Way::Create, Way::Apply],
            fresh("walk"),
            Wanted::Accepted,
        ),
        // The name that comes of it ends in a run id by chance at best, and never in that of the label.
        row(
            "namespaces",
            &[Way::Generate],
            with(&fresh("walk"), json!({"metadata": {"name": "walk-kymaros-a"}})),
            denied,
        ),
        row(
            "namespaces",
            &[Way::Create, Way::Generate, Way::Apply],
            with(&fresh("walk"), json!({"metadata": {"name": "walk"}})),
            denied,
        ),
        row(
            "namespaces",
            PATCHES,
            namespace(&scene.sandbox, annotation),
            Wanted::Accepted,
        ),
        row("namespaces", PATCHES, namespace(&scene.sandbox, label), denied),
        row(
            "namespaces",
            &[Way::Delete],
            namespace(&scene.sandbox, json!({})),
            Wanted::Accepted,
        ),
        row(
            "rolebindings",
            &[Way::Create],
            role_binding(&scene.sibling),
            Wanted::Accepted,
        ),
    ]);
    for (name, change) in [
        (
            "default",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "kymaros-system"}]}),
        ),
        (
            "group",
            json!({"subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"}]}),
        ),
        (
            "user",
            json!({"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "kymaros-runner"}]}),
        ),
        ("nobody", json!({"subjects": []})),
    ] {
        let bound = with(
            &with(&role_binding(&scene.sibling), change),
            json!({"metadata": {"name": name}}),
        );
        rows.push(row("rolebindings", MAKE, bound, Wanted::By("rolebindings")));
    }
    for role in ["cluster-admin", "admin", "edit", "view"] {
        let more = with(&role_binding(&scene.sibling), json!({"roleRef": {"name": role}}));
        rows.push(row("rolebindings", MAKE, more, Wanted::NoRight));
    }
    rows
}

/// Volumes and snapshot contents, which know no namespace.
fn storage(props: &Props) -> Vec<Row> {
    let mut rows = Vec::new();
    let denied = Wanted::By("volumes");
    let change = |volume: &Value, change: Value| {
        object(
            "v1",
            "PersistentVolume",
            "",
            volume["metadata"]["name"].as_str().unwrap_or_default(),
            change,
        )
    };
    let [production, free, drill] = &props.volumes;
    let policy = json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}});
    let claim = json!({"spec": {"claimRef": {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default", "name": "x"}}});
    for volume in [production, free] {
        rows.push(row(
            "persistentvolumes",
            PATCHES,
            change(volume, policy.clone()),
            denied,
        ));
        rows.push(row("persistentvolumes", PATCHES, change(volume, claim.clone()), denied));
    }
    for other in [
        claim,
        json!({"spec": {"capacity": {"storage": "2Gi"}}}),
        json!({"spec": {"storageClassName": "other"}}),
        json!({"spec": {"mountOptions": ["suid"]}}),
        json!({"spec": {"persistentVolumeReclaimPolicy": "Recycle"}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": "somebody"}}}),
        json!({"metadata": {"finalizers": ["example.com/stay"]}}),
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u"}]}}),
    ] {
        rows.push(row("persistentvolumes", PATCHES, change(drill, other), denied));
    }
    rows.push(row(
        "persistentvolumes",
        PATCHES,
        change(drill, policy),
        Wanted::Accepted,
    ));
    let [production, drill] = &props.contents;
    rows.push(row(
        "volumesnapshotcontents",
        &[Way::Delete],
        production.clone(),
        Wanted::By("snapshot-contents"),
    ));
    rows.push(row(
        "volumesnapshotcontents",
        &[Way::Delete],
        drill.clone(),
        Wanted::Accepted,
    ));
    rows
}

/// The provider's namespace.
fn provider(scene: &Scene, props: &Props) -> Vec<Row> {
    let run = &scene.run;
    let marked = json!({"metadata": {"labels": {"kymaros.io/managed-by": "kymaros"}}});
    let velero = |kind: &str, name: &str, spec: Value| {
        with(
            &object("velero.io/v1", kind, "velero", name, json!({"spec": spec})),
            marked.clone(),
        )
    };
    let into = |namespace: &str| json!({"backupName": "b", "includedNamespaces": ["shop"], "namespaceMapping": {"shop": namespace}});
    let name = format!("kymaros-{run}");
    let contents = json!({"target": {"kind": "BackupContents", "name": "b"}});
    let list = json!({"target": {"kind": "BackupResourceList", "name": "b"}});
    let mut rows = vec![
        row(
            "restores",
            &[Way::Create],
            velero("Restore", &name, into(&scene.sandbox)),
            Wanted::Accepted,
        ),
        row(
            "restores",
            MAKE,
            velero("Restore", &name, into(&scene.production)),
            Wanted::By("restores"),
        ),
        // Six characters at the end, five of which the API server draws: a name nobody can map to beforehand.
        row(
            "restores",
            &[Way::Generate],
            velero("Restore", "kymaros-a", into(&scene.sandbox)),
            Wanted::By("restores"),
        ),
        row(
            "downloadrequests",
            &[Way::Create],
            velero("DownloadRequest", &name, list.clone()),
            Wanted::Accepted,
        ),
        row(
            "downloadrequests",
            MAKE,
            velero("DownloadRequest", &name, contents),
            Wanted::By("provider-requests"),
        ),
        row(
            "downloadrequests",
            MAKE,
            velero("DownloadRequest", "walk", list),
            Wanted::By("provider-requests"),
        ),
        row(
            "serverstatusrequests",
            &[Way::Create],
            velero("ServerStatusRequest", &name, json!({})),
            Wanted::Accepted,
        ),
        row(
            "serverstatusrequests",
            MAKE,
            velero("ServerStatusRequest", "walk", json!({})),
            Wanted::By("provider-requests"),
        ),
        row(
            "configmaps",
            MAKE,
            with(&object("v1", "ConfigMap", "velero", "walk", json!({})), marked),
            Wanted::By("provider-configmaps"),
        ),
        row("leases", MAKE, lease("velero", "velero-leader"), Wanted::By("leases")),
        // A replacement of what is not there makes it.
        row(
            "leases",
            &[Way::Replace],
            lease("velero", "velero-leader"),
            Wanted::By("leases"),
        ),
        row("leases", MAKE, lease("velero", &name), Wanted::Accepted),
        row(
            "leases",
            &[Way::Create, Way::Generate, Way::Replace],
            lease("kymaros-system", "fence-walk"),
            Wanted::Accepted,
        ),
    ];
    for (resource, policy, ways) in [
        ("restores", "restores", &[Way::Delete] as &[Way]),
        ("downloadrequests", "provider-requests", &[Way::Delete]),
        ("serverstatusrequests", "provider-requests", &[Way::Delete]),
        ("configmaps", "provider-configmaps", &[Way::Delete]),
        ("leases", "leases", &[Way::Delete, Way::Replace]),
        ("podvolumerestores", "volume-restores", CUSTOM_PATCHES),
        ("datadownloads", "volume-restores", CUSTOM_PATCHES),
    ] {
        let theirs = props.objects.iter().find(|object| {
            let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
            format!("{kind}s") == resource && object["metadata"]["namespace"] == "velero"
        });
        let theirs = with(theirs.expect("it is made before"), json!({"spec": null}));
        let change = if ways == CUSTOM_PATCHES {
            json!({"spec": {"cancel": true}})
        } else {
            json!({})
        };
        rows.push(row(resource, ways, with(&theirs, change), Wanted::By(policy)));
    }
    rows
}

/// Its own namespace, and a sandbox to which it is bound.
fn inside(scene: &Scene, props: &Props) -> Vec<Row> {
    let own = &scene.sandbox;
    let name = format!("walk-{}", scene.run);
    let open = json!({"spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]}});
    let status = |kind: &str, status: Value| {
        object(
            "restore.kymaros.io/v1alpha1",
            kind,
            "kymaros-system",
            &name,
            json!({ "status": status }),
        )
    };
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "kymaros-runner:0.1.0"}]}});
    let review = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "spec": spec});
    let limits = json!({"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "10m"}}]}});
    vec![
        row("restorereports", MAKE, report("fence-walk"), Wanted::Accepted),
        row(
            "restorereports",
            &[Way::Delete],
            props.report.clone(),
            Wanted::By("reports-pruning"),
        ),
        row(
            "restorereports/status",
            CUSTOM_PATCHES,
            status("RestoreReport", json!({"score": 7})),
            Wanted::Accepted,
        ),
        row(
            "restoretests/status",
            CUSTOM_PATCHES,
            status("RestoreTest", json!({"lastScore": 7})),
            Wanted::Accepted,
        ),
        row("events", MAKE, event("fence-walk"), Wanted::Accepted),
        row(
            "events",
            PATCHES,
            object(
                "events.k8s.io/v1",
                "Event",
                "kymaros-system",
                &name,
                json!({
                    "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"},
                }),
            ),
            Wanted::Accepted,
        ),
        row(
            "leases",
            &[Way::Delete],
            lease("kymaros-system", &name),
            Wanted::Accepted,
        ),
        row(
            "secrets",
            MAKE,
            object("v1", "Secret", own, "walk", json!({})),
            Wanted::Asks("secrets"),
        ),
        row(
            "services",
            MAKE,
            object(
                "v1",
                "Service",
                own,
                "fence",
                json!({
                    "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}},
                }),
            ),
            Wanted::Asks("services"),
        ),
        row("pods", MAKE, object("v1", "Pod", own, "fence", pod), Wanted::By("pods")),
        row(
            "pods",
            &[Way::Delete, Way::DeleteCollection],
            object("v1", "Pod", own, "walk", json!({})),
            Wanted::Accepted,
        ),
        row(
            "resourcequotas",
            MAKE,
            object("v1", "ResourceQuota", own, "fence", json!({"spec": {}})),
            Wanted::Accepted,
        ),
        row(
            "limitranges",
            MAKE,
            object("v1", "LimitRange", own, "fence", limits),
            Wanted::Accepted,
        ),
        row(
            "networkpolicies",
            MAKE,
            object("networking.k8s.io/v1", "NetworkPolicy", own, "fence", open),
            Wanted::By("networkpolicies"),
        ),
        row(
            "selfsubjectreviews",
            &[Way::Create],
            review("authentication.k8s.io/v1", "SelfSubjectReview", json!({})),
            Wanted::Accepted,
        ),
        row(
            "selfsubjectaccessreviews",
            &[Way::Create],
            review(
                "authorization.k8s.io/v1",
                "SelfSubjectAccessReview",
                json!({"resourceAttributes": {"verb": "get", "resource": "pods"}}),
            ),
            Wanted::Accepted,
        ),
        row(
            "selfsubjectrulesreviews",
            &[Way::Create],
            review(
                "authorization.k8s.io/v1",
                "SelfSubjectRulesReview",
                json!({"namespace": "default"}),
            ),
            Wanted::Accepted,
        ),
    ]
}

/// The version that a replacement has to name, if there is something to replace.
async fn stored_version(admin: &kube::Client, object: &Value) -> Option<String> {
    let place = &object["metadata"];
    let leases: Api<Lease> = Api::namespaced(admin.clone(), place["namespace"].as_str()?);
    let found = leases.get_opt(place["name"].as_str()?).await.expect("an answer");
    found?.metadata.resource_version
}

/// What is wrong with the answer, if anything; and how many requests it took.
async fn asked(scene: &Scene, row: &Row, way: Way) -> (usize, Option<String>) {
    let api_version = row.object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let name = row.object["metadata"]["name"].as_str().unwrap_or_default();
    let target = Target {
        group,
        version,
        resource: row.resource,
        namespace: row.object["metadata"]["namespace"].as_str(),
        name,
    };
    let mut body = row.object.clone();
    if way == Way::Generate {
        body["metadata"]["generateName"] = json!(name);
        body["metadata"]["name"] = Value::Null;
    }
    if way == Way::Replace
        && let Some(version) = stored_version(&scene.admin, &row.object).await
    {
        body["metadata"]["resourceVersion"] = json!(version);
    }
    let by = |policy: &str| Answer::Policy(policy.to_owned());
    let (trial, good) = match row.wanted {
        Wanted::Accepted => (Answer::Accepted, None),
        Wanted::NoRight => (Answer::NoRight, Some(Answer::NoRight)),
        Wanted::By(policy) => (by(policy), Some(by(policy))),
        Wanted::Asks(policy) => (Answer::Accepted, Some(by(policy))),
    };
    let complain = |dry_run: bool, wanted: &Answer, answer: &Answer| {
        (wanted != answer)
            .then(|| format!("{way:?} {target:?}, dry run {dry_run}: wanted {wanted:?}, got {answer:?}; {body}"))
    };
    let answer = ask(&scene.runner, way, &target, &body, true).await;
    let complaint = complain(true, &trial, &answer);
    match good {
        Some(good) if complaint.is_none() => {
            let answer = ask(&scene.runner, way, &target, &body, false).await;
            (2, complain(false, &good, &answer))
        }
        _ => (1, complaint),
    }
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes small objects here and there)"]
async fn what_rbac_grants_is_refused_by_the_fence_but_for_its_own() {
    let scene = Scene::open().await;
    let props = props(&scene);
    let made: Vec<Value> = props
        .volumes
        .iter()
        .chain(&props.contents)
        .chain(&props.objects)
        .cloned()
        .collect();
    make(&scene.admin, &made).await;
    make(&scene.runner, std::slice::from_ref(&props.report)).await;
    let mut rows = everywhere(&scene);
    rows.extend(storage(&props));
    rows.extend(provider(&scene, &props));
    rows.extend(inside(&scene, &props));
    let tries: Vec<(&Row, Way)> = rows
        .iter()
        .flat_map(|row| row.ways.iter().map(move |way| (row, *way)))
        .collect();
    let tried: BTreeSet<(&str, Way)> = tries.iter().map(|(row, way)| (row.resource, *way)).collect();
    let answers: Vec<(usize, Option<String>)> = futures::stream::iter(tries)
        .map(|(row, way)| asked(&scene, row, way))
        .buffer_unordered(8)
        .collect()
        .await;
    let requests: usize = answers.iter().map(|(sent, _)| sent).sum();
    let mut failed: Vec<String> = answers.into_iter().filter_map(|(_, complaint)| complaint).collect();
    for (group, resource, _, ways) in GRANTED {
        for way in *ways {
            // The API server has no such patch of custom resources, and stores no reviews, by whatever name.
            let served = match way {
                Way::StrategicPatch => !["velero.io", "restore.kymaros.io"].contains(group),
                Way::Generate => !resource.starts_with("selfsubject"),
                _ => true,
            };
            if served && !tried.contains(&(*resource, *way)) {
                failed.push(format!("{way:?} {resource} is granted, and no row tries it"));
            }
        }
    }
    for object in made.iter().chain([&props.report]) {
        send(&scene.admin, Verb::Remove, object).await;
    }
    scene.close().await;
    assert!(
        failed.is_empty(),
        "{} of {requests}:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
