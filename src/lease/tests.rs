use super::*;
use crate::cluster::fake::{self, Reply};

fn holder() -> Holder {
    Holder {
        run_id: "abc123".to_owned(),
        pod: "shop-1".to_owned(),
        pod_uid: "u-1".to_owned(),
    }
}

fn request(holder: &Holder) -> Request<'_> {
    Request {
        namespace: "kymaros-system",
        name: "shop",
        pod_namespace: "kymaros-system",
        holder,
        annotations: Annotations::new(),
        wait: Duration::ZERO,
    }
}

fn lease(renewed: DateTime<Utc>) -> Lease {
    fresh(&request(&holder()), renewed)
}

fn pod(uid: &str, phase: &str) -> Pod {
    serde_json::from_value(serde_json::json!({"metadata": {"uid": uid}, "status": {"phase": phase}})).unwrap()
}

#[test]
fn a_holder_survives_its_identity() {
    assert_eq!(Holder::parse(&holder().identity()), Some(holder()));
    assert_eq!(Holder::parse("somebody-else"), None);
    assert_eq!(Holder::parse("a/b/c/d"), None);
}

#[test]
fn a_holder_is_dead_when_its_pod_is_gone_replaced_or_finished() {
    assert!(is_dead(&holder(), None));
    assert!(is_dead(&holder(), Some(&pod("u-2", "Running"))));
    assert!(is_dead(&holder(), Some(&pod("u-1", "Failed"))));
    assert!(is_dead(&holder(), Some(&pod("u-1", "Succeeded"))));
    assert!(!is_dead(&holder(), Some(&pod("u-1", "Running"))));
    assert!(!is_dead(&holder(), Some(&pod("u-1", "Pending"))));
}

#[test]
fn a_lease_lasts_five_minutes_from_its_renewal() {
    let renewed = DateTime::from_timestamp(1_000_000, 0).unwrap();
    let left = |seconds| time_left(&lease(renewed), renewed + chrono::TimeDelta::seconds(seconds));
    assert_eq!(left(0), DURATION);
    assert_eq!(left(299), Duration::from_secs(1));
    assert_eq!(left(300), Duration::ZERO);
    assert_eq!(left(9000), Duration::ZERO);
    assert_eq!(time_left(&Lease::default(), renewed), Duration::ZERO);
}

#[test]
fn a_lease_remembers_dead_runs_until_their_reports_are_there() {
    let renewed = DateTime::from_timestamp(1_000_000, 0).unwrap();
    let mut first = lease(renewed);
    let noted = Annotations::from([(annotation::RUN.to_owned(), "abc123".to_owned())]);
    first.metadata.annotations = Some(noted.clone());
    let dead = abandoned(&first);
    let expected = Abandoned {
        annotations: noted,
        renewed_at: Some(renewed),
    };
    assert_eq!(dead, std::slice::from_ref(&expected));
    // The one that took it over dies as well, before it has written the report.
    let mut second = lease(renewed);
    let own = (annotation::RUN.to_owned(), "def456".to_owned());
    second.metadata.annotations = Some(remembered(&dead).into_iter().chain([own]).collect());
    let both = abandoned(&second);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], expected);
    assert_eq!(both[1].annotations[annotation::RUN], "def456");
    assert!(!both[1].annotations.contains_key(annotation::DEAD_RUNS));
    // Nothing owed is nothing noted.
    assert_eq!(remembered(&[])[annotation::DEAD_RUNS], "");
    // Not for ever.
    let mut last = second;
    for _ in 0..20 {
        last.metadata.annotations = Some(remembered(&abandoned(&last)));
    }
    assert_eq!(abandoned(&last).len(), REMEMBERED);
}

/// A server that holds one Lease, and loses its first answer to each of these methods after it has done what it was asked.
fn forgetful(mut stored: Option<serde_json::Value>, mut loses: Vec<&'static str>) -> Cluster {
    let (cluster, _) = fake::cluster(move |asked| {
        match (asked.method.as_str(), &stored) {
            ("GET", _) if asked.path.contains("/pods/") => return Reply::status(404, "NotFound", "not found"),
            ("GET", Some(lease)) => return Reply::json(lease),
            ("POST", Some(_)) => return Reply::status(409, "AlreadyExists", "already exists"),
            ("POST" | "PUT", _) => stored = Some(asked.body.clone()),
            _ => return Reply::status(404, "NotFound", "not found"),
        }
        match loses.iter().position(|method| *method == asked.method) {
            Some(lost) => {
                loses.remove(lost);
                Reply::Refuse
            }
            None => Reply::json(&asked.body),
        }
    });
    cluster
}

async fn asked(cluster: &Cluster) -> Vec<Abandoned> {
    match ask(cluster, &request(&holder())).await.unwrap() {
        Asked::Held(held, abandoned) => {
            assert!(!held.is_lost());
            abandoned
        }
        Asked::Busy(other) => panic!("busy: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_ours_although_nobody_said_so() {
    assert_eq!(asked(&forgetful(None, vec!["POST"])).await, []);
}

#[tokio::test(start_paused = true)]
async fn whose_lease_was_taken_over_is_known_although_nobody_said_so() {
    let mut dead = lease(clock::now());
    let spec = dead.spec.get_or_insert_default();
    spec.holder_identity = Some("zzz999/shop-0/u-0".to_owned());
    dead.metadata.annotations = Some(Annotations::from([("kymaros.io/run".to_owned(), "zzz999".to_owned())]));
    let cluster = forgetful(Some(serde_json::to_value(&dead).unwrap()), vec!["PUT"]);
    let dead = asked(&cluster).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].annotations["kymaros.io/run"], "zzz999");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_not_asked_for_ever() {
    let (cluster, log) = fake::cluster(|asked| match asked.method.as_str() {
        "GET" => Reply::status(404, "NotFound", "not found"),
        _ => Reply::Refuse,
    });
    assert!(ask(&cluster, &request(&holder())).await.unwrap_err().is_transient());
    assert!((5..60).contains(&log.lock().unwrap().len()));
}
