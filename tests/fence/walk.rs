//! Every verb on every resource that the API server serves, as the runner, aimed at production, at `kube-system`, at the
//! provider, at its own namespace and at sandboxes. What RBAC grants is a small table; everything else has to be refused by
//! RBAC, as a dry run and for good. What it grants is tried in `walk_granted`.

use std::collections::BTreeSet;

use futures::StreamExt as _;

use serde_json::json;

use crate::ask::{Answer, PATCHES, Target, WRITES, Way, ask};
use crate::assessed::resources;
use crate::support::scene::Scene;

/// Where the runner asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A resource without a namespace.
    Cluster,
    Production,
    KubeSystem,
    Provider,
    Own,
    /// A sandbox to which the runner bound itself.
    Sandbox,
    /// A sandbox to which it did not.
    Unbound,
}
use Place::{Cluster, KubeSystem, Own, Production, Provider, Sandbox, Unbound};

const NAMESPACED: &[Place] = &[Production, KubeSystem, Provider, Own, Sandbox, Unbound];

impl Place {
    pub(crate) fn namespace(self, scene: &Scene) -> Option<&str> {
        match self {
            Cluster => None,
            Production => Some(&scene.production),
            KubeSystem => Some("kube-system"),
            Provider => Some("velero"),
            Own => Some("kymaros-system"),
            Sandbox => Some(&scene.sandbox),
            Unbound => Some(&scene.foreign),
        }
    }
}

const MAKE: &[Way] = &[Way::Create, Way::Generate];
const MAKE_AND_DELETE: &[Way] = &[Way::Create, Way::Generate, Way::Delete];
const LEASES: &[Way] = &[Way::Create, Way::Generate, Way::Replace, Way::Delete];
const NAMESPACES: &[Way] = &[
    Way::Create,
    Way::Generate,
    Way::MergePatch,
    Way::JsonPatch,
    Way::StrategicPatch,
    Way::Apply,
    Way::Delete,
];
const PODS: &[Way] = &[Way::Create, Way::Generate, Way::Delete, Way::DeleteCollection];

/// What RBAC grants: resources by group and name, where, and how they may be written. `manifests/rbac` says the same.
pub(crate) const GRANTED: &[(&str, &str, &[Place], &[Way])] = &[
    ("core", "namespaces", &[Cluster], NAMESPACES),
    ("core", "persistentvolumes", &[Cluster], PATCHES),
    (
        "snapshot.storage.k8s.io",
        "volumesnapshotcontents",
        &[Cluster],
        &[Way::Delete],
    ),
    ("rbac.authorization.k8s.io", "rolebindings", NAMESPACED, MAKE),
    ("restore.kymaros.io", "restorereports", &[Own], MAKE_AND_DELETE),
    ("restore.kymaros.io", "restorereports/status", &[Own], PATCHES),
    ("restore.kymaros.io", "restoretests/status", &[Own], PATCHES),
    (
        "events.k8s.io",
        "events",
        &[Own],
        &[
            Way::Create,
            Way::Generate,
            Way::MergePatch,
            Way::JsonPatch,
            Way::StrategicPatch,
            Way::Apply,
        ],
    ),
    ("coordination.k8s.io", "leases", &[Own, Provider], LEASES),
    ("velero.io", "restores", &[Provider], MAKE_AND_DELETE),
    ("velero.io", "downloadrequests", &[Provider], MAKE_AND_DELETE),
    ("velero.io", "serverstatusrequests", &[Provider], MAKE_AND_DELETE),
    ("velero.io", "podvolumerestores", &[Provider], PATCHES),
    ("velero.io", "datadownloads", &[Provider], PATCHES),
    ("core", "configmaps", &[Provider], MAKE_AND_DELETE),
    ("core", "secrets", &[Sandbox], MAKE),
    ("core", "pods", &[Sandbox], PODS),
    ("core", "persistentvolumeclaims", &[Sandbox], &[Way::Delete]),
    ("core", "services", &[Sandbox], MAKE),
    ("core", "resourcequotas", &[Sandbox], MAKE),
    ("core", "limitranges", &[Sandbox], MAKE),
    ("networking.k8s.io", "networkpolicies", &[Sandbox], MAKE),
    // Everybody may ask who he is and what he may do; nothing is stored.
    ("authentication.k8s.io", "selfsubjectreviews", &[Cluster], MAKE),
    ("authorization.k8s.io", "selfsubjectaccessreviews", &[Cluster], MAKE),
    ("authorization.k8s.io", "selfsubjectrulesreviews", &[Cluster], MAKE),
];

