//! What the runner may do in the provider's namespace: Restores, requests, `ConfigMaps`, Leases, cancelled volume restores.

use kymaros_runner::build::restore::Neutraliser;
use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, make, with};
use crate::support::scene::Scene;

/// An object in the provider's namespace, labelled as the runner's own.
fn own(api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "velero", "labels": {"kymaros.io/managed-by": "kymaros"}},
    })
}

/// The same, of somebody else.
fn foreign(api_version: &str, kind: &str, name: &str) -> Value {
    with(&own(api_version, kind, name), json!({"metadata": {"labels": null}}))
}

fn restore(name: &str, mapping: Value) -> Value {
    let mut restore = own("velero.io/v1", "Restore", name);
    let included: Vec<&String> = mapping.as_object().expect("a map").keys().collect();
    restore["spec"] = json!({"backupName": "none-such", "includedNamespaces": included});
    restore["spec"]["namespaceMapping"] = mapping;
    restore
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces and one Restore of no backup)"]
async fn restores() {
    let scene = Scene::open().await;
    let name = format!("kymaros-{}", scene.run);
    let one = restore(&name, json!({"shop": scene.sandbox}));
    let spec = |change: Value| with(&one, json!({"spec": change}));
    let raw = |field: &str, value: Value| {
        let mut changed = one.clone();
        changed["spec"][field] = value;
        changed
    };
    let sixteen: serde_json::Map<String, Value> = (0..16)
        .map(|i| (format!("ns-{i}"), json!(format!("ns-{i}-{name}"))))
        .collect();
    let mut seventeen = sixteen.clone();
    seventeen.insert("ns-16".to_owned(), json!(format!("ns-16-{name}")));
    let theirs = foreign("velero.io/v1", "Restore", &format!("theirs-{}", scene.run));
    make(&scene.admin, std::slice::from_ref(&theirs)).await;
    let other = scene.foreign.trim_start_matches("shop-");
    let earlier = restore(other, json!({"shop": scene.foreign}));
    make(&scene.runner, std::slice::from_ref(&earlier)).await;
    let with_modifier = spec(json!({
        "existingResourcePolicy": "none", "restorePVs": true, "resourceModifier": {"kind": "ConfigMap", "name": name},
        "hooks": {}, "includeClusterResources": null,
    }));
    let refused = |piece| Expect::Refused("restores", piece);
    let cases = [
        case(
            "no namespaces",
            Verb::Create,
            raw("includedNamespaces", json!([])),
            refused("an empty list means every namespace"),
        ),
        case(
            "null namespaces",
            Verb::Create,
            raw("includedNamespaces", Value::Null),
            refused("an empty list means every namespace"),
        ),
        case(
            "namespaces left out",
            Verb::Create,
            spec(json!({"includedNamespaces": null})),
            refused("an empty list means every namespace"),
        ),
        case(
            "all namespaces",
            Verb::Create,
            raw("includedNamespaces", json!(["*"])),
            refused("no patterns: *"),
        ),
        case(
            "a pattern",
            Verb::Create,
            raw("includedNamespaces", json!(["shop", "sho?"])),
            refused("no patterns: sho?"),
        ),
        case(
            "seventeen namespaces",
            Verb::Create,
            restore(&name, Value::Object(seventeen)),
            refused("more than 16"),
        ),
        case(
            "null mapping",
            Verb::Create,
            raw("namespaceMapping", Value::Null),
            refused("not mapped: shop"),
        ),
        case(
            "one not mapped",
            Verb::Create,
            raw("includedNamespaces", json!(["shop", "blog"])),
            refused("not mapped: blog"),
        ),
        case(
            "one mapped too many",
            Verb::Create,
            spec(json!({"namespaceMapping": {"blog": scene.sibling}})),
            refused("not included: blog"),
        ),
        case(
            "onto itself",
            Verb::Create,
            restore(&name, json!({"shop": "shop"})),
            refused("shop -> shop"),
        ),
        case(
            "into production",
            Verb::Create,
            restore(&name, json!({"shop": scene.production})),
            refused("must lead into sandboxes of this run"),
        ),
        case(
            "into another run",
            Verb::Create,
            restore(&name, json!({"shop": scene.foreign})),
            refused("must lead into sandboxes of this run"),
        ),
        case(
            "from a sandbox into itself",
            Verb::Create,
            restore(&name, json!({&scene.sandbox: scene.sandbox})),
            refused("must lead into sandboxes of this run"),
        ),
        case(
            "two into one",
            Verb::Create,
            restore(&name, json!({"shop": scene.sandbox, "blog": scene.sandbox})),
            refused("mapped to the same sandbox"),
        ),
        case(
            "updating what exists",
            Verb::Create,
            spec(json!({"existingResourcePolicy": "update"})),
            refused("existingResourcePolicy"),
        ),
        case(
            "without volumes",
            Verb::Create,
            spec(json!({"restorePVs": false})),
            refused("the source's volumes"),
        ),
        case(
            "cluster resources",
            Verb::Create,
            spec(json!({"includeClusterResources": true})),
            refused("includeClusterResources"),
        ),
        case(
            "a schedule",
            Verb::Create,
            spec(json!({"scheduleName": "daily"})),
            refused("spec.scheduleName"),
        ),
        case(
            "no backup",
            Verb::Create,
            spec(json!({"backupName": ""})),
            refused("spec.backupName must be set"),
        ),
        case(
            "statuses",
            Verb::Create,
            spec(json!({"restoreStatus": {"includedResources": ["*"]}})),
            refused("spec.restoreStatus"),
        ),
        case(
            "hooks",
            Verb::Create,
            spec(json!({"hooks": {"resources": [{"name": "h"}]}})),
            refused("spec.hooks must be empty"),
        ),
        case(
            "a foreign modifier",
            Verb::Create,
            spec(json!({"resourceModifier": {"kind": "ConfigMap", "name": "theirs"}})),
            refused("must name the run's own ConfigMap"),
        ),
        case(
            "another run's modifier",
            Verb::Create,
            spec(json!({"resourceModifier": {"kind": "ConfigMap", "name": "kymaros-zzzzzz"}})),
            refused("must name the run's own ConfigMap"),
        ),
        case(
            "a thousand files at once",
            Verb::Create,
            spec(json!({"uploaderConfig": {"parallelFilesDownload": 1000}})),
            refused("may not set spec.uploaderConfig"),
        ),
        case(
            "other selectors",
            Verb::Create,
            spec(json!({"orLabelSelectors": [{"matchLabels": {"a": "b"}}]})),
            refused("may not set spec.orLabelSelectors"),
        ),
        case(
            "a hundred years",
            Verb::Create,
            spec(json!({"itemOperationTimeout": "999999h"})),
            refused("must not be longer than 24h"),
        ),
        case(
            "a hundred years for volumes",
            Verb::Create,
            with(
                &one,
                json!({"metadata": {"annotations": {"velero.io/pod-volume-timeout": "999999h"}}}),
            ),
            refused("must not be longer than 24h"),
        ),
        case(
            "a finalizer",
            Verb::Create,
            with(&one, json!({"metadata": {"finalizers": ["example.com/stay"]}})),
            refused("no finalizers or owners"),
        ),
        case(
            "a label of the provider's",
            Verb::Create,
            with(&one, json!({"metadata": {"labels": {"velero.io/schedule-name": "x"}}})),
            refused("has labels kymaros.io/*"),
        ),
        case(
            "a status",
            Verb::Create,
            with(&one, json!({"status": {"phase": "InProgress"}})),
            refused("status must not be set"),
        ),
        case(
            "no label",
            Verb::Create,
            with(&one, json!({"metadata": {"labels": null}})),
            refused("labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "another name",
            Verb::Create,
            restore("shop", json!({"shop": scene.sandbox})),
            refused("named kymaros-<run id>"),
        ),
        case(
            "changing one",
            Verb::Patch,
            spec(json!({"backupName": "other"})),
            Expect::NoRight,
        ),
        case(
            "deleting another's",
            Verb::Delete,
            theirs.clone(),
            refused("labelled kymaros.io/managed-by=kymaros"),
        ),
        case("one namespace", Verb::Create, one.clone(), Expect::Accepted),
        case(
            "two namespaces",
            Verb::Create,
            restore(&name, json!({"shop": scene.sandbox, "blog": scene.sibling})),
            Expect::Accepted,
        ),
        case(
            "sixteen namespaces",
            Verb::Create,
            restore(&name, Value::Object(sixteen)),
            Expect::Accepted,
        ),
        case("with a modifier", Verb::Create, with_modifier, Expect::Accepted),
        case("deleting one's own", Verb::Remove, earlier, Expect::Accepted),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    failed.extend(
        failures(
            &scene.admin,
            &[case("cleaning up", Verb::Remove, theirs, Expect::Accepted)],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes small objects in the provider's namespace)"]
async fn requests_config_maps_and_leases() {
    let scene = Scene::open().await;
    let run = &scene.run;
    let download = |name: &str, kind: &str| {
        with(
            &own("velero.io/v1", "DownloadRequest", name),
            json!({"spec": {"target": {"kind": kind, "name": "b"}}}),
        )
    };
    let alive = own("velero.io/v1", "ServerStatusRequest", &format!("kymaros-{run}"));
    let map = with(
        &own("v1", "ConfigMap", &format!("kymaros-{run}")),
        json!({"data": {"rules.yaml": crate::modifiers::text(&json!({}), Neutraliser::Admission)}}),
    );
    let their_map = foreign("v1", "ConfigMap", &format!("theirs-{run}"));
    let their_download = with(
        &download(&format!("theirs-{run}"), "BackupLog"),
        json!({"metadata": {"labels": null}}),
    );
    let lease = |namespace: &str, name: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": namespace},
            "spec": {"holderIdentity": "x", "leaseDurationSeconds": 300},
        })
    };
    let turn = lease("velero", &format!("kymaros-{run}"));
    let election = lease("velero", &format!("velero-leader-{run}"));
    let theirs = [
        their_map.clone(),
        their_download.clone(),
        election.clone(),
        turn.clone(),
    ];
    make(&scene.admin, &theirs).await;
    let requests = |piece| Expect::Refused("provider-requests", piece);
    let maps = |piece| Expect::Refused("provider-configmaps", piece);
    let leases = Expect::Refused("leases", "only touch Leases named kymaros-*");
    let name = format!("kymaros-{run}-list");
    let cases = [
        case(
            "a backup's list",
            Verb::Create,
            download(&name, "BackupResourceList"),
            Expect::Accepted,
        ),
        case(
            "a restore's list",
            Verb::Create,
            download(&name, "RestoreResourceList"),
            Expect::Accepted,
        ),
        case(
            "a backup's contents",
            Verb::Create,
            download(&name, "BackupContents"),
            requests("may not download BackupContents"),
        ),
        case(
            "a restore's log",
            Verb::Create,
            download(&name, "RestoreLog"),
            requests("may not download RestoreLog"),
        ),
        case(
            "a request of another name",
            Verb::Create,
            download("list", "BackupResourceList"),
            requests("named kymaros-*"),
        ),
        case(
            "an unlabelled request",
            Verb::Create,
            with(&download(&name, "BackupResults"), json!({"metadata": {"labels": null}})),
            requests("labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "deleting another's request",
            Verb::Delete,
            their_download.clone(),
            requests("labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "whether the provider lives",
            Verb::Create,
            alive.clone(),
            Expect::Accepted,
        ),
        case(
            "the same without a label",
            Verb::Create,
            with(&alive, json!({"metadata": {"labels": null}})),
            requests("serverstatusrequests named kymaros-*"),
        ),
        case("a ConfigMap", Verb::Create, map.clone(), Expect::Accepted),
        case(
            "a ConfigMap of another name",
            Verb::Create,
            own("v1", "ConfigMap", "modifiers"),
            maps("named kymaros-*"),
        ),
        case(
            "an unlabelled ConfigMap",
            Verb::Create,
            with(&map, json!({"metadata": {"labels": null}})),
            maps("labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "the provider's configuration",
            Verb::Create,
            with(&map, json!({"metadata": {"labels": {"velero.io/plugin-config": ""}}})),
            maps("they would configure the provider"),
        ),
        case(
            "deleting another's ConfigMap",
            Verb::Delete,
            their_map.clone(),
            maps("named kymaros-*"),
        ),
        case(
            "a ConfigMap in its own namespace",
            Verb::Create,
            with(&map, json!({"metadata": {"namespace": "kymaros-system"}})),
            Expect::NoRight,
        ),
        case(
            "a test's lease",
            Verb::Create,
            lease("kymaros-system", "shop"),
            Expect::Accepted,
        ),
        case("a turn's lease", Verb::Create, lease("velero", &name), Expect::Accepted),
        case("renewing a turn's lease", Verb::Replace, turn.clone(), Expect::Accepted),
        case("another lease", Verb::Create, lease("velero", "velero-leader"), leases),
        case(
            "taking another lease",
            Verb::Replace,
            with(&election, json!({"spec": {"holderIdentity": "me"}})),
            leases,
        ),
        case("deleting another lease", Verb::Delete, election.clone(), leases),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    let cleaning = theirs.map(|object| case("cleaning up", Verb::Remove, object, Expect::Accepted));
    failed.extend(failures(&scene.admin, &cleaning).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes volume restores that no node serves)"]
async fn cancelled_volume_restores() {
    let scene = Scene::open().await;
    let volume = |api_version: &str, kind: &str, restore: &str, spec: Value| {
        json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {
                "name": format!("{restore}-volume"), "namespace": "velero", "labels": {"velero.io/restore-name": restore},
            },
            "spec": spec,
        })
    };
    let pod = json!({
        "pod": {"kind": "Pod", "namespace": scene.sandbox, "name": "none", "uid": "none"}, "volume": "data",
        "backupStorageLocation": "none", "repoIdentifier": "none", "snapshotID": "none", "sourceNamespace": "shop",
    });
    let data = json!({
        "targetVolume": {"pvc": "none", "pv": "", "namespace": scene.sandbox}, "backupStorageLocation": "none",
        "snapshotID": "none", "sourceNamespace": "shop", "operationTimeout": "10m", "dataMoverConfig": {"a": "b"},
    });
    let own_name = format!("kymaros-{}", scene.run);
    let real = format!("disaster-{}", scene.run);
    let own_pod = volume("velero.io/v1", "PodVolumeRestore", &own_name, pod.clone());
    let real_pod = volume("velero.io/v1", "PodVolumeRestore", &real, pod);
    let own_data = volume("velero.io/v2alpha1", "DataDownload", &own_name, data);
    let objects = [own_pod.clone(), real_pod.clone(), own_data.clone()];
    make(&scene.admin, &objects).await;
    let cancel = json!({"spec": {"cancel": true}});
    let change = |object: &Value, change: Value| {
        // Only what the patch says, and where.
        let bare = json!({
            "apiVersion": object["apiVersion"], "kind": object["kind"],
            "metadata": {"name": object["metadata"]["name"], "namespace": "velero"},
        });
        with(&bare, change)
    };
    let refused = |piece| Expect::Refused("volume-restores", piece);
    let only = || refused("only set spec.cancel to true");
    let cases = [
        case(
            "cancelling one's own",
            Verb::Patch,
            change(&own_pod, cancel.clone()),
            Expect::Accepted,
        ),
        case(
            "cancelling one's own download",
            Verb::Patch,
            change(&own_data, cancel.clone()),
            Expect::Accepted,
        ),
        case(
            "cancelling a real one",
            Verb::Patch,
            change(&real_pod, cancel.clone()),
            refused("of Restores named kymaros-<run id>"),
        ),
        case(
            "not cancelling",
            Verb::Patch,
            change(&own_pod, json!({"spec": {"cancel": false}})),
            only(),
        ),
        case(
            "cancelling, and another snapshot",
            Verb::Patch,
            change(&own_pod, json!({"spec": {"cancel": true, "snapshotID": "other"}})),
            only(),
        ),
        case(
            "cancelling, and a field less",
            Verb::Patch,
            change(&own_data, json!({"spec": {"cancel": true, "dataMoverConfig": null}})),
            Expect::Refused("volume-restores", "only set spec.cancel to true"),
        ),
        case(
            "cancelling, and a label",
            Verb::Patch,
            change(
                &own_pod,
                json!({"spec": {"cancel": true}, "metadata": {"labels": {"a": "b"}}}),
            ),
            only(),
        ),
        case(
            "cancelling, and a status",
            Verb::Patch,
            change(
                &own_pod,
                json!({"spec": {"cancel": true}, "status": {"phase": "Completed"}}),
            ),
            only(),
        ),
        case("deleting one", Verb::Delete, own_pod.clone(), Expect::NoRight),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    let cleaning = objects.map(|object| case("cleaning up", Verb::Remove, object, Expect::Accepted));
    failed.extend(failures(&scene.admin, &cleaning).await);
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
