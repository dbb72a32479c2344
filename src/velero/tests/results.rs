use super::{Repeated, peak_memory};
use crate::velero::{Cause, Item, MAX_TEXTS, Results, made_by_the_cluster, noise, read_results};

fn read(text: &str) -> Results {
    read_results(text.as_bytes()).unwrap()
}

/// The results of a restore with one error under the sandbox `vt-sb2`.
fn error(text: &str) -> Results {
    let document = serde_json::json!({"errors": {"namespaces": {"vt-sb2": [text]}}, "warnings": {}});
    read(&document.to_string())
}

#[test]
fn empty_results() {
    for text in [
        r#"{"errors":{},"warnings":{}}"#,
        "{}",
        "null",
        r#"{"errors":null,"news":[1]}"#,
    ] {
        assert_eq!(read(text), Results::default());
    }
    for broken in [
        "",
        "[]",
        r#"{"errors":[]}"#,
        r#"{"errors":{"velero":{"a":1}}}"#,
        r#"{"errors":{"velero":[1]}}"#,
    ] {
        assert!(read_results(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn errors_are_sorted_by_whose_fault_they_are() {
    let cases = [
        (
            r#"error restoring services/vt-sb2/np: Service "np" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"#,
            Cause::Backup,
        ),
        (
            r#"error restoring pods/vt-sb6/sts-0: pods "sts-0" is forbidden: exceeded quota: kymaros-quota, requested: pods=1, used: pods=2, limited: pods=2"#,
            Cause::Quota,
        ),
        (
            r#"error restoring pods/vt-sb6/p: pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)"#,
            Cause::Fence,
        ),
        (
            r#"error restoring pods/vt-sb6/p: pods "p" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "m" must not include "NET_ADMIN" in securityContext.capabilities.add)"#,
            Cause::Fence,
        ),
        (
            r#"error restoring pods/vt-sb6/p: pods "p" is forbidden: violates PodSecurity "baseline:latest": forbidden sysctls (kernel.msgmax)"#,
            Cause::PodSecurity,
        ),
        (
            r#"error restoring pods/vt-sb6/p: pods "p" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-objects' with binding 'kymaros-fence-sandbox-objects' denied request: no host access in a sandbox"#,
            Cause::Fence,
        ),
        (
            r#"error restoring pods/vt-sb6/p: pods "p" is forbidden: ValidatingAdmissionPolicy 'company-rules' with binding 'b' denied request: no"#,
            Cause::Backup,
        ),
        (
            r#"error restoring configmaps/x/y: error creating namespace x: namespaces "x" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-reserved-names' with binding 'b' denied request: reserved"#,
            Cause::SandboxLost,
        ),
        (
            "timed out waiting for terminating namespace vt-sbp to disappear before restoring: context deadline exceeded",
            Cause::SandboxLost,
        ),
        (
            "error in applying patch error in applying JSON Patch error in remove for path: '/metadata/annotations/nothing': unable to remove nonexistent key: nothing: missing value",
            Cause::Modifier,
        ),
        (
            "error in test for path: '/spec/ports/7': Unable to access invalid index: 7: invalid index referenced",
            Cause::Modifier,
        ),
        (
            "restore execution failed: error downloading backup: error copying Backup to temp file: connect: connection refused",
            Cause::Provider,
        ),
        (
            "error to ensure backup repository default-x: backup repository is not ready",
            Cause::Storage,
        ),
        (
            "timed out waiting for all PodVolumeRestores to complete",
            Cause::Storage,
        ),
        ("pod volume restore canceled: x", Cause::Cancelled),
        // The store is gone, or the data is.
        (
            r#"pod volume restore failed: data path restore failed: Failed to run kopia restore: unable to get blob: Get "http://s3:9000/x": dial tcp 10.0.0.1:9000: connect: connection refused"#,
            Cause::Provider,
        ),
        (
            "pod volume restore failed: data path restore failed: Failed to run kopia restore: unable to open object: BLOB not found",
            Cause::Backup,
        ),
        // Of the cluster's own, not of the store.
        (
            r#"error restoring configmaps/vt-sb6/c: failed calling webhook "x": dial tcp 10.0.0.1:443: connect: connection refused"#,
            Cause::Backup,
        ),
        (
            "The BSL default is unavailable, cannot retrieve the backup",
            Cause::Provider,
        ),
        ("something nobody has seen before", Cause::Backup),
    ];
    for (text, cause) in cases {
        let errors = error(text).errors;
        assert_eq!(errors.problems[0].cause, cause, "{text}");
        assert_eq!((errors.total, errors.count(cause)), (1, 1), "{text}");
    }
}

#[test]
fn values_are_not_kept() {
    let told = r#"Widget "w" is invalid: spec.password: Invalid value: "…": too short"#;
    let texts = [format!(
        "error restoring widgets.example.com/sb/w: {}",
        told.replace('…', "hunter2")
    )];
    let document =
        serde_json::json!({"errors": {"namespaces": {"sb": texts}}, "warnings": {"namespaces": {"sb": texts}}});
    let results = read(&document.to_string());
    assert_eq!(results.errors.problems[0].message, told);
    assert!(results.warnings.texts[0].ends_with(told), "{:?}", results.warnings);
}

#[test]
fn an_error_names_its_object() {
    let item = |text: &str| error(text).errors.problems.remove(0);
    let problem = item("error restoring deployments.apps/vt-sb2/web: Deployment.apps \"web\" is invalid");
    assert_eq!(
        problem.item,
        Some(Item {
            resource: "deployments.apps".to_owned(),
            namespace: Some("vt-sb2".to_owned()),
            name: "web".to_owned()
        })
    );
    assert_eq!(problem.message, "Deployment.apps \"web\" is invalid");
    assert_eq!(problem.namespace.as_deref(), Some("vt-sb2"));
    let role = item("error restoring roles.rbac.authorization.k8s.io/vt-sb2/system:controller:x: no: really")
        .item
        .unwrap();
    assert_eq!(role.name, "system:controller:x");
    let volume = item(
        "error restoring persistentvolumes/pvc-1: ValidatingAdmissionPolicy 'kymaros-fence-source-volumes' with binding 'b' denied request: x",
    );
    assert_eq!(volume.policy.as_deref(), Some("kymaros-fence-source-volumes"));
    let volume = volume.item.unwrap();
    assert_eq!((volume.namespace, volume.name.as_str()), (None, "pvc-1"));
    assert_eq!(item("error restoring the whole thing/now: no").item, None);
    assert_eq!(item("error in applying patch no kind \"Ingress\"").item, None);
}

#[test]
fn a_backups_warning_and_error() {
    let text = " resource: /pods name: /notrunning message: /Skip pod volume data error: /pod is not in the expected status, name=notrunning";
    let problem = error(text).errors.problems.remove(0);
    assert_eq!(problem.item.as_ref().unwrap().resource, "pods");
    assert_eq!(problem.item.as_ref().unwrap().name, "notrunning");
    assert_eq!(problem.item.unwrap().namespace.as_deref(), Some("vt-sb2"));
    assert!(problem.message.starts_with("Skip pod volume data error: /pod is not"));
}

#[test]
fn noise_is_told_from_warnings() {
    let ca = "could not restore, ConfigMap:kube-root-ca.crt already exists. Warning: the in-cluster version is different than the backed-up version";
    assert!(noise(ca).is_some());
    assert!(noise(&ca.replace("kube-root-ca.crt", "settings")).is_none());
    assert!(noise(&ca.replace("ConfigMap", "Secret")).is_none());
    assert!(noise("kube-root-ca.crt is on fire").is_none());
    assert!(noise(&ca.replace("ConfigMap:kube-root-ca.crt", "ConfigMap \"kube-root-ca.crt\"")).is_some());
    assert!(noise(&ca.replace("ConfigMap:kube-root-ca.crt", "ConfigMap \"settings\"")).is_none());
    let class =
        "stat /tmp/485465262/resources/priorityclasses.scheduling.k8s.io/cluster/high.json: no such file or directory";
    assert!(noise(class).is_some());
    // Without its volume a claim cannot be filled.
    assert!(noise(&class.replace("priorityclasses.scheduling.k8s.io", "persistentvolumes")).is_none());
    assert!(noise(&class.replace("no such file or directory", "input/output error")).is_none());
    assert!(made_by_the_cluster("ServiceAccount", "default").is_some());
    assert!(made_by_the_cluster("ServiceAccount", "app").is_none());
    let results = read(
        &serde_json::json!({"errors": {}, "warnings": {"namespaces": {"a": [ca, "odd"], "b": [ca]}, "cluster": ["c"], "velero": ["v"]}})
            .to_string(),
    );
    assert_eq!((results.warnings.total, results.warnings.noise), (3, 2));
    assert_eq!(results.warnings.texts.len(), 3);
    assert_eq!(results.errors.total, 0);
}

#[test]
fn what_stood_in_the_sandbox_before_is_noise_and_named() {
    let exists = |what: &str| {
        format!(
            "could not restore, {what} already exists. Warning: the in-cluster version is different than the backed-up version"
        )
    };
    let bundle = exists("ConfigMap:ca-bundle");
    let results = read(
        &serde_json::json!({"warnings": {
            "namespaces": {"a": [bundle, exists("ConfigMap:kube-root-ca.crt"), exists("Secret \"pull\"")]},
            // Nothing that belongs to the cluster was made with the sandbox.
            "cluster": [exists("ClusterRole:admin")],
        }})
        .to_string(),
    );
    assert_eq!((results.warnings.total, results.warnings.noise), (1, 3));
    let named: Vec<_> = results
        .warnings
        .furnished
        .iter()
        .map(|f| (&*f.namespace, &*f.kind, &*f.name))
        .collect();
    assert_eq!(named, [("a", "ConfigMap", "ca-bundle"), ("a", "Secret", "pull")]);
}

#[test]
fn the_scopes_of_errors() {
    let results =
        read(r#"{"errors":{"velero":["v"],"cluster":["c"],"namespaces":{"a":["1","2"],"b":["3"]}},"warnings":{}}"#);
    let places: Vec<_> = results
        .errors
        .problems
        .iter()
        .map(|p| (p.namespace.as_deref(), p.message.as_str()))
        .collect();
    assert_eq!(
        places,
        [
            (None, "v"),
            (None, "c"),
            (Some("a"), "1"),
            (Some("a"), "2"),
            (Some("b"), "3")
        ]
    );
}

/// A document of about `bytes` bytes: one refusal again and again, and at the very end something else.
fn refusals(bytes: usize) -> (Repeated, usize) {
    let unit = r#""error restoring pods/sandbox-with-a-name/pod-with-some-name: pods \"p\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-objects' with binding 'b' denied request: no host access","#;
    let count = bytes / unit.len();
    let head = r#"{"errors":{"namespaces":{"sandbox":["#;
    (Repeated::new(head, unit, count, r#""last straw"]}}}"#), count)
}

#[test]
fn of_countless_errors_all_are_counted_and_few_are_kept() {
    let (document, count) = refusals(2_000_000);
    let errors = read_results(document).unwrap().errors;
    assert!(count > 8_000);
    assert_eq!((errors.total, errors.count(Cause::Fence)), (count + 1, count));
    // The one that is no refusal comes last, and is still seen, with its words.
    assert_eq!(errors.problems.last().unwrap().message, "last straw");
    let texts = errors
        .problems
        .iter()
        .filter(|problem| !problem.message.is_empty())
        .count();
    assert_eq!(texts, MAX_TEXTS + 1);
    assert_eq!(errors.problems.len(), 5_001);
    let named = errors.problems.iter().filter(|problem| problem.item.is_some()).count();
    assert_eq!(named, 5_000);
}

#[test]
fn of_one_endless_text_the_beginning_is_kept() {
    let document = Repeated::new(r#"{"warnings":{"velero":[""#, "0123456789", 300_000, r#""]}}"#);
    let warnings = read_results(document).unwrap().warnings;
    assert_eq!(warnings.total, 1);
    assert_eq!(warnings.texts[0].len(), 1024);
}

#[test]
#[ignore = "measures the memory of the whole process, so it must run alone"]
fn a_document_of_200_megabytes_costs_a_few() {
    // The code itself comes into memory when it is first used.
    read_results(refusals(10_000).0).unwrap();
    let before = peak_memory();
    let (document, count) = refusals(200_000_000);
    let results = read_results(document).unwrap();
    assert_eq!(results.errors.total, count + 1);
    let endless = Repeated::new(r#"{"warnings":{"velero":[""#, "0123456789", 20_000_000, r#""]}}"#);
    assert_eq!(read_results(endless).unwrap().warnings.total, 1);
    let grown = peak_memory() - before;
    assert!(grown < 6_000_000, "grew by {grown} bytes");
}