fn granted(group: &str, resource: &str, place: Place, way: Way) -> bool {
    GRANTED
        .iter()
        .any(|(g, r, places, ways)| *g == group && *r == resource && places.contains(&place) && ways.contains(&way))
}

/// Verbs that are asked of a subresource: it has no collection, and connections are opened by reading.
const SUBRESOURCE: &[Way] = &[
    Way::Create,
    Way::Replace,
    Way::MergePatch,
    Way::JsonPatch,
    Way::StrategicPatch,
    Way::Apply,
    Way::Delete,
];
const CONNECTIONS: &[&str] = &[
    "pods/exec",
    "pods/attach",
    "pods/portforward",
    "pods/proxy",
    "services/proxy",
    "nodes/proxy",
];

/// Every combination that RBAC does not grant.
struct Step<'a> {
    target: Target<'a>,
    place: Place,
    way: Way,
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn whatever_rbac_does_not_grant_is_refused_by_rbac() {
    let scene = Scene::open().await;
    let served = resources(&scene.admin).await;
    let mut steps = Vec::new();
    for (group, version, resource, namespaced) in &served {
        let places = if *namespaced { NAMESPACED } else { &[Cluster] };
        let ways = if resource.contains('/') { SUBRESOURCE } else { WRITES };
        let connect: &[Way] = if CONNECTIONS.contains(&resource.as_str()) {
            &[Way::Get]
        } else {
            &[]
        };
        for place in places {
            for way in ways.iter().chain(connect) {
                if !granted(group, resource, *place, *way) {
                    let target = Target {
                        group,
                        version,
                        resource,
                        namespace: place.namespace(&scene),
                        name: "default",
                    };
                    steps.push(Step {
                        target,
                        place: *place,
                        way: *way,
                    });
                }
            }
        }
    }
    let asked = steps.len();
    let failed: Vec<String> = futures::stream::iter(steps)
        .map(|step| refused(&scene, step))
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let kinds: BTreeSet<(&String, &String)> = served.iter().map(|(group, _, resource, _)| (group, resource)).collect();
    scene.close().await;
    assert!(failed.is_empty(), "{} of {asked}:\n{}", failed.len(), failed.join("\n"));
    // The walk is worth nothing if it is short: RBAC alone protects what it passes by.
    assert!(
        kinds.len() > 100 && asked > 3000,
        "{} kinds, {asked} combinations",
        kinds.len()
    );
}

/// What is wrong with the answer, if anything. A request for good follows only where the dry run was refused: RBAC knows no
/// dry runs, so the answer has to be the same.
async fn refused(scene: &Scene, step: Step<'_>) -> Option<String> {
    let body = json!({});
    for dry_run in [true, false] {
        let mut answer = ask(&scene.runner, step.way, &step.target, &body, dry_run).await;
        // Another test of this process opts in to exec checks for a moment.
        for _ in 0..100 {
            if answer == Answer::NoRight || step.place != Sandbox || step.target.resource != "pods/exec" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            answer = ask(&scene.runner, step.way, &step.target, &body, dry_run).await;
        }
        if answer != Answer::NoRight {
            return Some(format!(
                "{:?} {:?}, dry run {dry_run}: {answer:?}",
                step.way, step.target
            ));
        }
    }
    None
}
