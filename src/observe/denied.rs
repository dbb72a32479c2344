//! What a pod that does not come up may be waiting for although the sandbox denies it. Pure.
//!
//! Nobody can see from outside what a process waits for. What can be seen is what its containers are told: their commands, their
//! environment, and the `ConfigMaps` they read. So these are guesses, and words; no verdict hangs on them. Only containers that ran are
//! looked at, and if an init container is in the way, that one alone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use crate::facts::Denied;

/// The API, as programs, scripts and tools name it.
const API: [&str; 6] = [
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_PORT",
    "kubernetes.default",
    "/run/secrets/kubernetes.io/serviceaccount",
    "kubectl",
    "https://kubernetes",
];
/// Ways to ask for one's own full name, which the node writes into `/etc/hosts`.
const OWN_NAME: [&str; 5] = [
    "hostname -f",
    "hostname --fqdn",
    "hostname --long",
    "dnsdomainname",
    "getfqdn",
];
/// Most addresses told of one pod.
const ADDRESSES: usize = 3;

/// A text that a container reads, and where it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Told {
    /// E.g. `env DB_HOST` or `ConfigMap/scripts start`.
    pub(super) place: String,
    /// The text.
    pub(super) text: String,
}

/// The containers of a pod that keep it from being ready and that have run; those of a kind: init containers, or the others.
pub(super) fn culprits(pod: &Pod) -> (Vec<&Container>, bool) {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return (Vec::new(), false);
    };
    let of = |containers: &'_ [Container],
              statuses: Option<&Vec<ContainerStatus>>,
              done: fn(&Container, &ContainerStatus) -> bool| {
        let is_culprit = |container: &&Container| {
            let own = statuses
                .into_iter()
                .flatten()
                .find(|status| status.name == container.name);
            own.is_some_and(|own| has_run(own) && !done(container, own))
        };
        let names = containers
            .iter()
            .filter(is_culprit)
            .map(|container| container.name.clone());
        names.collect::<BTreeSet<String>>()
    };
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let in_the_way = of(init, status.init_container_statuses.as_ref(), |container, status| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        // One that runs beside the others has done its part when it has started; of any other that says only that it runs.
        let beside = container.restart_policy.as_deref() == Some("Always");
        ended.is_some_and(|ended| ended.exit_code == 0) || (beside && (status.started == Some(true) || status.ready))
    });
    if !in_the_way.is_empty() {
        return (init.iter().filter(|one| in_the_way.contains(&one.name)).collect(), true);
    }
    let main = of(&spec.containers, status.container_statuses.as_ref(), |_, status| {
        status.ready
    });
    (
        spec.containers.iter().filter(|one| main.contains(&one.name)).collect(),
        false,
    )
}

fn has_run(status: &ContainerStatus) -> bool {
    let ran = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        state
            .as_ref()
            .is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    ran(&status.state) || ran(&status.last_state)
}

/// What is written in a container's own spec.
pub(super) fn of_container(container: &Container) -> Vec<Told> {
    let words = [("command", &container.command), ("args", &container.args)]
        .into_iter()
        .filter_map(|(place, words)| {
            Some(Told {
                place: place.to_owned(),
                text: words.as_ref()?.join(" "),
            })
        });
    let variables = container.env.iter().flatten().filter_map(|variable| {
        Some(Told {
            place: format!("env {}", variable.name),
            text: variable.value.clone()?,
        })
    });
    let probes = [
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
    ];
    let probes = probes.into_iter().filter_map(|(place, probe)| {
        Some(Told {
            place: place.to_owned(),
            text: probe.as_ref()?.exec.as_ref()?.command.as_ref()?.join(" "),
        })
    });
    words.chain(variables).chain(probes).collect()
}

/// The names of the `ConfigMaps` that these containers of a pod read.
pub(super) fn config_maps(pod: &Pod, containers: &[&Container]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for container in containers {
        for from in container.env_from.iter().flatten() {
            names.extend(from.config_map_ref.as_ref().map(|map| map.name.clone()));
        }
        for variable in container.env.iter().flatten() {
            let key = variable
                .value_from
                .as_ref()
                .and_then(|from| from.config_map_key_ref.as_ref());
            names.extend(key.map(|key| key.name.clone()));
        }
    }
    let mounted: BTreeSet<&str> = containers
        .iter()
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .map(|mount| mount.name.as_str())
        .collect();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes.filter(|volume| mounted.contains(volume.name.as_str())) {
        names.extend(volume.config_map.as_ref().map(|map| map.name.clone()));
        let projected = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        names.extend(projected.filter_map(|source| Some(source.config_map.as_ref()?.name.clone())));
    }
    // The cluster's authority is in every pod with a token.
    names.remove("kube-root-ca.crt");
    names
}

