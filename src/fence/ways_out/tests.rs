//! Ways out against a scripted API server.

use serde_json::{Value, json};

use crate::api::Sandbox;
use crate::build::sandbox::Kinds;
use crate::cluster::Cluster;
use crate::cluster::fake::{Log, Reply, cluster};
use crate::facts::{Isolation, Reason, SandboxFacts, Stop};
use crate::fence::Fence;
use crate::fence::tests::{BY_RBAC, SANDBOX, forbidden, nodes, owner, runner, stored};

const BY_POLICIES: &str =
    "is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-networkpolicies' with binding '…' denied request: no";

fn settings(networks: &[&str]) -> Sandbox {
    let ways: Vec<Value> = networks
        .iter()
        .map(|cidr| json!({"cidr": cidr, "ports": [{"port": 5432}]}))
        .collect();
    serde_json::from_value(json!({ "egress": ways })).unwrap()
}

/// Asks whether these are permitted by an installation that refuses `198.51.100.7/32` in these words and stores nothing.
async fn asked(networks: &[&str], refusal: &'static str) -> (Result<(), Stop>, Vec<String>) {
    let (cluster, log) = cluster(move |asked| {
        if asked.body.to_string().contains("198.51.100.7/32") {
            return forbidden(refusal);
        }
        stored(asked)
    });
    let (runner, owner, settings) = (runner(), owner(), settings(networks));
    let result = Fence::new(&cluster, &runner, &owner, &settings, &Kinds::new())
        .ways_out_permitted(SANDBOX)
        .await;
    let log = log.lock().unwrap().clone();
    (result, log)
}

#[tokio::test(start_paused = true)]
async fn the_installation_is_asked_for_each_and_nothing_is_stored() {
    let (result, log) = asked(&["203.0.113.0/24", "2001:db8::/64"], BY_POLICIES).await;
    assert_eq!(result, Ok(()));
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(
        log.iter()
            .all(|line| line.contains("/networkpolicies?") && line.contains("dryRun=All")),
        "{log:?}"
    );
    assert_eq!(asked(&[], BY_POLICIES).await, (Ok(()), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn every_way_out_that_may_not_be_is_told_at_once() {
    let (result, _) = asked(
        &["203.0.113.0/24", "198.51.100.7/32", "10.96.0.0/16", "127.0.0.0/30"],
        BY_POLICIES,
    )
    .await;
    let stop = result.unwrap_err();
    assert_eq!(stop.reason, Reason::InvalidSpec);
    let problems: Vec<&str> = stop.message.split("; spec.").collect();
    let beginnings = [
        "spec.sandbox.egress[1].cidr: this installation does not allow 198.51.100.7/32",
        "sandbox.egress[2].cidr: 10.96.0.0/16 holds 10.96.0.1, the API server",
        "sandbox.egress[3].cidr: 127.0.0.0/30 holds 127.0.0.1, the runner's own pod",
    ];
    assert_eq!(problems.len(), beginnings.len(), "{problems:#?}");
    for (problem, beginning) in problems.iter().zip(beginnings) {
        assert!(problem.starts_with(beginning), "{problem}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_not_the_fences_is_not_the_tests_mistake() {
    let (result, _) = asked(&["198.51.100.7/32"], BY_RBAC).await;
    let stop = result.unwrap_err();
    assert!(
        stop.reason == Reason::SandboxDenied && stop.message.contains("cannot create"),
        "{stop:?}"
    );
}

/// Opens one way out in a cluster whose pods then reach what `reaches` says.
async fn opened(
    (cluster, log): (Cluster, Log),
    settings: &Sandbox,
    isolation: Isolation,
) -> (Result<Vec<String>, Stop>, Vec<String>) {
    let (runner, owner) = (runner(), owner());
    let sandbox = SandboxFacts {
        source: "shop".to_owned(),
        name: SANDBOX.to_owned(),
        uid: "uid-1".to_owned(),
    };
    let result = Fence::new(&cluster, &runner, &owner, settings, &Kinds::new())
        .open_ways_out(&[sandbox], &isolation)
        .await;
    let log = log.lock().unwrap();
    let writes = log.iter().filter(|line| !line.starts_with("GET"));
    let writes = writes.map(|line| {
        let (verb, path) = line.split_once(' ').unwrap();
        format!("{verb} {}", path.split('?').next().unwrap().rsplit('/').next().unwrap())
    });
    (result, writes.collect())
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_is_listed_and_looked_at() {
    let settings = settings(&["198.51.100.7/32"]);
    let open = Ok(vec!["198.51.100.7/32 (TCP 5432)".to_owned()]);
    let (result, writes) = opened(nodes(|_, _| false), &settings, Isolation::Proved).await;
    assert_eq!(result, open);
    assert_eq!(
        writes,
        ["POST networkpolicies", "POST pods", "DELETE kymaros-probe-egress"]
    );

    // Where isolation was not proved, reaching the API server says nothing about the ways out.
    let (result, writes) = opened(
        nodes(|_, _| true),
        &settings,
        Isolation::NotTested("no network".to_owned()),
    )
    .await;
    assert_eq!((result, writes), (open, vec!["POST networkpolicies".to_owned()]));
    let none = opened(nodes(|_, _| true), &Sandbox::default(), Isolation::Proved).await;
    assert_eq!(none, (Ok(Vec::new()), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_way_out_to_the_api_server_is_the_tests_mistake() {
    let settings = settings(&["198.51.100.7/32"]);
    let (result, _) = opened(
        nodes(|_, target| target == "10.96.0.1:443"),
        &settings,
        Isolation::Proved,
    )
    .await;
    let stop = result.unwrap_err();
    assert!(
        stop.reason == Reason::InvalidSpec && stop.message.starts_with("spec.sandbox.egress: with it a pod in"),
        "{stop:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_looked_at_ends_the_run() {
    let refusing = cluster(|asked| {
        if asked.is("POST", "/pods") {
            return Reply::status(
                403,
                "Forbidden",
                "pods \"kymaros-probe-egress\" is forbidden: exceeded quota",
            );
        }
        stored(asked)
    });
    let (result, _) = opened(refusing, &settings(&["198.51.100.7/32"]), Isolation::Proved).await;
    let stop = result.unwrap_err();
    assert!(
        stop.reason == Reason::SandboxDenied && stop.message.contains("exceeded quota"),
        "{stop:?}"
    );
}
