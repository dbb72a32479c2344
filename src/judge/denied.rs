//! What the sandbox denied to what did not come up: words next to the failure. They earn and cost nothing, and say "may" where they
//! are a guess.

use crate::facts::{Brief, Denied, DeniedFact, Facts};
use crate::judge::level::{first_few, name_in};

/// Most hints that are told.
const TOLD: usize = 4;

/// Next to pods that are not ready.
pub(super) fn of_pods(brief: &Brief, facts: &Facts) -> Option<String> {
    told(facts.denied.iter().map(|denied| words(brief, denied)))
}

/// Next to checks that failed although all pods are ready.
pub(super) fn of_checks(brief: &Brief, facts: &Facts) -> Option<String> {
    let endpoints = facts
        .denied
        .iter()
        .filter(|denied| matches!(denied.what, Denied::Endpoints(_)));
    told(endpoints.map(|denied| words(brief, denied)))
}

fn told(hints: impl Iterator<Item = String>) -> Option<String> {
    let hints: Vec<String> = hints.collect();
    (!hints.is_empty()).then(|| first_few(&hints, TOLD))
}

fn words(brief: &Brief, denied: &DeniedFact) -> String {
    let pod = name_in(brief, &denied.source, denied.pod.as_deref().unwrap_or("a pod"));
    match &denied.what {
        Denied::KubernetesApi(place) => format!(
            "{pod} may be waiting for the Kubernetes API, which no sandbox may reach ({place} speaks for it); if so, its failure says \
             nothing about the backup, and podStartup.ignore takes it out"
        ),
        Denied::Address { place, address } => format!(
            "{pod} may be waiting for {address} ({place}), which the sandbox keeps it from; sandbox.egress may open the way"
        ),
        Denied::OwnName(place) => format!(
            "{pod} asks for its own full name (hostname -f or the like in {place}), and in a drill that is one in the sandbox's namespace: it \
             may not find itself among the names it knows, which no restore under the source's name would do to it"
        ),
        Denied::Job { container, job, named } => {
            let waits = if *named { "names" } else { "may wait for a Job such as" };
            let job = if *named { format!("Job {job}") } else { job.clone() };
            format!(
                "init container {container} of {pod} {waits} {job}: Velero does not restore Jobs that have finished (velero#3519), and a drill \
                 holds all of them. A real restore may hang in the same way; let the container pass without the Job"
            )
        }
        Denied::Endpoints(service) => format!(
            "Service {} has no endpoints here: those of the backup lead outside and are held. What needs it may not come up in a drill",
            name_in(brief, &denied.source, service)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Fault, PodFailure, Status};
    use crate::judge::judge;
    use crate::judge::tests::{brief, good};

    fn denied(pod: Option<&str>, what: Denied) -> DeniedFact {
        DeniedFact {
            source: "shop".to_owned(),
            pod: pod.map(str::to_owned),
            what,
        }
    }

    #[test]
    fn each_says_what_was_denied_and_what_to_do() {
        let job = |named| Denied::Job {
            container: "wait".into(),
            job: "migrate".into(),
            named,
        };
        for (what, expected) in [
            (
                Denied::KubernetesApi("command".into()),
                "db-0 may be waiting for the Kubernetes API, which no sandbox may reach (command",
            ),
            (
                Denied::Address {
                    place: "env DB".into(),
                    address: "10.1.2.3".into(),
                },
                "db-0 may be waiting for 10.1.2.3 (env DB)",
            ),
            (Denied::OwnName("command".into()), "db-0 asks for its own full name"),
            (
                job(true),
                "init container wait of db-0 names Job migrate: Velero does not restore",
            ),
            (
                job(false),
                "init container wait of db-0 may wait for a Job such as migrate: Velero",
            ),
        ] {
            let told = words(&brief(), &denied(Some("db-0"), what));
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn they_stand_next_to_the_failure_and_cost_nothing() {
        let mut facts = good();
        facts.denied = vec![
            denied(None, Denied::Endpoints("legacy".into())),
            denied(Some("db-0"), Denied::OwnName("command".into())),
        ];
        let says = |facts: &Facts, words: &str| judge(&brief(), facts).message.contains(words);
        assert!(!says(&facts, "legacy"), "all is well");
        facts.checks[0].status = Status::Fail;
        assert!(says(&facts, "Service legacy has no endpoints here") && !says(&facts, "full name"));
        let pods = facts.pods.as_mut().unwrap();
        pods.workloads[2].ready = 0;
        pods.failures.push(PodFailure {
            source: "shop".into(),
            name: "db-0".into(),
            cause: "Pod db-0: exit code 1".into(),
            certain: false,
            fault: Fault::Backup,
        });
        let message = judge(&brief(), &facts).message;
        assert!(message.contains("full name"), "{message}");
        assert_eq!(message.matches("Service legacy").count(), 1, "{message}");
        let without = Facts {
            denied: Vec::new(),
            ..facts.clone()
        };
        assert_eq!(judge(&brief(), &facts).score, judge(&brief(), &without).score);
    }
}
