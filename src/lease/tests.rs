use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

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
fn what_a_renewal_time_says_is_believed_as_far_as_clocks_may_differ() {
    let now = DateTime::from_timestamp(2_000_000_000, 0).unwrap();
    let renewed = |seconds: i64| lease(now + chrono::TimeDelta::seconds(seconds));
    let lasts = |seconds| Says::Lasts(Duration::from_secs(seconds));
    for (seconds, said) in [
        (0, lasts(360)),
        (-359, lasts(1)),
        (-360, Says::Over),
        (-9000, Says::Over),
        (60, lasts(420)),
        (61, Says::Nothing),
        (2_000_000_000, Says::Nothing),
    ] {
        assert_eq!(says(&renewed(seconds), now), said, "{seconds}");
        let believed = said != Says::Nothing;
        assert_eq!(
            expiry::last_renewal(&renewed(seconds), now).is_some(),
            believed,
            "{seconds}"
        );
    }
    assert_eq!(says(&Lease::default(), now), Says::Over);
    // However long it says that it lasts.
    for (seconds, lasts) in [
        (i32::MAX, lasts(660)),
        (600, lasts(660)),
        (1, lasts(61)),
        (-1, lasts(60)),
    ] {
        let mut lease = lease(now);
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
        assert_eq!(says(&lease, now), lasts, "{seconds}");
    }
}

#[test]
fn a_lease_remembers_dead_runs_until_their_reports_are_there() {
    let renewed = DateTime::from_timestamp(1_000_000, 0).unwrap();
    // A time that cannot be believed is no sign of life.
    let ahead = clock::now() + chrono::TimeDelta::days(9000);
    assert_eq!(abandoned(&lease(ahead))[0].renewed_at, None);
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

/// A server that holds the Lease `shop`, and pods that run.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Value>>>,
    pods: Arc<Mutex<Vec<Value>>>,
    /// Between renewals by whoever holds it.
    renewed_every: Option<Duration>,
    /// Whose clock is years behind, and not years ahead.
    behind: bool,
}

impl Server {
    fn holding(lease: &Lease) -> Self {
        let server = Self::default();
        *server.lease.lock().unwrap() = Some(serde_json::to_value(lease).unwrap());
        server
    }

    fn with_pod(self, name: &str, uid: &str) -> Self {
        let pod = json!({"metadata": {"name": name, "uid": uid}, "status": {"phase": "Running"}});
        self.pods.lock().unwrap().push(pod);
        self
    }

    fn delete_pods(&self) {
        self.pods.lock().unwrap().clear();
    }

    fn serve(&self) -> (Cluster, fake::Log) {
        let (server, begun) = (self.clone(), Instant::now());
        let mut version = 1;
        fake::cluster(move |asked| {
            let path = asked.path.split('?').next().unwrap_or_default();
            if let Some(pod) = path.strip_prefix("/api/v1/namespaces/kymaros-system/pods") {
                let pods = server.pods.lock().unwrap();
                let named = pods
                    .iter()
                    .find(|found| pod.strip_prefix('/') == found["metadata"]["name"].as_str());
                return match (asked.is_watch(), pod, named) {
                    (true, ..) => Reply::quiet(),
                    (_, "", _) => Reply::list(&pods),
                    (.., Some(named)) => Reply::json(named),
                    _ => Reply::status(404, "NotFound", "not found"),
                };
            }
            let mut lease = server.lease.lock().unwrap();
            if let (Some(every), Some(lease)) = (server.renewed_every, lease.as_mut()) {
                let times = begun.elapsed().as_secs() / every.as_secs();
                let year = if server.behind { 2001 } else { 2099 };
                lease["spec"]["renewTime"] =
                    json!(format!("{year}-01-01T00:{:02}:{:02}.000000Z", times / 60, times % 60));
            }
            let same = |key: &str| {
                lease
                    .as_ref()
                    .is_some_and(|l| l["metadata"][key] == asked.body["metadata"][key])
            };
            match asked.method.as_str() {
                "GET" if asked.is_watch() => Reply::quiet(),
                "GET" if path.ends_with("/leases") => Reply::list(lease.as_slice()),
                "GET" => lease
                    .as_ref()
                    .map_or_else(|| Reply::status(404, "NotFound", "not found"), Reply::json),
                "POST" if lease.is_some() => Reply::status(409, "AlreadyExists", "already exists"),
                // As the real server answers also where there is none of the name, if a UID was sent.
                "PUT" if !same("uid") || !same("resourceVersion") => {
                    Reply::status(409, "Conflict", "the UID is another")
                }
                "POST" | "PUT" => {
                    version += 1;
                    let mut object = asked.body.clone();
                    object["metadata"]["resourceVersion"] = json!(version.to_string());
                    if asked.method == "POST" {
                        assert!(asked.body["metadata"]["uid"].is_null(), "{}", asked.body);
                        object["metadata"]["uid"] = json!(format!("uid-{version}"));
                    }
                    *lease = Some(object.clone());
                    Reply::json(&object)
                }
                _ => Reply::status(405, "MethodNotAllowed", "not here"),
            }
        })
    }

