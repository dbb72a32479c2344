//! The dependencies outside the sandbox: does what the application needs answer at all?
//!
//! They are dialled from the runner by name, as the application would, and nothing is sent.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::{dial, text};
use crate::facts::{DependencyBrief, DependencyFact};

/// How often a dependency is dialled before it counts as unreachable: one lost packet or one restart is no finding.
const TRIES: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Dials all dependencies at the same time, each try bounded by `limit`, and tells of each whether it answered.
pub async fn dial(dependencies: &[DependencyBrief], limit: Duration) -> Vec<DependencyFact> {
    join_all(dependencies.iter().map(|dependency| async move {
        let host = format!("{}.{}.svc", dependency.service, dependency.namespace);
        let error = persistently(&host, dependency.port, limit).await.err();
        DependencyFact {
            name: dependency.to_string(),
            reachable: error.is_none(),
            message: error.unwrap_or_default(),
        }
    }))
    .await
}

/// Tries until it answers or the tries are used up; the last error counts.
async fn persistently(host: &str, port: u16, limit: Duration) -> Result<(), String> {
    let mut tried = 1;
    loop {
        match once(host, port, limit).await {
            Err(_) if tried < TRIES => {
                tried += 1;
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Resolves the name and opens a connection, both within `limit`.
async fn once(host: &str, port: u16, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    let found: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(name_error(host, &error)),
        Err(_) => return Err(format!("{host}: no answer from DNS within {}", limit_text(limit))),
    };
    if found.is_empty() {
        return Err(format!("{host}: name not found"));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    dial::connect(&found, left)
        .await
        .map_err(|error| format!("{host}:{port}: {error}"))
}

/// A failed look-up in words. The libraries tell a missing name and a silent server apart by their text only.
fn name_error(host: &str, error: &io::Error) -> String {
    let said = error.to_string();
    // A resolver that gets no answer for the last name of its search list says so, whatever it heard of the others.
    let silent = ["Temporary failure", "Try again"]
        .iter()
        .any(|words| said.contains(words));
    let missing = [
        "not known",
        "does not resolve",
        "No address",
        "has no usable address",
        "nodename nor servname",
    ];
    if silent {
        format!("{host}: name not resolved: no such Service, or DNS does not answer")
    } else if missing.iter().any(|words| said.contains(words)) {
        format!("{host}: name not found")
    } else {
        format!("{host}: {}", text::network(error))
    }
}

fn limit_text(limit: Duration) -> crate::api::Duration {
    crate::api::Duration(limit)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn what_answers_is_reached_and_what_refuses_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(once("127.0.0.1", port, SOON).await, Ok(()));
        drop(listener);
        let error = once("127.0.0.1", port, SOON).await.unwrap_err();
        assert_eq!(
            error,
            format!("127.0.0.1:{port}: connection refused (127.0.0.1:{port})")
        );
    }

    #[test]
    fn failed_look_ups_in_words() {
        let words = |said: &str| {
            name_error(
                "db.infra.svc",
                &io::Error::other(format!("failed to lookup address information: {said}")),
            )
        };
        for missing in [
            "Name or service not known",
            "Name does not resolve",
            "No address associated with hostname",
        ] {
            assert_eq!(words(missing), "db.infra.svc: name not found", "{missing}");
        }
        for silent in ["Temporary failure in name resolution", "Try again"] {
            assert_eq!(
                words(silent),
                "db.infra.svc: name not resolved: no such Service, or DNS does not answer",
                "{silent}"
            );
        }
        assert!(words("weird").ends_with("weird"));
    }

    #[tokio::test]
    async fn facts_are_named_by_service_and_namespace() {
        let dependencies: Vec<DependencyBrief> = ["a", "b"]
            .iter()
            .map(|name| DependencyBrief {
                service: (*name).to_owned(),
                namespace: "does-not-exist".into(),
                port: 1,
            })
            .collect();
        let facts = dial(&dependencies, Duration::from_millis(200)).await;
        let names: Vec<&str> = facts.iter().map(|fact| fact.name.as_str()).collect();
        assert_eq!(names, ["a.does-not-exist", "b.does-not-exist"]);
        assert!(
            facts
                .iter()
                .all(|fact| !fact.reachable && fact.message.starts_with(&format!("{}.svc: ", fact.name))),
            "{facts:?}"
        );
    }
}
