//! Every field of a pod that the lists in `assessed` call refused or limited, set by the provider in a sandbox: in containers of
//! all three sorts, at the level privileged, where nobody but the fence answers, and at baseline, where Pod Security may.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::ask::{Answer, Target, Way, ask};
use crate::assessed::{Verdict, list};
use crate::pod_table::{CONTAINERS, PODS, VOLUMES, capabilities, objects};
use crate::support::cases::{make, sandbox, with};
use crate::support::scene::{Scene, closed};
use crate::support::{apply_text, kubectl_in_cluster, root};

/// One request: what it is about, who has to refuse it, and the pod (or the change of the pod's ephemeral containers).
struct Try {
    about: String,
    policy: &'static str,
    /// Where the test and the installation let a pod be loose, this is accepted.
    loosened: bool,
    ephemeral: bool,
    body: Value,
}

/// A pod that is accepted as it is. Fields that a neutraliser would set are set.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "priorityClassName": "kymaros-drill", "preemptionPolicy": "Never",
            "containers": [{"name": "c", "image": "registry.local/pause:1"}],
        },
    })
}

/// All requests of the tables.
fn tries() -> Vec<Try> {
    let mut tries = Vec::new();
    let mut one = |about: String, policy, loosened, body| {
        tries.push(Try {
            about,
            policy,
            loosened,
            ephemeral: false,
            body,
        });
    };
    for (field, policy, loosened, change) in PODS {
        one(
            (*field).to_owned(),
            *policy,
            *loosened,
            with(&pod("try"), objects(change)),
        );
    }
    for (field, source) in VOLUMES {
        let volume = with(&json!({"name": "v"}), objects(source));
        let change = json!({"spec": {"volumes": [volume]}});
        one(
            format!("Volume {field}"),
            "sandbox-pods",
            false,
            with(&pod("try"), change),
        );
    }
    let mut containers: Vec<(String, &'static str, bool, Value, Value)> = CONTAINERS
        .iter()
        .map(|(field, policy, loosened, change, around)| {
            (
                (*field).to_owned(),
                *policy,
                *loosened,
                objects(change),
                objects(around),
            )
        })
        .collect();
    for capability in capabilities() {
        let change = json!({"securityContext": {"capabilities": {"add": [capability]}}});
        containers.push((
            format!("Capabilities add {capability}"),
            "sandbox-pods",
            false,
            change,
            json!({}),
        ));
    }
    for (field, policy, loosened, change, around) in containers {
        let container = with(&json!({"name": "d", "image": "registry.local/pause:1"}), change.clone());
        let around = with(&pod("try"), around);
        let mut second = around.clone();
        second["spec"]["containers"]
            .as_array_mut()
            .expect("containers")
            .push(container.clone());
        one(format!("{field}, second container"), policy, loosened, second);
        // Only a sidecar may have probes and hooks.
        let sidecar = with(&container, json!({"restartPolicy": "Always"}));
        let init = with(&around, json!({"spec": {"initContainers": [sidecar]}}));
        one(format!("{field}, init container"), policy, loosened, init);
    }
    // An ephemeral container may have neither ports nor probes nor hooks, says the API server; the pod that it comes to may not be
    // changed around it.
    for (field, policy, loosened, change, around) in CONTAINERS {
        let context = field.starts_with("SecurityContext")
            || field.starts_with("Windows")
            || field.contains("Profile")
            || field.starts_with("SELinux");
        if context && around.is_empty() {
            let container = with(
                &json!({"name": "e", "image": "registry.local/pause:1"}),
                objects(change),
            );
            tries.push(Try {
                about: format!("{field}, ephemeral container"),
                policy,
                loosened: *loosened,
                ephemeral: true,
                body: json!({"spec": {"ephemeralContainers": [container]}}),
            });
        }
    }
    for capability in capabilities() {
        let context = json!({"capabilities": {"add": [capability]}});
        tries.push(Try {
            about: format!("Capabilities add {capability}, ephemeral container"),
            policy: "sandbox-pods",
            loosened: false,
            ephemeral: true,
            body: json!({"spec": {"ephemeralContainers": [
                {"name": "e", "image": "registry.local/pause:1", "securityContext": context},
            ]}}),
        });
    }
    tries
}

/// What the provider is answered, as a dry run.
async fn answer(scene: &Scene, namespace: &str, attempt: &Try) -> Answer {
    let (resource, name, way) = if attempt.ephemeral {
        ("pods/ephemeralcontainers", "running", Way::StrategicPatch)
    } else {
        ("pods", "try", Way::Create)
    };
    let target = Target {
        group: "core",
        version: "v1",
        resource,
        namespace: Some(namespace),
        name,
    };
    ask(&scene.provider, way, &target, &attempt.body, true).await
}

/// Asks all of them in one namespace; `judge` says what is wrong with an answer.
async fn ask_all(scene: &Scene, namespace: &str, judge: impl Fn(&Try, &Answer) -> bool) -> Vec<String> {
    let tries = tries();
    let answers: Vec<(&Try, Answer)> = futures::stream::iter(&tries)
        .map(async |attempt| (attempt, answer(scene, namespace, attempt).await))
        .buffer_unordered(8)
        .collect()
        .await;
    assert!(answers.len() > 170, "only {} requests", answers.len());
    answers
        .iter()
        .filter(|(attempt, answer)| !judge(attempt, answer))
        .map(|(attempt, answer)| format!("{} in {namespace}: {answer:?}", attempt.about))
        .collect()
}

/// A sandbox with a pod in it that runs, for ephemeral containers to come to.
async fn with_a_pod(scene: &Scene, namespace: &str) {
    let mut running = pod("running");
    running["metadata"]["namespace"] = json!(namespace);
    make(&scene.admin, &[running]).await;
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces and pods that nobody has to start)"]
async fn what_reaches_the_node_is_refused_at_every_level() {
    let scene = Scene::open().await;
    with_a_pod(&scene, &scene.sandbox).await;
    let mut failed = ask_all(&scene, &scene.sandbox, |attempt, answer| {
        *answer == Answer::Policy(attempt.policy.to_owned())
    })
    .await;
    let baseline = format!("base-kymaros-{}", scene.run);
    let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    make(&scene.runner, &[with(&sandbox(&baseline), level)]).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": baseline}});
    make(&scene.admin, &[account, closed(&baseline)]).await;
    let plain = Try {
        about: String::new(),
        policy: "",
        loosened: false,
        ephemeral: false,
        body: pod("try"),
    };
    let mut last = answer(&scene, &baseline, &plain).await;
    for _ in 0..100 {
        if last == Answer::Accepted {
            break;
        }
        // Admission learns of a NetworkPolicy a moment after it was made.
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = answer(&scene, &baseline, &plain).await;
    }
    assert_eq!(last, Answer::Accepted, "a plain pod");
    with_a_pod(&scene, &baseline).await;
    failed.extend(
        ask_all(&scene, &baseline, |attempt, answer| match answer {
            Answer::Policy(policy) => policy == attempt.policy,
            Answer::Other(message) => message.contains("violates PodSecurity \"baseline"),
            _ => false,
        })
        .await,
    );
    kubectl_in_cluster(&["delete", "namespace", &baseline, "--wait=false"], None).expect("it goes");
    scene.close().await;
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

/// Where the test and the installation both say so, the kernel's own protections may be loosened, and nothing else. Tried
/// on copies of the policies, because a change of these would be everybody's.
#[tokio::test]
#[ignore = "needs a cluster (installs the base and copies of two policies, makes and deletes namespaces)"]
async fn what_an_installation_may_loosen_is_only_that() {
    let scene = Scene::open().await;
    let loose = format!("fence-loose-{}", scene.run);
    let text = fs::read_to_string(root().join("manifests/fence/sandbox-pods.yaml")).expect("the policy");
    let said = "- name: privilegedSandboxes\n    expression: \"false\"";
    assert!(text.contains(said), "what the installation says stands in the policy");
    let net = fs::read_to_string(root().join("manifests/fence/sandbox-affinity.yaml")).expect("the policy");
    let copies = [
        text.replace("kymaros-fence-", "kymaros-fence-loose-"),
        net.replace("kymaros-fence-", "kymaros-fence-twin-"),
    ]
    .join("---\n")
    .replace(said, &said.replace("false", "true"))
    .replace("kymaros.io/managed-by: kymaros\n", "kymaros-tests: loose\n");
    apply_text(&copies);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": loose, "labels": {"kymaros-tests": "loose", "pod-security.kubernetes.io/enforce": "privileged"},
    }});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": loose}});
    make(&scene.admin, &[namespace, account]).await;
    let trial = |change: Value| Try {
        about: String::new(),
        policy: "",
        loosened: false,
        ephemeral: false,
        body: with(&pod("try"), change),
    };
    let host = trial(json!({"spec": {"hostNetwork": true}}));
    let wanted = Answer::Policy("loose-sandbox-pods".to_owned());
    let everywhere = json!({"labelSelector": {}, "topologyKey": "a", "namespaceSelector": {}});
    let affine = trial(json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [everywhere],
    }}}}));
    let narrow = Answer::Policy("twin-sandbox-affinity".to_owned());
    for _ in 0..100 {
        if answer(&scene, &loose, &host).await == wanted && answer(&scene, &loose, &affine).await == narrow {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    with_a_pod(&scene, &loose).await;
    let mut failed = ask_all(&scene, &loose, |attempt, answer| {
        // The other policies have no copy here.
        attempt.policy != "sandbox-pods"
            || *answer
                == if attempt.loosened {
                    Answer::Accepted
                } else {
                    wanted.clone()
                }
    })
    .await;
    // No neutraliser takes these off here, which leaves them to the net.
    for term in [
        json!({"labelSelector": {}, "topologyKey": "a", "namespaces": [scene.production]}),
        json!({"labelSelector": {}, "topologyKey": "a", "namespaces": [scene.sandbox, scene.production]}),
        json!({"labelSelector": {}, "topologyKey": "a", "namespaceSelector": {}}),
    ] {
        let terms = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "b"}, term]});
        let answer = answer(
            &scene,
            &loose,
            &trial(json!({"spec": {"affinity": {"podAntiAffinity": terms}}})),
        )
        .await;
        if answer != narrow {
            failed.push(format!("{terms}: {answer:?}"));
        }
    }
    kubectl_in_cluster(&["delete", "namespace", &loose, "--wait=false"], None).expect("it goes");
    scene.close().await;
    assert!(failed.is_empty(), "{}:\n{}", failed.len(), failed.join("\n"));
}

/// A field that is called refused, or limited, without a request that shows it would only be said to be.
#[test]
fn every_field_that_is_refused_or_limited_is_tried() {
    let tried: BTreeSet<(String, String)> = PODS
        .iter()
        .map(|row| row.0)
        .chain(CONTAINERS.iter().map(|row| row.0))
        .map(str::to_owned)
        .chain(VOLUMES.iter().map(|(field, _)| format!("Volume {field}")))
        .chain(["Capabilities add".to_owned()])
        .map(|about| {
            let mut words = about.split(' ').map(str::to_owned);
            (words.next().unwrap_or_default(), words.next().unwrap_or_default())
        })
        .collect();
    let mut missing = Vec::new();
    let mut known = BTreeSet::new();
    for file in ["pod.txt", "pod-volumes.txt"] {
        for (field, verdict) in list(file).fields {
            if matches!(verdict, Verdict::Refused(_) | Verdict::Limited(_)) && !tried.contains(&field) {
                missing.push(format!("{file}: {} {} is not tried", field.0, field.1));
            }
            known.insert(field);
        }
    }
    for field in tried.difference(&known) {
        missing.push(format!("{} {} is tried, and in no list", field.0, field.1));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