    fn stored(&self) -> Value {
        self.lease.lock().unwrap().clone().unwrap_or_default()
    }
}

fn held_by(identity: &str, renewed: DateTime<Utc>) -> Lease {
    let mut lease = lease(renewed);
    lease.spec.as_mut().unwrap().holder_identity = Some(identity.to_owned());
    lease
}

const LIVES: &str = "zzz999/other-1/u-9";

/// Written once by somebody who has the right to: it lasts as long as it says, from when it is seen, and no longer.
#[tokio::test(start_paused = true)]
async fn a_lease_until_2099_lasts_as_long_as_any_other() {
    let ahead = clock::now() + chrono::TimeDelta::days(27000);
    // Neither who waits long nor who does not: otherwise nobody would ever see its end.
    for (identity, wait) in [("nobody", 60), ("nobody", 86_400), (LIVES, 60), (LIVES, 86_400)] {
        let server = Server::holding(&held_by(identity, ahead)).with_pod("other-1", "u-9");
        let (cluster, _) = server.serve();
        let (holder, begun) = (holder(), Instant::now());
        let wanted = Request {
            wait: Duration::from_secs(wait),
            ..request(&holder)
        };
        let asked = ask(&cluster, &wanted).await.unwrap();
        assert!(matches!(asked, Asked::Held(..)), "{identity} {wait}: {asked:?}");
        assert!(
            (300..=310).contains(&begun.elapsed().as_secs()),
            "{identity} {wait}: {:?}",
            begun.elapsed()
        );
        assert_eq!(server.stored()["spec"]["holderIdentity"], holder.identity());
    }
    // A holder whose pod is gone is dead, whatever the time.
    let (cluster, _) = Server::holding(&held_by(LIVES, ahead)).serve();
    assert!(matches!(
        ask(&cluster, &request(&holder())).await.unwrap(),
        Asked::Held(..)
    ));
}

/// A clock that is wrong is no reason to take a Lease from a run that lives.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_is_held_whatever_its_clock_says() {
    for behind in [false, true] {
        let server = Server {
            renewed_every: Some(RENEWAL),
            behind,
            ..Server::holding(&held_by(LIVES, clock::now())).with_pod("other-1", "u-9")
        };
        let (cluster, _) = server.serve();
        let (holder, begun) = (holder(), Instant::now());
        let wanted = Request {
            wait: Duration::from_mins(20),
            ..request(&holder)
        };
        let asked = ask(&cluster, &wanted).await.unwrap();
        assert!(matches!(asked, Asked::Busy(ref other) if other == LIVES), "{asked:?}");
        assert!(
            (1200..=1210).contains(&begun.elapsed().as_secs()),
            "{behind} {:?}",
            begun.elapsed()
        );
    }
}

/// The sweep would take a run for dead that lives: its time is over by our clock, and it goes on renewing.
#[tokio::test(start_paused = true)]
async fn a_lease_whose_time_is_over_is_watched_before_its_holder_is_called_dead() {
    let over = clock::now() - chrono::TimeDelta::hours(1);
    for (renews, identity, expected) in [(true, LIVES, false), (false, LIVES, true), (false, "nobody", true)] {
        let lease = held_by(identity, over);
        let server = Server {
            renewed_every: renews.then_some(RENEWAL),
            behind: true,
            ..Server::holding(&lease).with_pod("other-1", "u-9")
        };
        let (cluster, _) = server.serve();
        let begun = Instant::now();
        let abandoned = is_abandoned(&cluster, "kymaros-system", &lease).await.unwrap();
        assert_eq!(abandoned, expected, "{renews} {identity}");
        let watched = begun.elapsed().as_secs();
        assert!(
            if expected {
                (300..=310).contains(&watched)
            } else {
                watched < 60
            },
            "{watched}"
        );
    }
}

