use super::{Repeated, set};
use crate::velero::clip::{Clipped, MAX_STRING};
use crate::velero::{
    Action, ClaimData, Kind, MAX_OBJECTS, read_backup_contents, read_restore_outcomes, read_volume_infos,
};
use std::io::Read as _;

/// `Contents` of a real backup, shortened.
const BACKUP_LIST: &str = r#"{"apps/v1/Deployment":["vt-rich/vol","vt-rich/web","other/x"],"v1/Namespace":["vt-rich"],
"v1/PersistentVolume":["pvc-1"],"vt.example.com/v1/Widget":["vt-rich/w1"],"v1/Event":["gone/e.1","vt-rich/e.2"],
"apiextensions.k8s.io/v1/CustomResourceDefinition":["widgets.vt.example.com"],
"rbac.authorization.k8s.io/v1/Role":["vt-rich/system:controller:x"],"v1/Secret":null}"#;

#[test]
fn a_backups_list_is_kept_for_the_wanted_namespaces() {
    let contents = read_backup_contents(BACKUP_LIST.as_bytes(), &set(&["vt-rich"])).unwrap();
    let deployments = &contents.kinds[&Kind::new("apps", "v1", "Deployment")];
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments["vt-rich"], ["vol", "web"]);
    assert_eq!(
        contents.kinds[&Kind::new("vt.example.com", "v1", "Widget")]["vt-rich"],
        ["w1"]
    );
    assert_eq!(
        contents.kinds[&Kind::new("rbac.authorization.k8s.io", "v1", "Role")]["vt-rich"],
        ["system:controller:x"]
    );
    assert_eq!(contents.namespaces, set(&["vt-rich", "other"]));
    assert!(contents.holds("other") && !contents.holds("gone"));
    assert_eq!(contents.definitions, set(&["widgets.vt.example.com"]));
    assert_eq!(contents.len(), 4);
}

#[test]
fn a_namespace_of_which_only_the_object_itself_is_there_is_held() {
    let contents = read_backup_contents(br#"{"v1/Namespace":["empty"]}"#.as_slice(), &set(&["empty"])).unwrap();
    assert!(contents.holds("empty") && contents.is_empty());
}

#[test]
fn empty_and_broken_lists() {
    assert!(read_backup_contents(b"{}".as_slice(), &set(&["x"])).unwrap().is_empty());
    assert!(
        read_backup_contents(b"null\n".as_slice(), &set(&["x"]))
            .unwrap()
            .is_empty()
    );
    for broken in [
        "",
        r#"{"v1/Pod":["a/b""#,
        r#"{"v1/Pod":{"a":1}}"#,
        "[1]",
        r#"{"v1/Pod":[1]}"#,
        "{} x",
        "<Error>",
    ] {
        assert!(
            read_backup_contents(broken.as_bytes(), &set(&["a"])).is_err(),
            "{broken}"
        );
    }
}

#[test]
fn a_restores_list_says_what_was_done() {
    let list = r#"{"v1/Secret":["sb/db-credentials(created)","src/x(created)"],"v1/ServiceAccount":["sb/default(skipped)"],
        "v1/ConfigMap":["sb/kube-root-ca.crt(failed)","sb/a(updated)"],"v1/PersistentVolume":["pvc-9(skipped)"],
        "rbac.authorization.k8s.io/v1/Role":["sb/odd(name)(created)","sb/none"],"v1/Namespace":["sb(created)"],
        "v1/Pod":["sb/p(reheated)"]}"#;
    let outcomes = read_restore_outcomes(list.as_bytes(), &set(&["sb"])).unwrap();
    let of = |kind: &str, name: &str| outcomes.of(&Kind::parse(kind), "sb", name).cloned();
    assert_eq!(of("v1/Secret", "db-credentials"), Some(Action::Created));
    assert_eq!(of("v1/Secret", "x"), None);
    assert_eq!(of("v1/ServiceAccount", "default"), Some(Action::Skipped));
    assert_eq!(of("v1/ConfigMap", "kube-root-ca.crt"), Some(Action::Failed));
    assert_eq!(of("v1/ConfigMap", "a"), Some(Action::Updated));
    assert_eq!(
        of("rbac.authorization.k8s.io/v1/Role", "odd(name)"),
        Some(Action::Created)
    );
    assert_eq!(
        of("rbac.authorization.k8s.io/v1/Role", "none"),
        Some(Action::Other(String::new()))
    );
    assert_eq!(of("v1/Pod", "p"), Some(Action::Other("reheated".to_owned())));
    assert_eq!(outcomes.created, 2);
    assert_eq!(
        read_restore_outcomes(b"{}".as_slice(), &set(&["sb"])).unwrap().created,
        0
    );
}