/// Is a token of its service account mounted into the pod?
pub(super) fn has_token(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut sources = volumes
        .filter_map(|volume| volume.projected.as_ref()?.sources.as_ref())
        .flatten();
    sources.any(|source| source.service_account_token.is_some())
}

/// What these texts speak for. `jobs` are the Jobs of the backup, if an init container is in the way; `bound` is a `RoleBinding` of the
/// pod's service account.
pub(super) fn suspect(told: &[Told], init: Option<&str>, jobs: &[&str], bound: Option<&str>) -> Vec<Denied> {
    let place_of = |words: &[&str]| {
        let hit = told
            .iter()
            .find(|told| words.iter().any(|word| told.text.contains(word)));
        hit.map(|told| told.place.clone())
    };
    let mut denied = Vec::new();
    let api = place_of(&API).or_else(|| bound.map(|binding| format!("RoleBinding/{binding}")));
    if let Some(container) = init {
        let named = jobs
            .iter()
            .find(|job| told.iter().any(|told| has_word(&told.text, job)));
        let about_jobs = || told.iter().any(|told| told.text.to_ascii_lowercase().contains("job"));
        if let Some(job) = named {
            denied.push(Denied::Job {
                container: container.to_owned(),
                job: (*job).to_owned(),
                named: true,
            });
        } else if let Some(job) = jobs.first().filter(|_| api.is_some() || about_jobs()) {
            denied.push(Denied::Job {
                container: container.to_owned(),
                job: (*job).to_owned(),
                named: false,
            });
        }
    }
    denied.extend(api.map(Denied::KubernetesApi));
    denied.extend(place_of(&OWN_NAME).map(Denied::OwnName));
    let mut seen = BTreeSet::new();
    for told in told {
        for address in addresses(&told.text) {
            if seen.len() < ADDRESSES && seen.insert(address) {
                denied.push(Denied::Address {
                    place: told.place.clone(),
                    address: address.to_string(),
                });
            }
        }
    }
    denied
}

/// Is this name in the text, as a whole?
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.split(|c: char| !is_part(c)).any(|part| part == word)
}

/// The addresses in a text that something may dial. A network is no address to wait for.
fn addresses(text: &str) -> Vec<Ipv4Addr> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(is_part).map(|offset| at + offset) {
        let end = text[start..]
            .find(|c| !is_part(c))
            .map_or(text.len(), |length| start + length);
        let address = text[start..end].trim_end_matches('.').parse();
        found.extend(
            address
                .into_iter()
                .filter(|address| is_dialled(*address, &text[..start], &text[end..])),
        );
        at = end;
    }
    found
}

