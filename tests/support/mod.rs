//! What the tests against the manifests and against a real API server share: kubectl, the kubeconfig, the installation.

#![allow(dead_code, reason = "every test crate compiles this module and uses a part of it")]
#![allow(clippy::panic, reason = "a test that cannot go on says why")]

pub(crate) mod cases;
pub(crate) mod scene;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

/// The runner's identity, as the policies name it.
pub(crate) const RUNNER: &str = "system:serviceaccount:kymaros-system:kymaros-runner";
/// A network plugin's identity.
pub(crate) const CNI: &str = "system:serviceaccount:kube-system:cilium";
/// The provider's identity.
pub(crate) const PROVIDER: &str = "system:serviceaccount:velero:velero";

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The kubectl to use: `KYMAROS_KUBECTL`, or the one on the path.
fn kubectl_program() -> OsString {
    std::env::var_os("KYMAROS_KUBECTL").unwrap_or_else(|| OsString::from("kubectl"))
}

/// Runs kubectl without a cluster and returns what it printed.
pub(crate) fn kubectl(args: &[&str]) -> Result<String, String> {
    run(Command::new(kubectl_program()).args(args), None)
}

/// The cluster that the tests may change. They ask for it by name, so that nobody's own cluster is taken by accident.
pub(crate) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("KYMAROS_TEST_KUBECONFIG")
        .expect("set KYMAROS_TEST_KUBECONFIG to the kubeconfig of a throw-away cluster");
    PathBuf::from(path)
}

/// Runs kubectl against the test cluster.
pub(crate) fn kubectl_in_cluster(args: &[&str], stdin: Option<&str>) -> Result<String, String> {
    run(
        Command::new(kubectl_program())
            .arg("--kubeconfig")
            .arg(kubeconfig())
            .args(args),
        stdin,
    )
}

fn run(command: &mut Command, stdin: Option<&str>) -> Result<String, String> {
    let mut child = command
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            format!("{command:?} does not start: {error}; set KYMAROS_KUBECTL or put kubectl on the PATH")
        })?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text.as_bytes())
            .map_err(|error| format!("{command:?}: {error}"))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(out)
    } else {
        Err(format!(
            "{command:?} failed: {out}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// A client of the test cluster: its administrator, or somebody that the administrator stands in for.
pub(crate) async fn client(stand_in_for: Option<&str>) -> Client {
    let file = Kubeconfig::read_from(kubeconfig()).expect("KYMAROS_TEST_KUBECONFIG is a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    config.auth_info.impersonate = stand_in_for.map(str::to_owned);
    // The process-wide provider may be set already, by another test of the same process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(config).expect("a client")
}

/// Applies the shipped kinds and base, as an installation would, after what they need to find in a cluster.
///
/// A cluster that has the provider's kinds keeps them; a bare API server gets minimal ones.
pub(crate) fn apply_base() {
    for (crd, fixture) in [
        ("restores.velero.io", "velero-crds.yaml"),
        ("volumesnapshotcontents.snapshot.storage.k8s.io", "snapshot-crds.yaml"),
        ("ciliumendpoints.cilium.io", "foreign-crds.yaml"),
    ] {
        if kubectl_in_cluster(&["get", "crd", crd], None).is_err() {
            apply_file(&root().join("tests/fixtures").join(fixture));
        }
    }
    if kubectl_in_cluster(&["get", "namespace", "velero"], None).is_err() {
        kubectl_in_cluster(&["create", "namespace", "velero"], None).expect("the provider's namespace");
    }
    // Opt-in parts of an earlier installation, of the scenarios for example.
    let parts = ["exec", "header-secrets", "parcels"].map(|part| format!("clusterrole/kymaros-sandbox-{part}"));
    let args: Vec<&str> = ["delete", "--ignore-not-found"]
        .into_iter()
        .chain(parts.iter().map(String::as_str))
        .collect();
    kubectl_in_cluster(&args, None).expect("the opt-in parts are gone");
    for kustomization in ["kustomize/crds", "kustomize/base"] {
        apply(&["-k", &root().join(kustomization).to_string_lossy()], None);
    }
    kubectl_in_cluster(
        &["wait", "--for=condition=Established", "--timeout=20s", "crd", "--all"],
        None,
    )
    .expect("the kinds are served");
}

/// Applies one file.
pub(crate) fn apply_file(path: &Path) {
    apply(&["-f", &path.to_string_lossy()], None);
}

/// Applies one object.
pub(crate) fn apply_object(object: &serde_json::Value) {
    apply(&["-f", "-"], Some(&object.to_string()));
}

/// Applies several objects.
pub(crate) fn apply_text(objects: &str) {
    apply(&["-f", "-"], Some(objects));
}

fn apply(what: &[&str], stdin: Option<&str>) {
    let args: Vec<&str> = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=kymaros-tests",
    ]
    .iter()
    .chain(what)
    .copied()
    .collect();
    kubectl_in_cluster(&args, stdin).expect("applied");
}
