//! `exec`: a command in a ready pod of the sandbox ends as expected.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use regex::bytes::Regex;
use tokio::time::{sleep, timeout};

use super::{Context, PAUSE, Verdict, locate, pattern, pods, text};
use crate::api::{Check, ExecCheck};
use crate::cluster::{Ended, Error, Objects, Output};

/// How much of each output stream is kept; the rest is read and thrown away, so that the command can go on.
const KEPT: usize = 64 << 10;
/// The optional part of the installation that lets the runner execute commands in sandboxes.
const COMPONENT: &str = "sandbox-exec";
/// Which container `kubectl exec` takes.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Runs the check.
pub(super) async fn run(context: &Context<'_>, check: &Check, spec: &ExecCheck) -> Verdict {
    let expect = Expect::new(spec)?;
    let sandbox = locate::by_pods(context, check.namespace.as_deref(), &spec.pod_selector).await?;
    let listed = pods::list(context, &sandbox.name, &spec.pod_selector)
        .await
        .map_err(|error| context.told(&error))?;
    let pod = first_ready(&listed).ok_or_else(|| none_ready(&listed, &spec.pod_selector))?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let container = container(pod, spec.container.as_deref())?;
    context.note(Some(format!("the command in pod {name} was still running")));
    let pods = context.cluster.namespaced::<Pod>(&sandbox.name);
    match timeout(spec.timeout.0, exec(context, &pods, name, container, &spec.command)).await {
        Ok(Ok(output)) => {
            if output.ended == Ended::Lost {
                look_again(context, &pods, pod, container).await;
            }
            expect.evaluate(name, &output, check.report_output)
        }
        Ok(Err(error)) if error.is_forbidden() => Err(format!(
            "commands may not be executed in pod {name}; add the component {COMPONENT} ({error})"
        )),
        Ok(Err(error)) => {
            let why = context.told(&error);
            Err(format!("the command could not be started in pod {name}: {why}"))
        }
        Err(_) => Err(format!("the command in pod {name} did not end within {}", spec.timeout)),
    }
}

/// Runs the command. It is asked for again only after an answer that says that it was not run: what became of a request without
/// an answer nobody knows, and a command need not bear being run twice.
async fn exec(
    context: &Context<'_>,
    pods: &Objects<Pod>,
    pod: &str,
    container: &str,
    command: &[String],
) -> Result<Output, Error> {
    loop {
        match pods.exec(pod, container, command, KEPT).await {
            Err(error) if matches!(error.code(), Some(429 | 500 | 503)) => {
                context.told(&error);
                sleep(PAUSE).await;
            }
            other => {
                context.unanswered();
                return other;
            }
        }
    }
}

/// A connection that broke although the container runs on was broken by something in between, and then it is not known what the
/// command would have come to.
async fn look_again(context: &Context<'_>, pods: &Objects<Pod>, before: &Pod, container: &str) {
    let id = |pod: &Pod| {
        let all = pod.status.as_ref()?.container_statuses.as_ref()?;
        let one = all.iter().find(|status| status.name == container)?;
        let running = one.state.as_ref()?.running.is_some();
        one.container_id.clone().filter(|_| running)
    };
    let name = before.metadata.name.as_deref().unwrap_or_default();
    match pods.get_opt(name).await {
        Ok(Some(now)) if now.metadata.deletion_timestamp.is_none() && id(&now).is_some() && id(&now) == id(before) => {
            context.not_answered(&format!(
                "connection lost while the command ran in pod {name}, which is well"
            ));
        }
        Ok(_) => {}
        Err(error) => drop(context.told(&error)),
    }
}

/// The first ready pod by name.
fn first_ready(pods: &[Pod]) -> Option<&Pod> {
    pods.iter()
        .filter(|pod| pods::is_ready(pod))
        .min_by_key(|pod| pod.metadata.name.as_deref())
}

/// Why there is no pod to run in.
fn none_ready(pods: &[Pod], labels: &BTreeMap<String, String>) -> String {
    let what = pods::describe(labels);
    match pods.iter().filter(|pod| pods::is_live(pod)).count() {
        0 => format!("no {what} in the sandbox"),
        live => format!("none of the {live} {what} is ready"),
    }
}

/// The container to run in, as `kubectl exec` would choose it.
fn container<'a>(pod: &'a Pod, wanted: Option<&str>) -> Result<&'a str, String> {
    let names: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|one| one.name.as_str())
        .collect();
    let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    if let Some(wanted) = wanted {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        return find(wanted).ok_or_else(|| {
            format!(
                "pod {pod} has no container {wanted}; its containers: {}",
                names.join(", ")
            )
        });
    }
    let annotated = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(DEFAULT_CONTAINER));
    annotated
        .and_then(|name| find(name))
        .or(names.first().copied())
        .ok_or_else(|| "the pod has no container".to_owned())
}

/// What the command must come to.
struct Expect {
    code: i32,
    output: Option<Regex>,
}

impl Expect {
    fn new(spec: &ExecCheck) -> Result<Self, String> {
        let output = spec
            .output_matches
            .as_deref()
            .map(|regex| pattern("outputMatches", regex))
            .transpose()?;
        Ok(Self {
            code: spec.success_exit_code,
            output,
        })
    }

