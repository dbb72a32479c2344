//! What RBAC grants the runner, row by row, both ways.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use serde_json::json;

use crate::support::cases::{Verb, make, send};
use crate::support::scene::Scene;
use crate::support::{RUNNER, kubectl_in_cluster, root};

/// Where a right is asked for.
#[derive(Clone, Copy, Debug)]
enum Place {
    Cluster,
    Own,
    Provider,
    Sandbox,
    Production,
    /// A production namespace of a test with the component `compare-with-source`.
    Compared,
}
use Place::{Cluster, Compared, Own, Production, Provider, Sandbox};

const READ: &str = "get,list,watch";

/// Verbs, `resource.group` or `resource/subresource.group`, name or empty, place, and whether it is granted.
const TABLE: &[(&str, &str, &str, Place, bool)] = &[
    ("get,list,watch,create,patch,delete", "namespaces", "", Cluster, true),
    ("update,deletecollection", "namespaces", "", Cluster, false),
    ("create", "rolebindings.rbac.authorization.k8s.io", "", Production, true),
    (
        "get,list,update,patch,delete",
        "rolebindings.rbac.authorization.k8s.io",
        "",
        Production,
        false,
    ),
    (
        "create",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "",
        Cluster,
        false,
    ),
    (
        "bind",
        "clusterroles.rbac.authorization.k8s.io",
        "kymaros-sandbox",
        Cluster,
        true,
    ),
    (
        "bind",
        "clusterroles.rbac.authorization.k8s.io",
        "cluster-admin",
        Cluster,
        false,
    ),
    (
        "escalate,create,update,patch",
        "clusterroles.rbac.authorization.k8s.io",
        "kymaros-sandbox",
        Cluster,
        false,
    ),
    ("list,watch,patch", "persistentvolumes", "", Cluster, true),
    (
        "get,create,update,delete,deletecollection",
        "persistentvolumes",
        "",
        Cluster,
        false,
    ),
    (
        "get,list,watch,delete",
        "volumesnapshotcontents.snapshot.storage.k8s.io",
        "",
        Cluster,
        true,
    ),
    (
        "create,update,patch",
        "volumesnapshotcontents.snapshot.storage.k8s.io",
        "",
        Cluster,
        false,
    ),
    ("get,list", "storageclasses.storage.k8s.io", "", Cluster, true),
    ("impersonate", "users", "", Cluster, false),
    ("get,list", "nodes", "", Cluster, false),
    ("list", "secrets", "", Cluster, false),
    (
        "list",
        "customresourcedefinitions.apiextensions.k8s.io",
        "",
        Cluster,
        false,
    ),
    (
        "get,update,patch,delete",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "",
        Cluster,
        false,
    ),
    // The sweep learns from the list at which providers runs may have left something.
    ("get,list", "restoretests.restore.kymaros.io", "", Own, true),
    (
        "create,update,patch,delete",
        "restoretests.restore.kymaros.io",
        "",
        Own,
        false,
    ),
    ("patch", "restoretests/status.restore.kymaros.io", "", Own, true),
    ("get", "healthcheckpolicies.restore.kymaros.io", "", Own, true),
    (
        "get,list,create,delete",
        "restorereports.restore.kymaros.io",
        "",
        Own,
        true,
    ),
    (
        "update,patch,deletecollection",
        "restorereports.restore.kymaros.io",
        "",
        Own,
        false,
    ),
    ("patch", "restorereports/status.restore.kymaros.io", "", Own, true),
    (
        "get,list,watch,create,update,delete",
        "leases.coordination.k8s.io",
        "",
        Own,
        true,
    ),
    (READ, "pods", "", Own, true),
    ("create,update,patch,delete", "pods", "", Own, false),
    ("create", "pods/exec", "", Own, false),
    ("get", "jobs.batch", "", Own, true),
    ("get", "cronjobs.batch", "", Own, true),
    ("list,create,delete", "jobs.batch", "", Own, false),
    ("create,patch", "events.events.k8s.io", "", Own, true),
    ("get,list,watch,create", "secrets", "", Own, false),
    ("create", "serviceaccounts/token", "", Own, false),
    (READ, "backups.velero.io", "", Provider, true),
    ("create,update,patch,delete", "backups.velero.io", "", Provider, false),
    (READ, "schedules.velero.io", "", Provider, true),
    (READ, "backupstoragelocations.velero.io", "", Provider, true),
    (READ, "deletebackuprequests.velero.io", "", Provider, true),
    ("create", "deletebackuprequests.velero.io", "", Provider, false),
    ("get,list,watch,create,delete", "restores.velero.io", "", Provider, true),
    ("update,patch", "restores.velero.io", "", Provider, false),
    (
        "get,list,watch,create,delete",
        "downloadrequests.velero.io",
        "",
        Provider,
        true,
    ),
    (
        "get,list,watch,create,delete",
        "serverstatusrequests.velero.io",
        "",
        Provider,
        true,
    ),
    (
        "get,list,watch,patch",
        "podvolumerestores.velero.io",
        "",
        Provider,
        true,
    ),
    (
        "create,update,delete",
        "podvolumerestores.velero.io",
        "",
        Provider,
        false,
    ),
    ("get,list,watch,patch", "datadownloads.velero.io", "", Provider, true),
    ("get,list,create,delete", "configmaps", "", Provider, true),
    ("update,patch", "configmaps", "", Provider, false),
    (
        "get,list,watch,create,update,delete",
        "leases.coordination.k8s.io",
        "",
        Provider,
        true,
    ),
    ("get,list", "secrets", "", Provider, false),
    ("get,list", "pods", "", Provider, false),
    (READ, "pods", "", Sandbox, true),
    (READ, "configmaps", "", Sandbox, true),
    ("get,list,watch,delete", "persistentvolumeclaims", "", Sandbox, true),
    (
        "create,update,patch,deletecollection",
        "persistentvolumeclaims",
        "",
        Sandbox,
        false,
    ),
    (READ, "serviceaccounts", "", Sandbox, true),
    (READ, "deployments.apps", "", Sandbox, true),
    (READ, "cronjobs.batch", "", Sandbox, true),
    (READ, "horizontalpodautoscalers.autoscaling", "", Sandbox, true),
    (READ, "poddisruptionbudgets.policy", "", Sandbox, true),
    (READ, "resourceclaims.resource.k8s.io", "", Sandbox, true),
    (READ, "resourceslices.resource.k8s.io", "", Sandbox, false),
    (
        "create,update,delete",
        "resourceclaims.resource.k8s.io",
        "",
        Sandbox,
        false,
    ),
    (READ, "ingresses.networking.k8s.io", "", Sandbox, true),
    (READ, "endpointslices.discovery.k8s.io", "", Sandbox, true),
    (READ, "rolebindings.rbac.authorization.k8s.io", "", Sandbox, true),
    (READ, "events.events.k8s.io", "", Sandbox, true),
    ("create", "secrets", "", Sandbox, true),
    ("get,list,watch,update,patch,delete", "secrets", "", Sandbox, false),
    ("create,delete,deletecollection", "pods", "", Sandbox, true),
    ("update,patch", "pods", "", Sandbox, false),
    ("get", "pods/log", "", Sandbox, false),
    ("create", "pods/portforward", "", Sandbox, false),
    ("create", "serviceaccounts/token", "", Sandbox, false),
    ("create", "services", "", Sandbox, true),
    ("create", "resourcequotas", "", Sandbox, true),
    ("create", "limitranges", "", Sandbox, true),
    ("create", "networkpolicies.networking.k8s.io", "", Sandbox, true),
    (
        "update,patch,delete",
        "networkpolicies.networking.k8s.io",
        "",
        Sandbox,
        false,
    ),
    ("create,update,patch,delete", "deployments.apps", "", Sandbox, false),
    ("get,list,create,delete", "pods", "", Production, false),
    ("get,list", "configmaps", "", Production, false),
    ("list", "deployments.apps", "", Production, false),
    ("get,list,create", "secrets", "", Production, false),
    (
        "create,delete",
        "networkpolicies.networking.k8s.io",
        "",
        Production,
        false,
    ),
    ("get,list", "restorereports.restore.kymaros.io", "", Production, false),
    ("list", "configmaps", "", Compared, true),
    ("list", "pods", "", Compared, true),
    ("list", "persistentvolumeclaims", "", Compared, true),
    ("list", "deployments.apps", "", Compared, true),
    ("list", "rolebindings.rbac.authorization.k8s.io", "", Compared, true),
    (
        "get,watch,create,update,patch,delete",
        "configmaps",
        "",
        Compared,
        false,
    ),
    ("get,watch,create,update,patch,delete", "pods", "", Compared, false),
    (
        "get,watch,create,update,patch,delete",
        "deployments.apps",
        "",
        Compared,
        false,
    ),
    (
        "get,list,watch,create,update,patch,delete",
        "secrets",
        "",
        Compared,
        false,
    ),
    ("get", "pods/log", "", Compared, false),
    ("get,create", "pods/exec", "", Compared, false),
    ("create", "serviceaccounts/token", "", Compared, false),
    ("list", "jobs.batch", "", Compared, false),
];

