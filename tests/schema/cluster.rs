//! A real API server by way of the real `kubectl`, and tables of good and bad objects.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use serde_json::{Value, json};

/// A namespace of one test, removed with it.
pub(crate) struct Cluster {
    kubeconfig: String,
    pub(crate) namespace: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person names the cluster of these tests by the environment"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn kubectl_program() -> String {
    variable("KYMAROS_KUBECTL").unwrap_or_else(|| "kubectl".to_owned())
}

impl Cluster {
    /// Installs the definitions once and makes a namespace named after the test.
    pub(crate) fn open(test: &str) -> Self {
        static INSTALL: Once = Once::new();
        let kubeconfig = variable("KYMAROS_TEST_KUBECONFIG")
            .expect("KYMAROS_TEST_KUBECONFIG must name the kubeconfig of a cluster for tests; no other is ever used");
        let namespace = format!("kymaros-schema-{test}-{}", std::process::id());
        let cluster = Self { kubeconfig, namespace };
        INSTALL.call_once_force(|_| {
            let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/crds");
            cluster.ok(&["apply", "--server-side", "--force-conflicts", "-k", crds], None);
            for kind in ["restoretests", "healthcheckpolicies", "restorereports"] {
                let name = format!("crd/{kind}.restore.kymaros.io");
                cluster.ok(&["wait", "--for=condition=Established", "--timeout=30s", &name], None);
            }
        });
        cluster.ok(&["create", "namespace", &cluster.namespace], None);
        cluster
    }

    /// Runs kubectl in the test's namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: Option<&Value>) -> Output {
        let mut child = Command::new(kubectl_program())
            .args(["--kubeconfig", &self.kubeconfig, "-n", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl must be in PATH or named by KYMAROS_KUBECTL");
        let mut stdin = child.stdin.take().unwrap();
        if let Some(input) = input {
            stdin.write_all(input.to_string().as_bytes()).unwrap();
        }
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Runs kubectl, which must succeed, and returns what it prints.
    pub(crate) fn ok(&self, arguments: &[&str], input: Option<&Value>) -> String {
        let output = self.kubectl(arguments, input);
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs kubectl, which must fail, and returns what it complains of.
    pub(crate) fn refused(&self, arguments: &[&str], input: Option<&Value>) -> String {
        let output = self.kubectl(arguments, input);
        assert!(
            !output.status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs a command line as a person would type it.
    pub(crate) fn shell(&self, line: &str) -> String {
        let script = format!("kubectl() {{ command \"$KUBECTL\" --kubeconfig \"$CONFIG\" \"$@\"; }}\n{line}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("KUBECTL", kubectl_program())
            .env("CONFIG", &self.kubeconfig)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The object as the API server would store it.
    pub(crate) fn dry_run(&self, object: &Value) -> Value {
        let stored = self.ok(&["apply", "--dry-run=server", "-o", "json", "-f", "-"], Some(object));
        serde_json::from_str(&stored).unwrap()
    }

    /// Puts every row to the server: the bad half must be refused in the row's words, the good half accepted.
    pub(crate) fn judge(&self, base: &Value, rows: &[Row]) {
        self.dry_run(base);
        let mut problems = Vec::new();
        for row in rows {
            let (mut bad, mut good) = (base.clone(), base.clone());
            merge(&mut bad, &row.bad);
            merge(&mut good, &row.good);
            let apply = ["apply", "--dry-run=server", "-f", "-"];
            let answer = self.kubectl(&apply, Some(&bad));
            let said = String::from_utf8_lossy(&answer.stderr);
            if answer.status.success() {
                problems.push(format!("accepted: {}", row.bad));
            } else if !said.contains(row.says) {
                problems.push(format!("{}\n  should say: {}\n  but said: {said}", row.bad, row.says));
            }
            let answer = self.kubectl(&apply, Some(&good));
            if !answer.status.success() {
                problems.push(format!(
                    "refused: {}: {}",
                    row.good,
                    String::from_utf8_lossy(&answer.stderr)
                ));
            }
        }
        assert!(
            problems.is_empty(),
            "{} of {}:\n{}",
            problems.len(),
            rows.len(),
            problems.join("\n")
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"], None);
    }
}

/// A mistake, what `kubectl apply` must say of it, and the same thing done right; both as merge patches of a good object.
pub(crate) struct Row {
    bad: Value,
    says: &'static str,
    good: Value,
}

/// A row about the field at `path` (dots between names) of the object.
pub(crate) fn row(path: &str, bad: Value, says: &'static str, good: Value) -> Row {
    let at = |value: Value| path.rsplit('.').fold(value, |value, name| json!({ name: value }));
    Row {
        bad: at(bad),
        says,
        good: at(good),
    }
}

/// Applies a JSON merge patch.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// A file of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
