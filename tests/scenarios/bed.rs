//! The cluster that scenarios are played on, by kubectl: what a user has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Where the runner is installed.
pub(crate) const SYSTEM: &str = "kymaros-system";

/// A watch that says nothing for so long is begun anew, for it may have died.
const SILENCE: Duration = Duration::from_secs(20);

/// A cluster, given by the environment and never found by chance.
#[derive(Debug)]
pub(crate) struct Bed {
    kubectl: String,
    kubeconfig: String,
    pub(crate) providers: Vec<String>,
}

impl Bed {
    /// From `KYMAROS_TEST_KUBECONFIG`, `KYMAROS_KUBECTL` and `KYMAROS_TEST_PROVIDERS`.
    #[expect(clippy::disallowed_methods, reason = "a test program's settings")]
    pub(crate) fn from_environment() -> Result<Self, String> {
        let kubeconfig = std::env::var("KYMAROS_TEST_KUBECONFIG").map_err(|_| {
            "scenarios need a cluster: KYMAROS_TEST_KUBECONFIG must name its kubeconfig (make test sets it)".to_owned()
        })?;
        let providers = std::env::var("KYMAROS_TEST_PROVIDERS").unwrap_or_else(|_| "velero".to_owned());
        Ok(Self {
            kubectl: std::env::var("KYMAROS_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned()),
            kubeconfig,
            providers: providers.split_whitespace().map(str::to_owned).collect(),
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(["--kubeconfig", &self.kubeconfig]).args(arguments);
        command
    }

    /// Runs kubectl; what it prints, or what it says of its failure.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<String, String> {
        run(self.command(arguments), input)
    }

    /// An object as JSON; `None` if it is not there.
    pub(crate) fn get(&self, namespace: &str, kind: &str, name: &str) -> Result<Option<Value>, String> {
        let text = self.kubectl(
            &["-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json"],
            None,
        )?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|e| e.to_string())
    }

    /// The objects of a list.
    pub(crate) fn list(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat(), None)?;
        let list: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Applies objects.
    pub(crate) fn apply(&self, objects: &str) -> Result<(), String> {
        self.kubectl(&["apply", "-f", "-"], Some(objects)).map(drop)
    }

    /// Watches one object until what `path` (a jsonpath) shows of it is `over`, and returns that. One kubectl that watches
    /// costs less than many that ask; with a dozen scenarios side by side that decides how fast they are.
    pub(crate) fn watch(
        &self,
        object: (&str, &str, &str),
        path: &str,
        limit: Duration,
        over: impl Fn(&str) -> bool,
    ) -> Result<String, String> {
        let (namespace, kind, name) = object;
        let format = format!("jsonpath={{{path}}}{{\"\\n\"}}");
        let deadline = Instant::now() + limit;
        loop {
            let mut child = self
                .command(&["-n", namespace, "get", kind, name, "-w", "-o", &format])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|e| e.to_string())?;
            let (lines, seen) = mpsc::channel();
            let output = child.stdout.take();
            // It ends with the process that it reads from.
            std::thread::spawn(move || {
                for line in output
                    .into_iter()
                    .flat_map(|o| BufReader::new(o).lines().map_while(Result::ok))
                {
                    if lines.send(line).is_err() {
                        break;
                    }
                }
            });
            let found = loop {
                match seen.recv_timeout(deadline.saturating_duration_since(Instant::now()).min(SILENCE)) {
                    Ok(line) if over(&line) => break Some(line),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            };
            drop(child.kill());
            drop(child.wait());
            match found {
                Some(line) => return Ok(line),
                None if Instant::now() >= deadline => {
                    return Err(format!("{kind}/{name}: not within {} s", limit.as_secs()));
                }
                // Not there yet, or the watch has broken.
                None => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    /// A shell that may use `k` for kubectl, and the scenario's names; not started yet.
    pub(crate) fn shell(&self, script: &str, names: &[(&str, &str)]) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!(". tests/scenarios/lib.sh\n{script}"));
        command
            .env("KUBECTL", &self.kubectl)
            .env("KUBECONFIG_OF_BED", &self.kubeconfig);
        command.envs(names.iter().copied());
        command
    }
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, input: Option<&str>) -> Result<String, String> {
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{command:?}: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.unwrap_or_default().as_bytes())
            .map_err(|e| e.to_string())?;
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} {}", text.trim(), error.trim()).trim().to_owned())
    }
}