/// The component, as kustomize fills it in for a test `rights` of this namespace.
fn compare_with_source(namespace: &str) -> String {
    let file = root().join("kustomize/components/compare-with-source/rights/rights.yaml");
    let text = std::fs::read_to_string(file).expect("the component's rights");
    let named = text.replace(
        "namespace: copied-from-the-restoretest",
        &format!("namespace: {namespace}"),
    );
    named.replace(".copied-from-the-restoretest", ".rights")
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn rights() {
    let scene = Scene::open().await;
    let compared = format!("fence-compared-{}", scene.run);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": compared}});
    make(&scene.admin, std::slice::from_ref(&namespace)).await;
    kubectl_in_cluster(&["apply", "-f", "-"], Some(&compare_with_source(&compared))).expect("the rights are applied");
    let reviews: Api<SubjectAccessReview> = Api::all(scene.admin.clone());
    let ask = async |verb: &str, what: &str, name: &str, place: Place| {
        let namespace = match place {
            Cluster => None,
            Own => Some("kymaros-system"),
            Provider => Some("velero"),
            Sandbox => Some(scene.sandbox.as_str()),
            Production => Some(scene.production.as_str()),
            Compared => Some(compared.as_str()),
        };
        let (resource, group) = what.split_once('.').unwrap_or((what, ""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(RUNNER.to_owned()),
                groups: Some(
                    [
                        "system:serviceaccounts",
                        "system:serviceaccounts:kymaros-system",
                        "system:authenticated",
                    ]
                    .map(str::to_owned)
                    .to_vec(),
                ),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    group: Some(group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                    name: (!name.is_empty()).then(|| name.to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let answer = reviews
            .create(&PostParams::default(), &review)
            .await
            .expect("an answer");
        answer.status.is_some_and(|status| status.allowed)
    };
    // The authorizer learns of a binding a moment after it was made.
    for _ in 0..50 {
        if ask("list", "pods", "", Compared).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let mut failed = Vec::new();
    for (verbs, what, name, place, granted) in TABLE {
        for verb in verbs.split(',') {
            if ask(verb, what, name, *place).await != *granted {
                failed.push(format!(
                    "{verb} {what} {name} in {place:?} should be {}",
                    if *granted { "granted" } else { "denied" }
                ));
            }
        }
    }
    send(&scene.admin, Verb::Remove, &namespace).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
