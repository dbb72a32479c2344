use serde_json::json;

use crate::velero::{
    Backup, BackupPhase, BackupSpec, BackupStorageLocation, DataDownload, DownloadPhase, DownloadRequest, ModifierRef,
    PodVolumeRestore, Restore, RestorePhase, RestoreSpec, ServerStatusRequest, ServerStatusRequestSpec,
    VolumeRestorePhase,
};

fn backup(spec: &serde_json::Value) -> BackupSpec {
    serde_json::from_value(spec.clone()).unwrap()
}

#[test]
fn absent_empty_and_new_are_alike() {
    for status in [
        json!(null),
        json!({}),
        json!({"phase": null}),
        json!({"phase": ""}),
        json!({"phase": "New"}),
    ] {
        let restore: Restore =
            serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": null, "status": status})).unwrap();
        assert_eq!(restore.status.phase, RestorePhase::New);
        assert!(restore.is_waiting() && !restore.is_terminal());
    }
    let bare: Restore = serde_json::from_value(json!({"metadata": {}})).unwrap();
    assert!(bare.is_waiting());
}

#[test]
fn an_unknown_phase_is_kept_and_counts_as_work() {
    let restore: Restore = serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Pondering"}})).unwrap();
    assert_eq!(restore.status.phase, RestorePhase::Other("Pondering".to_owned()));
    assert_eq!(restore.status.phase.to_string(), "Pondering");
    assert!(!restore.is_terminal());
    assert!(BackupPhase::from("Pondering").is_unfinished());
    assert!(!VolumeRestorePhase::from("Pondering").is_terminal());
}

#[test]
fn four_phases_of_a_restore_are_terminal() {
    let terminal = ["FailedValidation", "Completed", "PartiallyFailed", "Failed"];
    let others = [
        "",
        "New",
        "InProgress",
        "WaitingForPluginOperations",
        "WaitingForPluginOperationsPartiallyFailed",
        "Finalizing",
        "FinalizingPartiallyFailed",
    ];
    assert!(terminal.iter().all(|phase| RestorePhase::from(*phase).is_terminal()));
    assert!(!others.iter().any(|phase| RestorePhase::from(*phase).is_terminal()));
    assert!(
        ["Completed", "Failed", "Canceled"]
            .iter()
            .all(|phase| VolumeRestorePhase::from(*phase).is_terminal())
    );
    assert!(!VolumeRestorePhase::Canceling.is_terminal());
    assert!(BackupPhase::Queued.is_unfinished() && !BackupPhase::Deleting.is_unfinished());
}

#[test]
fn nullable_fields_of_foreign_restores_are_read() {
    let restore: Restore = serde_json::from_value(json!({
        "metadata": {"name": "theirs"},
        "spec": {"backupName": "", "scheduleName": "s", "includedNamespaces": null, "excludedResources": null,
                 "labelSelector": null, "namespaceMapping": null, "hooks": {}},
        "status": {"phase": "InProgress", "progress": null, "completionTimestamp": null}
    }))
    .unwrap();
    assert!(!restore.is_terminal());
    assert_eq!(restore.status.completion_timestamp, None);
}

#[test]
fn a_restore_is_written_without_a_status() {
    let spec = RestoreSpec {
        backup_name: "nightly".to_owned(),
        included_namespaces: vec!["shop".to_owned()],
        namespace_mapping: [("shop".to_owned(), "rp-test-shop-kymaros-abc123".to_owned())].into(),
        excluded_resources: vec!["jobs.batch".to_owned()],
        restore_pvs: Some(true),
        item_operation_timeout: Some("1h0m0s".to_owned()),
        resource_modifier: Some(ModifierRef::config_map("kymaros-abc123")),
        ..RestoreSpec::default()
    };
    assert_eq!(
        serde_json::to_value(Restore::new("velero", "kymaros-abc123", spec)).unwrap(),
        json!({
            "apiVersion": "velero.io/v1",
            "kind": "Restore",
            "metadata": {"name": "kymaros-abc123", "namespace": "velero"},
            "spec": {
                "backupName": "nightly",
                "includedNamespaces": ["shop"],
                "namespaceMapping": {"shop": "rp-test-shop-kymaros-abc123"},
                "excludedResources": ["jobs.batch"],
                "restorePVs": true,
                "itemOperationTimeout": "1h0m0s",
                "resourceModifier": {"kind": "ConfigMap", "name": "kymaros-abc123"}
            }
        })
    );
    let request = ServerStatusRequest::new("velero", "x", ServerStatusRequestSpec {});
    assert_eq!(serde_json::to_value(request).unwrap()["spec"], json!({}));
    let download = DataDownload::new("velero", "x", crate::velero::DataDownloadSpec::default());
    assert_eq!(
        serde_json::to_value(download).unwrap()["apiVersion"],
        json!("velero.io/v2alpha1")
    );
}