#[test]
fn a_list_of_too_many_objects_is_refused_in_words() {
    let list = Repeated::new(r#"{"v1/ConfigMap":["a/x""#, r#","a/x""#, MAX_OBJECTS, "]}");
    let error = read_backup_contents(list, &set(&["a"])).unwrap_err();
    assert!(error.to_string().starts_with("more than 200000 objects"), "{error}");
    // Those of other namespaces do not count.
    let list = Repeated::new(r#"{"v1/ConfigMap":["a/x""#, r#","a/x""#, MAX_OBJECTS, "]}");
    assert!(read_backup_contents(list, &set(&["b"])).unwrap().is_empty());
}

/// One entry per case that was tried on a real server.
const VOLUMES: &str = r#"[
{"pvcName":"good","pvcNamespace":"v","pvName":"pvc-9","backupMethod":"PodVolumeBackup","snapshotDataMoved":false,"preserveLocalSnapshot":false,"skipped":false,"startTimestamp":"2026-08-01T00:00:00Z","result":"succeeded","pvbInfo":{"snapshotHandle":"7fd7","size":2048029,"incrementalSize":2048029,"uploaderType":"kopia","volumeName":"data","podName":"good","podNamespace":"v","nodeName":"node1","Phase":"Completed"},"pvInfo":{"reclaimPolicy":"Delete","labels":null}},
{"pvcName":"empty","pvcNamespace":"v","backupMethod":"PodVolumeBackup","skipped":false,"result":"succeeded","pvbInfo":{"snapshotHandle":"7fd8","podNamespace":"v","Phase":"Completed"}},
{"pvcName":"bad","pvcNamespace":"v","snapshotDataMoved":false,"skipped":true,"skippedReason":"podvolume: opted out due to annotation in pod bad;volumeSnapshot: no applicable volumesnapshotter found;"},
{"pvcName":"policy","pvcNamespace":"v","skipped":true,"skippedReason":"any: skipped due to resource policy ;podvolume: opted out due to annotation in pod policy;"},
{"pvcName":"failed","pvcNamespace":"v","backupMethod":"PodVolumeBackup","skipped":false,"result":"failed","pvbInfo":{"Phase":"Failed"}},
{"pvcName":"noresult","pvcNamespace":"v","backupMethod":"CSISnapshot","skipped":false},
{"pvcName":"moved","pvcNamespace":"v","backupMethod":"CSISnapshot","snapshotDataMoved":true,"skipped":false,"result":"succeeded","snapshotDataMovementInfo":{"size":5368709120,"Phase":"Completed"},"csiSnapshotInfo":{"size":9999999999,"ReadyToUse":true}},
{"pvcName":"half","pvcNamespace":"v","backupMethod":"CSISnapshot","snapshotDataMoved":true,"skipped":false,"result":"succeeded","snapshotDataMovementInfo":{"size":1,"Phase":"Failed"}},
{"pvcName":"snap","pvcNamespace":"v","backupMethod":"CSISnapshot","skipped":false,"result":"succeeded","csiSnapshotInfo":{"size":7},"pvInfo":{"reclaimPolicy":"Retain"}},
{"pvcName":"odd","pvcNamespace":"v","backupMethod":"Telepathy","skipped":false,"result":"succeeded"},
{"pvcName":"shared","pvcNamespace":"v","skipped":true,"skippedReason":"x"},
{"pvcName":"shared","pvcNamespace":"v","backupMethod":"PodVolumeBackup","skipped":false,"result":"succeeded","pvbInfo":{"size":3,"Phase":""}},
{"pvcName":"shared","pvcNamespace":"v","skipped":true,"skippedReason":"y"},
{"backupMethod":"PodVolumeBackup","skipped":false,"result":"succeeded","pvbInfo":{"size":100,"volumeName":"scratch","podNamespace":"v","Phase":"Completed"}},
{"pvcName":"good","pvcNamespace":"elsewhere","backupMethod":"PodVolumeBackup","skipped":false,"result":"succeeded","pvbInfo":{"size":1000000}}
]"#;

#[test]
fn which_claims_have_data() {
    let volumes = read_volume_infos(VOLUMES.as_bytes(), &set(&["v"])).unwrap();
    let stored = |name: &str| match volumes.claim("v", name) {
        ClaimData::Stored { method, bytes, .. } => Some((method, bytes)),
        ClaimData::Nothing { .. } => None,
    };
    let reason = |name: &str| match volumes.claim("v", name) {
        ClaimData::Stored { .. } => "stored".to_owned(),
        ClaimData::Nothing { reason } => reason,
    };
    assert_eq!(stored("good"), Some(("PodVolumeBackup".to_owned(), 2_048_029)));
    assert_eq!(stored("empty"), Some(("PodVolumeBackup".to_owned(), 0)));
    assert_eq!(stored("moved"), Some(("CSISnapshot".to_owned(), 5_368_709_120)));
    assert_eq!(stored("snap"), Some(("CSISnapshot".to_owned(), 7)));
    assert_eq!(stored("shared"), Some(("PodVolumeBackup".to_owned(), 3)));
    assert_eq!(
        reason("bad"),
        "podvolume: opted out due to annotation in pod bad; volumeSnapshot: no applicable volumesnapshotter found"
    );
    assert_eq!(
        reason("policy"),
        "any: skipped due to resource policy; podvolume: opted out due to annotation in pod policy"
    );
    assert_eq!(reason("failed"), "the backup of its volume ended failed");
    assert_eq!(reason("noresult"), "the backup of its volume has no result");
    assert_eq!(reason("half"), "the transfer of its volume ended Failed");
    assert_eq!(
        reason("odd"),
        "the backup kept it by Telepathy, which is not known here"
    );
    assert_eq!(reason("never-bound"), "the backup has no entry for its volume");
    assert_eq!(volumes.total_bytes, Some(2_048_029 + 5_368_709_120 + 7 + 3 + 100));
    assert!(
        matches!(volumes.claim("v", "snap"), ClaimData::Stored { reclaim_policy: Some(policy), .. } if policy == "Retain")
    );
}

#[test]
fn a_backup_without_volumes_has_no_size() {
    for text in ["[]", "null\n", r#"[{"pvcName":"a","pvcNamespace":"v","skipped":true}]"#] {
        assert_eq!(
            read_volume_infos(text.as_bytes(), &set(&["v"])).unwrap().total_bytes,
            None
        );
    }
    assert!(read_volume_infos(b"{}".as_slice(), &set(&["v"])).is_err());
}

fn clipped(text: &str) -> String {
    let mut out = String::new();
    Clipped::new(text.as_bytes()).read_to_string(&mut out).unwrap();
    out
}

#[test]
fn long_strings_are_cut_between_characters() {
    let short = r#"{"a":"b\"\\\u00e4 ä","c":[1,"\ud83d\ude00"]}"#;
    assert_eq!(clipped(short), short);
    for unit in [
        "x",
        "ä",
        "€",
        r"\n",
        r"\u00e4",
        r"\ud83d\ude00",
        r#"\""#,
        r"\\",
        "x€\\ud83d\\ude00",
    ] {
        for shift in 0..14 {
            let long = format!(r#"["{}{}","next"]"#, "y".repeat(shift), unit.repeat(MAX_STRING));
            let cut = clipped(&long);
            assert!(cut.len() < MAX_STRING + 64, "{unit}: {}", cut.len());
            let read: Vec<String> =
                serde_json::from_str(&cut).unwrap_or_else(|error| panic!("{unit} {shift}: {error}"));
            let whole: Vec<String> = serde_json::from_str(&long).unwrap();
            assert!(whole[0].starts_with(&read[0]) && read[0].len() > 500, "{unit}");
            assert_eq!(read[1], "next");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    assert!(read_volume_infos("[".repeat(1000).as_bytes(), &set(&[])).is_err());
    assert_eq!(clipped(r#"["[[[["]"#), r#"["[[[["]"#);
}

#[test]
fn broken_characters_do_not_undo_the_limit() {
    for unit in [b"\x80".as_slice(), br"\ud83d"] {
        let text = [b"\"".as_slice(), &unit.repeat(MAX_STRING), b"\""].concat();
        let mut out = Vec::new();
        Clipped::new(text.as_slice()).read_to_end(&mut out).unwrap();
        assert!(out.len() < MAX_STRING + 64, "{}", out.len());
    }
}