/// Another machine's clock that is minutes behind makes no Lease end early for those who have watched it being renewed.
#[tokio::test(start_paused = true)]
async fn who_waits_counts_from_what_he_saw() {
    let server = Server::holding(&held_by("nobody", clock::now()));
    let (cluster, _) = server.serve();
    let (holder, begun) = (holder(), Instant::now());
    let short = Request {
        wait: Duration::from_mins(1),
        ..request(&holder)
    };
    assert!(matches!(ask(&cluster, &short).await.unwrap(), Asked::Busy(_)));
    assert!((60..=65).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let long = Request {
        wait: Duration::from_hours(1),
        ..request(&holder)
    };
    assert!(matches!(ask(&cluster, &long).await.unwrap(), Asked::Held(..)));
    assert!(
        (300..=310).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn one_look_believes_no_time_that_is_far_ahead() {
    let ahead = clock::now() + chrono::TimeDelta::days(27000);
    let soon = clock::now() + chrono::TimeDelta::seconds(30);
    for (identity, renewed, pod, expected) in [
        ("nobody", ahead, true, true),
        (LIVES, ahead, true, false),
        (LIVES, ahead, false, true),
        ("nobody", soon, true, false),
        (LIVES, soon, true, false),
        (LIVES, soon, false, true),
        ("", soon, true, true),
    ] {
        let lease = held_by(identity, renewed);
        let server = Server::holding(&lease);
        let server = if pod { server.with_pod("other-1", "u-9") } else { server };
        let (cluster, _) = server.serve();
        let abandoned = is_abandoned(&cluster, "kymaros-system", &lease).await.unwrap();
        assert_eq!(abandoned, expected, "{identity:?} {renewed} {pod}");
    }
}

async fn held(server: &Server) -> Held {
    let (cluster, _) = server.serve();
    let holder = holder();
    let wanted = Request {
        annotations: Annotations::from([("a".to_owned(), "1".to_owned())]),
        ..request(&holder)
    };
    match ask(&cluster, &wanted).await.unwrap() {
        Asked::Held(held, _) => *held,
        Asked::Busy(other) => panic!("busy: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_is_made_again() {
    let server = Server::default().with_pod("shop-1", "u-1");
    let held = held(&server).await;
    let before = server.stored();
    for times in 1..=3 {
        server.lease.lock().unwrap().take();
        if times == 2 {
            // What was to be noted is not lost either.
            assert!(
                held.annotate(Annotations::from([("b".to_owned(), "2".to_owned())]))
                    .await
            );
        } else {
            sleep(RENEWAL + Duration::from_secs(5)).await;
        }
        let made = server.stored();
        assert_eq!(made["spec"]["holderIdentity"], before["spec"]["holderIdentity"]);
        assert_ne!(made["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(made["metadata"]["labels"], before["metadata"]["labels"]);
        assert_eq!(made["metadata"]["annotations"]["a"], "1");
        assert!(!held.is_lost());
    }
    assert_eq!(server.stored()["metadata"]["annotations"]["b"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_run_has_is_lost_however_it_came_by_it() {
    // Taken over; deleted and had by another; or to others this run is dead, and they may have had the Lease and given it back.
    for stored in [true, false] {
        let server = Server::default().with_pod("shop-1", "u-1");
        let held = held(&server).await;
        if stored {
            let other = held_by(LIVES, clock::now());
            *server.lease.lock().unwrap() = Some(serde_json::to_value(other).unwrap());
        } else {
            server.lease.lock().unwrap().take();
            server.delete_pods();
        }
        let begun = Instant::now();
        held.lost().await;
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        let holder = server.stored()["spec"]["holderIdentity"].clone();
        assert_eq!(holder, if stored { json!(LIVES) } else { Value::Null });
    }
}