#[test]
fn why_a_restore_failed_is_in_the_servers_words() {
    let failed = |reason: &str| -> Restore {
        serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Failed", "failureReason": reason}})).unwrap()
    };
    let restart = r#"found a restore with status "InProgress" during the server starting, mark it as "Failed""#;
    assert_eq!(failed(restart).failure().as_deref(), Some(restart));
    let refused: Restore = serde_json::from_value(
        json!({"metadata": {}, "status": {"phase": "FailedValidation", "validationErrors": ["Error retrieving backup: x", "y"]}}),
    )
    .unwrap();
    assert_eq!(refused.failure().as_deref(), Some("Error retrieving backup: x; y"));
}

#[test]
fn times_of_a_backup_are_read_and_odd_ones_ignored() {
    let backup: Backup = serde_json::from_value(json!({
        "metadata": {"name": "b", "creationTimestamp": "2026-08-02T00:00:00Z"},
        "status": {"phase": "Completed", "startTimestamp": "2026-08-01T00:00:00Z", "expiration": "soon", "queuePosition": 1}
    }))
    .unwrap();
    assert_eq!(backup.status.start_timestamp.unwrap().timestamp(), 1_785_542_400);
    assert_eq!(backup.status.expiration, None);
    assert_eq!((backup.status.errors, backup.status.warnings), (0, 0));
}

#[test]
fn the_servers_own_exclusions_are_no_filter() {
    let none = [
        json!({}),
        json!({"includedNamespaces": ["*"], "includedResources": ["*"], "labelSelector": null}),
        json!({"excludedNamespaceScopedResources": ["volumesnapshots.snapshot.storage.k8s.io"],
               "excludedClusterScopedResources": ["volumesnapshotcontents.snapshot.storage.k8s.io"]}),
        json!({"excludedResources": ["volumesnapshots.snapshot.storage.k8s.io", "volumesnapshotcontents.snapshot.storage.k8s.io"]}),
        json!({"labelSelector": {}, "orLabelSelectors": []}),
    ];
    for spec in none {
        assert!(backup(&spec).filters().is_empty(), "{spec}");
    }
    let narrowed = backup(&json!({
        "labelSelector": {"matchLabels": {"app": "x"}},
        "excludedResources": ["secrets", "volumesnapshots.snapshot.storage.k8s.io"],
        "resourcePolicy": {"kind": "configmap", "name": "p"}
    }));
    assert_eq!(
        narrowed.filters(),
        ["labelSelector", "excludedResources: secrets", "resourcePolicy"]
    );
}

#[test]
fn what_a_spec_says_of_a_namespace() {
    let cases = [
        (json!({}), true),
        (json!({"includedNamespaces": ["*"]}), true),
        (json!({"includedNamespaces": ["shop"]}), true),
        (json!({"includedNamespaces": ["sh?p"]}), true),
        (json!({"includedNamespaces": ["blog"]}), false),
        (
            json!({"includedNamespaces": ["shop"], "excludedNamespaces": ["shop"]}),
            false,
        ),
        (json!({"excludedNamespaces": ["*"]}), false),
        // What a pattern excluded is only known from the list.
        (json!({"excludedNamespaces": ["sh*"]}), true),
        (json!({"excludedNamespaces": ["blog"]}), true),
    ];
    for (spec, expected) in cases {
        assert_eq!(backup(&spec).may_hold("shop"), expected, "{spec}");
    }
}

#[test]
fn requests_and_locations() {
    let unknown: DownloadRequest = serde_json::from_value(
        json!({"metadata": {}, "spec": {"target": {"kind": "RestoreLog", "name": "r"}}, "status": {"expiration": "2026-08-01T00:10:00Z"}}),
    )
    .unwrap();
    assert_eq!(unknown.status.phase, DownloadPhase::New);
    assert!(unknown.status.expiration.is_some() && unknown.status.download_url.is_none());
    let signed: DownloadRequest =
        serde_json::from_value(json!({"metadata": {}, "status": {"phase": "Processed", "downloadURL": "http://s3/x"}}))
            .unwrap();
    assert_eq!(signed.status.download_url.as_deref(), Some("http://s3/x"));
    let location: BackupStorageLocation = serde_json::from_value(json!({
        "metadata": {"name": "default"},
        "spec": {"provider": "aws", "config": {"s3Url": "http://s3.velero.svc:9000"}, "objectStorage": {"bucket": "b", "caCert": "eA=="}},
        "status": {"phase": "Available", "lastValidationTime": "2026-08-01T00:00:00Z"}
    }))
    .unwrap();
    assert!(location.is_available());
    assert_eq!(location.spec.object_storage.ca_cert.as_deref(), Some("eA=="));
}

#[test]
fn an_empty_volume_is_complete_without_numbers() {
    let volume: PodVolumeRestore = serde_json::from_value(json!({
        "metadata": {"labels": {"velero.io/pvc-uid": "u-1"}},
        "spec": {"pod": {"namespace": "sb", "name": "good", "uid": "p"}, "volume": "data"},
        "status": {"phase": "Completed"}
    }))
    .unwrap();
    assert!(volume.status.is_complete());
    assert_eq!(volume.claim_uid(), Some("u-1"));
    let half: PodVolumeRestore = serde_json::from_value(
        json!({"metadata": {}, "status": {"phase": "Completed", "progress": {"totalBytes": 2_048_029, "bytesDone": 1000}}}),
    )
    .unwrap();
    assert!(!half.status.is_complete());
    assert_eq!(half.claim_uid(), None);
}