    /// Judges how the command ended.
    fn evaluate(&self, pod: &str, output: &Output, tell: bool) -> Verdict {
        let said = text::tail(&output.stdout, tell);
        let code = match &output.ended {
            Ended::Code(code) => *code,
            Ended::Refused(message) => {
                // The node's words repeat the command, which may hold a password.
                let message = message.trim_start_matches("Internal error occurred: ");
                let why = text::tail(message.as_bytes(), tell);
                return Err(format!("the command could not be run in pod {pod}{why}"));
            }
            Ended::Lost => return Err(format!("connection lost while the command ran in pod {pod}")),
        };
        let seen = format!("exit code {code} from pod {pod}");
        if code != self.code {
            let complaint = text::tail(&output.stderr, tell);
            let complaint = if complaint.is_empty() { said } else { complaint };
            return Err(format!("{seen}, expected {}{complaint}", self.code));
        }
        match &self.output {
            None => Ok(format!("{seen}{said}")),
            // Commands end their output with a newline that nobody means.
            Some(regex) if regex.is_match(output.stdout.trim_ascii_end()) => {
                Ok(format!("{seen}, its output matches{said}"))
            }
            Some(_) => Err(format!("{seen}, but its output does not match{said}")),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a table of them reads better so"
)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn expect(code: i32, output: Option<&str>) -> Expect {
        Expect {
            code,
            output: output.map(|regex| Regex::new(regex).unwrap()),
        }
    }

    fn output(ended: Ended, stdout: &str, stderr: &str) -> Output {
        Output {
            ended,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn the_exit_code_decides() {
        let good = output(Ended::Code(0), "accepting connections\n", "");
        assert_eq!(
            expect(0, None).evaluate("db-0", &good, true),
            Ok("exit code 0 from pod db-0: accepting connections".into())
        );
        assert_eq!(
            expect(0, None).evaluate("db-0", &good, false),
            Ok("exit code 0 from pod db-0".into())
        );
        let bad = output(Ended::Code(2), "out", "no such table\n");
        assert_eq!(
            expect(0, None).evaluate("db-0", &bad, true),
            Err("exit code 2 from pod db-0, expected 0: no such table".into())
        );
        assert!(expect(2, None).evaluate("db-0", &bad, true).is_ok());
        let quiet = output(Ended::Code(1), "only out", "");
        assert_eq!(
            expect(0, None).evaluate("db-0", &quiet, true),
            Err("exit code 1 from pod db-0, expected 0: only out".into())
        );
        assert_eq!(
            expect(0, None).evaluate("db-0", &quiet, false),
            Err("exit code 1 from pod db-0, expected 0".into())
        );
    }

    #[test]
    fn the_standard_output_must_match() {
        let rows = output(Ended::Code(0), "42 rows", "warning: rows");
        assert_eq!(
            expect(0, Some(r"^\d+ rows$")).evaluate("db-0", &rows, true),
            Ok("exit code 0 from pod db-0, its output matches: 42 rows".into())
        );
        assert_eq!(
            expect(0, Some("warning")).evaluate("db-0", &rows, true),
            Err("exit code 0 from pod db-0, but its output does not match: 42 rows".into()),
        );
    }

    #[test]
    fn a_lost_connection_is_no_exit_code() {
        let lost = output(Ended::Lost, "", "");
        assert_eq!(
            expect(0, None).evaluate("db-0", &lost, true),
            Err("connection lost while the command ran in pod db-0".into())
        );
        let refused = output(Ended::Refused("exec: \"pg\": not found".into()), "", "");
        assert_eq!(
            expect(0, None).evaluate("db-0", &refused, true),
            Err("the command could not be run in pod db-0: exec: \"pg\": not found".into()),
        );
        assert_eq!(
            expect(0, None).evaluate("db-0", &refused, false),
            Err("the command could not be run in pod db-0".into())
        );
    }

    fn pod(name: &str, ready: bool, annotations: Value) -> Pod {
        from_value(json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "containers": [{ "name": "proxy" }, { "name": "db" }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_first_ready_pod_is_taken() {
        let pods = [
            pod("db-2", true, json!({})),
            pod("db-0", false, json!({})),
            pod("db-1", true, json!({})),
        ];
        assert_eq!(first_ready(&pods).unwrap().metadata.name.as_deref(), Some("db-1"));
        assert!(first_ready(&pods[1..2]).is_none());
    }

    #[test]
    fn the_container_is_the_one_kubectl_would_take() {
        let plain = pod("db-0", true, json!({}));
        assert_eq!(container(&plain, None), Ok("proxy"));
        assert_eq!(container(&plain, Some("db")), Ok("db"));
        assert_eq!(
            container(&plain, Some("web")),
            Err("pod db-0 has no container web; its containers: proxy, db".into())
        );
        assert_eq!(
            container(&pod("db-0", true, json!({ DEFAULT_CONTAINER: "db" })), None),
            Ok("db")
        );
        assert_eq!(
            container(&pod("db-0", true, json!({ DEFAULT_CONTAINER: "gone" })), None),
            Ok("proxy")
        );
    }
}