/// Is this an address elsewhere, by what stands before and after it? One that is not of a private network needs a port or a scheme:
/// versions have four numbers too.
fn is_dialled(address: Ipv4Addr, before: &str, after: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let by_path = before.ends_with("/tcp/");
    let is_network = !by_path
        && after
            .strip_prefix('/')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if before.ends_with(is_word) || after.starts_with(is_word) || is_network {
        return false;
    }
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    let own = address.is_loopback() || address.is_unspecified() || address.is_broadcast() || address.is_multicast();
    let has_a_port = by_path || before.ends_with("//") || before.ends_with('@') || after.starts_with(':');
    !own && (has_a_port || shared || address.is_private() || address.is_link_local())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn told(place: &str, text: &str) -> Told {
        Told {
            place: place.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn addresses_are_told_from_versions_and_networks() {
        for (text, expected) in [
            ("10.1.2.3", &["10.1.2.3"][..]),
            ("postgres://u:p@203.0.113.9:5432/x", &["203.0.113.9"]),
            ("203.0.113.9:5432", &["203.0.113.9"]),
            ("http://8.8.4.4/", &["8.8.4.4"]),
            (
                ": < /dev/tcp/172.16.0.5/80, 192.168.1.1.",
                &["172.16.0.5", "192.168.1.1"],
            ),
            ("169.254.169.254", &["169.254.169.254"]),
            ("version 7.0.1.2 of 1.2.3.4", &[]),
            ("127.0.0.1:8080 0.0.0.0:80 255.255.255.0 239.1.1.1:1", &[]),
            ("10.0.0.0/8", &[]),
            ("v10.0.0.1 10.0.0.1-rc1 10.0.0.1.5 10.0.0", &[]),
        ] {
            let found: Vec<String> = addresses(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_texts_speak_for() {
        let texts = [
            told(
                "command",
                "until curl https://$KUBERNETES_SERVICE_HOST/jobs/migrate; do sleep 1; done",
            ),
            told("env DB", "10.1.2.3"),
        ];
        let found = suspect(&texts, Some("wait"), &["cleanup", "migrate"], None);
        let job = |job: &str, named| Denied::Job {
            container: "wait".into(),
            job: job.into(),
            named,
        };
        let address = Denied::Address {
            place: "env DB".into(),
            address: "10.1.2.3".into(),
        };
        let api = |place: &str| Denied::KubernetesApi(place.into());
        assert_eq!(found, [job("migrate", true), api("command"), address.clone()]);
        // Its name is a part of another word, but it asks the API.
        assert_eq!(
            suspect(&texts[..1], Some("wait"), &["migrat"], None),
            [job("migrat", false), api("command")]
        );
        assert_eq!(
            suspect(&texts[1..], Some("wait"), &["migrate"], None),
            [address],
            "nothing speaks of Jobs"
        );
        assert_eq!(suspect(&[], None, &["migrate"], Some("pg")), [api("RoleBinding/pg")]);
        let name = [told("ConfigMap/scripts start", "me=$(hostname -f)")];
        assert_eq!(
            suspect(&name, None, &[], None),
            [Denied::OwnName("ConfigMap/scripts start".into())]
        );
        assert_eq!(
            suspect(&[told("command", "sleep 1")], Some("x"), &["migrate"], None),
            []
        );
    }

    fn pod(spec: &Value, status: &Value) -> Pod {
        from_value(json!({ "metadata": { "name": "p" }, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn the_container_in_the_way_is_looked_at() {
        let spec = json!({
            "initContainers": [{ "name": "a" }, { "name": "b", "command": ["wait", "b"], "envFrom": [{ "configMapRef": { "name": "env" } }] }],
            "containers": [{ "name": "m", "volumeMounts": [{ "name": "s", "mountPath": "/s" }] }, { "name": "n" }],
            "volumes": [
                { "name": "s", "configMap": { "name": "scripts" } }, { "name": "other", "configMap": { "name": "other" } },
                { "name": "t", "projected": { "sources": [{ "serviceAccountToken": { "path": "token" } }] } },
            ],
        });
        let status = |name: &str, state: Value, ready: bool| json!({ "name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state });
        let done = json!({ "terminated": { "exitCode": 0 } });
        let waiting = json!({ "waiting": {} });
        let blocked = pod(
            &spec,
            &json!({
                "initContainerStatuses": [status("a", done.clone(), true), status("b", json!({ "running": {} }), false)],
                "containerStatuses": [status("m", waiting.clone(), false), status("n", waiting.clone(), false)],
            }),
        );
        let (found, init) = culprits(&blocked);
        assert_eq!(
            (found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), init),
            (vec!["b"], true)
        );
        assert_eq!(config_maps(&blocked, &found), BTreeSet::from(["env".to_owned()]));
        assert_eq!(of_container(found[0]), [told("command", "wait b")]);
        assert!(has_token(&blocked));
        let up = pod(
            &spec,
            &json!({
                "initContainerStatuses": [status("a", done.clone(), true), status("b", done.clone(), true)],
                "containerStatuses": [status("m", json!({ "running": {} }), false), status("n", json!({ "running": {} }), true)],
            }),
        );
        let (found, init) = culprits(&up);
        assert_eq!(
            (found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), init),
            (vec!["m"], false)
        );
        assert_eq!(config_maps(&up, &found), BTreeSet::from(["scripts".to_owned()]));
        // What never ran waits for nothing.
        let pending = pod(&spec, &json!({ "containerStatuses": [status("m", waiting, false)] }));
        assert!(culprits(&pending).0.is_empty());
    }
}
