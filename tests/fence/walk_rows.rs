//! The rows of `walk_granted`: what is asked for, in which ways, and what has to come of it.

use serde_json::{Value, json};

use crate::ask::{PATCHES, Way};
use crate::support::cases::{role_binding, sandbox, with};
use crate::support::scene::Scene;
use crate::walk_props::{Props, event, lease, object, report};

/// What has to come of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
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
pub(crate) struct Row {
    pub(crate) object: Value,
    pub(crate) resource: &'static str,
    pub(crate) ways: Vec<Way>,
    pub(crate) wanted: Wanted,
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

/// Namespaces and bindings of roles: everywhere, and so everywhere fenced.
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
        // RBAC grants it in sandboxes alone, and there nothing is anybody's.
        row(
            "persistentvolumeclaims",
            &[Way::Delete],
            object("v1", "PersistentVolumeClaim", own, &name, json!({})),
            Wanted::Accepted,
        ),
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

/// All of them.
pub(crate) fn rows(scene: &Scene, props: &Props) -> Vec<Row> {
    let mut rows = everywhere(scene);
    rows.extend(storage(props));
    rows.extend(provider(scene, props));
    rows.extend(inside(scene, props));
    rows
}
