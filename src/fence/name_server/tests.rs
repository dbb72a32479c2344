//! Making a name server against a scripted API server, and waiting for one that does not come.

use serde_json::json;

use super::*;
use crate::api::Sandbox;
use crate::build::Owner;
use crate::build::sandbox::Kinds;
use crate::cluster::fake::{Asked, Log, Reply, cluster};
use crate::fence::tests::{runner, that_does_not_answer};

const SANDBOX: &str = "shop-kymaros-abc123";

/// Makes the name server of one sandbox; the Service gets this address, and the dry runs are pointed at it from the
/// `pointed`th on.
async fn serve(address: &'static str, pointed: usize) -> (Result<Vec<NameServer>, Stop>, Log) {
    let mut tries = 0;
    let (cluster, log) = cluster(move |asked: &Asked| {
        let mut object = asked.body.clone();
        object["metadata"]["uid"] = json!("uid-1");
        if asked.is("POST", "services") {
            object["spec"]["clusterIP"] = json!(address);
        }
        if asked.is("POST", "dryRun=All") {
            tries += 1;
            if tries >= pointed {
                object["spec"]["dnsConfig"] = json!({"nameservers": [address]});
            }
        }
        Reply::json(&object)
    });
    let runner = runner();
    let owner = Owner {
        run_id: "abc123".to_owned(),
        ..Owner::default()
    };
    let settings = Sandbox::default();
    let sandboxes = [SandboxFacts {
        source: "shop".to_owned(),
        name: SANDBOX.to_owned(),
        uid: "uid-1".to_owned(),
    }];
    let kinds = Kinds::new();
    let fence = Fence::new(&cluster, &runner, &owner, &settings, &kinds);
    (fence.serve_names(&sandboxes).await, log)
}

#[tokio::test(start_paused = true)]
async fn the_sandbox_is_marked_and_admission_waited_for() {
    let begun = Instant::now();
    let (made, log) = serve("10.96.0.7", 3).await;
    let expected = NameServer {
        sandbox: SANDBOX.to_owned(),
        address: "10.96.0.7:53".parse().unwrap(),
    };
    assert_eq!(made, Ok(vec![expected]));
    assert!(begun.elapsed() < Duration::from_millis(200));
    let log = log.lock().unwrap();
    let mut kinds: Vec<String> = log
        .iter()
        .map(|line| line.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    // The first two go side by side.
    kinds[..2].sort();
    assert_eq!(kinds, ["pods", "services", SANDBOX, "pods", "pods", "pods"]);
    assert!(log[2].starts_with("PATCH") && log[3..].iter().all(|line| line.contains("dryRun=All")));
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_never_pointed_at_it_are_a_missing_fence() {
    let (made, _) = serve("fd00::7", usize::MAX).await;
    let stop = made.unwrap_err();
    assert_eq!(stop.reason, Reason::SandboxDenied);
    assert!(stop.message.contains("fence not installed"), "{stop:?}");
    let (made, _) = serve("None", 1).await;
    assert!(made.unwrap_err().message.contains("no address, but \"None\""));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_said_with_what_became_of_its_pod() {
    let (cluster, _) = cluster(|_| Reply::status(404, "NotFound", "no such pod"));
    let runner = runner();
    let (owner, settings) = (Owner::default(), Sandbox::default());
    let server = that_does_not_answer();
    let begun = Instant::now();
    let kinds = Kinds::new();
    let fence = Fence::new(&cluster, &runner, &owner, &settings, &kinds);
    let stop = fence.names_served(std::slice::from_ref(&server)).await.unwrap_err();
    assert!(begun.elapsed() >= START_LIMIT);
    assert!(
        stop.message.contains("it was deleted") && stop.message.contains("sandbox.nameRewrite: false"),
        "{stop:?}"
    );
    let (names, problem) = outside_names(&[server]).await;
    assert!(names.is_empty() && problem.unwrap().contains(SANDBOX));
}
