//! Whole checks against an API server that is a table, and real listeners on the loopback interface.

mod support;

use serde_json::{Value, json};

use super::*;
use crate::cluster::fake::{self, Reply};
use support::*;

#[tokio::test]
async fn a_failed_critical_check_skips_all_later_ones() {
    let address = echo().await;
    let fake = Fake::default().service(address);
    let mut critical = tcp("postgres", 1, 0);
    critical["critical"] = json!(true);
    let checks = [
        tcp("first", address.port(), 0),
        tcp("second", 1, 0),
        critical,
        tcp("third", address.port(), 0),
        tcp("fourth", 1, 0),
    ];
    let done = run(&fake, &checks, Duration::from_mins(1)).await;
    let statuses: Vec<Status> = done.iter().map(|fact| fact.status).collect();
    assert_eq!(
        statuses,
        [Status::Pass, Status::Fail, Status::Fail, Status::Skip, Status::Skip]
    );
    for skipped in &done[3..] {
        assert_eq!(skipped.message, "Skipped: postgres failed, downstream checks aborted");
        assert_eq!(skipped.duration, Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_all_checks_fails_the_running_one_and_skips_the_rest() {
    let fake = Fake::default().service("127.0.0.1:1".parse().unwrap());
    let fake = fake.objects("apis/discovery.k8s.io/v1", "endpointslices", SANDBOX, &[]);
    let done = run(
        &fake,
        &[tcp("slow", 1, 100), tcp("later", 1, 0)],
        Duration::from_secs(11),
    )
    .await;
    assert_eq!(done[0].status, Status::Fail);
    assert_eq!(
        done[0].message,
        "stopped, healthChecks.timeout of 11s reached: Service web has no ready endpoints"
    );
    assert_eq!(done[0].duration, Duration::from_secs(11));
    assert_eq!(
        (done[1].status, done[1].message.as_str()),
        (Status::Skip, "Skipped: healthChecks.timeout reached")
    );
    assert_eq!(
        fake.asked("endpointslices"),
        13,
        "attempts are 2 s apart, and in the first 5 s half a second"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ran_survives_a_stop() {
    let fake = Fake::default().service("127.0.0.1:1".parse().unwrap());
    let fake = fake.objects("apis/discovery.k8s.io/v1", "endpointslices", SANDBOX, &[]);
    let (cluster, sandboxes) = (fake.cluster(), sandboxes(&[("shop", SANDBOX)]));
    let checks = [check(tcp("short", 2, 0)), check(tcp("slow", 1, 100))];
    let mut done = Vec::new();
    let context = Context::new(&cluster, &sandboxes);
    let all = run_all(&context, &checks, Duration::from_mins(10), &mut done);
    assert!(tokio::time::timeout(Duration::from_secs(5), all).await.is_err());
    assert_eq!(
        done.iter().map(|fact| fact.name.as_str()).collect::<Vec<_>>(),
        ["short"]
    );
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_and_useless_ones_are_not_made() {
    let fake = Fake::default().service("127.0.0.1:1".parse().unwrap());
    let fake = fake.objects("apis/discovery.k8s.io/v1", "endpointslices", SANDBOX, &[]);
    let message = "Service web has no ready endpoints (4 attempts)";
    assert_eq!(one(&fake, tcp("db", 1, 3)).await, (Status::Fail, message.into()));
    let message = "Service web has no TCP port 5; its ports: 1";
    assert_eq!(one(&fake, tcp("db", 5, 3)).await, (Status::Fail, message.into()));
    let message = "Service web is not in the sandbox";
    assert_eq!(
        one(&Fake::default(), tcp("db", 5, 3)).await,
        (Status::Fail, message.into())
    );
}

#[tokio::test]
async fn a_tcp_connection_opens_or_is_refused() {
    let address = echo().await;
    let port = address.port();
    let passed = (Status::Pass, format!("TCP connection to web:{port} opened"));
    assert_eq!(one(&Fake::default().service(address), tcp("db", port, 0)).await, passed);
    let address = closed().await;
    let port = address.port();
    let failed = (Status::Fail, format!("web:{port}: connection refused ({address})"));
    assert_eq!(one(&Fake::default().service(address), tcp("db", port, 0)).await, failed);
}

#[tokio::test]
async fn an_http_answer_is_judged() {
    let address = echo().await;
    let fake = Fake::default().service(address);
    let get = async |more| one(&fake, http_get(address.port(), more)).await;
    assert_eq!(
        get(json!({})).await,
        (Status::Pass, "HTTP 200 received from /healthz".into())
    );
    let (status, message) = get(json!({ "expectedStatus": 204 })).await;
    assert_eq!(status, Status::Fail);
    assert!(
        message.starts_with("HTTP 200 received from /healthz, expected 204: GET /healthz?key=1 HTTP/1.1\\r\\n"),
        "{message}"
    );
    let host = json!({ "host": "shop.example:8443", "bodyMatches": r"(?i)\nhost: shop\.example:8443\r" });
    assert_eq!(
        get(host).await,
        (Status::Pass, "HTTP 200 received from /healthz, its body matches".into())
    );
    let usual = json!({ "bodyMatches": r"(?i)\nhost: web\.shop\.svc:\d+\r" });
    assert_eq!(get(usual).await.0, Status::Pass);
    let (_, message) = get(json!({ "bodyMatches": "^ready$" })).await;
    assert!(
        message.starts_with("HTTP 200 received from /healthz, but its body does not match: GET"),
        "{message}"
    );
    assert!(
        get(json!({ "bodyMatches": "(" }))
            .await
            .1
            .starts_with("bodyMatches does not compile: ")
    );
    assert_eq!(fake.asked("secrets"), 0, "no Secret is read without need");
}

#[tokio::test]
async fn a_header_from_a_secret_is_sent_and_never_told() {
    let address = echo().await;
    let secret = json!({ "metadata": { "name": "probe" }, "data": { "token": "czNjcjN0Cg==" } });
    let fake = Fake::default()
        .service(address)
        .objects("api/v1", "secrets", SANDBOX, &[secret]);
    let headers = |name: &str, key: &str| {
        let from = json!({ "secretKeyRef": { "name": name, "key": key } });
        json!([{ "name": "Accept", "value": "text/plain" }, { "name": "X-Token", "valueFrom": from }])
    };
    let sent = json!({ "headers": headers("probe", "token"), "bodyMatches": r"(?i)\nx-token: s3cr3t\r\n" });
    assert_eq!(one(&fake, http_get(address.port(), sent)).await.0, Status::Pass);
    for wrong in [json!({ "expectedStatus": 204 }), json!({ "bodyMatches": "^ready$" })] {
        let mut more = wrong;
        more["headers"] = headers("probe", "token");
        let (status, message) = one(&fake, http_get(address.port(), more)).await;
        assert_eq!(status, Status::Fail);
        assert!(!message.contains("s3cr3t"), "{message}");
    }
    let missing = [
        ("gone", "token", "Secret gone for a header is not in the sandbox"),
        ("probe", "k", "Secret probe for a header has no key k"),
    ];
    for (name, key, message) in missing {
        let told = one(
            &fake,
            http_get(address.port(), json!({ "headers": headers(name, key) })),
        )
        .await;
        assert_eq!(told, (Status::Fail, message.into()));
    }
    let fake = fake.on(
        &format!("GET /api/v1/namespaces/{SANDBOX}/secrets/probe"),
        403,
        forbidden(),
    );
    let told = one(
        &fake,
        http_get(address.port(), json!({ "headers": headers("probe", "token") })),
    )
    .await;
    assert!(told.1.contains("sandbox-header-secrets"), "{}", told.1);
}

#[tokio::test]
async fn of_several_sandboxes_the_one_with_the_service_is_taken() {
    let address = echo().await;
    let fake = Fake::default().service(address);
    let (cluster, sandboxes) = (fake.cluster(), sandboxes(&[("billing", OTHER), ("shop", SANDBOX)]));
    let context = Context::new(&cluster, &sandboxes);
    let mut done = Vec::new();
    let missing = json!({ "name": "none", "type": "podStatus", "critical": false, "podStatus": { "labelSelector": { "app": "x" } } });
    let fake_pods = [check(tcp("db", address.port(), 0)), check(missing)];
    run_all(&context, &fake_pods, Duration::from_mins(1), &mut done).await;
    assert_eq!(done[0].status, Status::Pass, "{}", done[0].message);
    let other = fake.objects("api/v1", "services", OTHER, &[json!({ "metadata": { "name": "web" } })]);
    let cluster = other.cluster();
    run_all(
        &Context::new(&cluster, &sandboxes),
        &fake_pods[..1],
        Duration::from_mins(1),
        &mut done,
    )
    .await;
    assert_eq!(done[2].message, "Service web found in billing and shop: set namespace");
}

#[tokio::test]
async fn resources_are_found_and_secrets_are_not_read() {
    let kind = |plural: &str, kind: &str| json!({ "resource": plural, "responseKind": { "kind": kind }, "scope": "Namespaced", "verbs": ["get"] });
    let groups = |name: &str, resources: Value| {
        let versions = json!([{ "version": "v1", "resources": resources, "freshness": "Current" }]);
        json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
                "items": [{ "metadata": { "name": name }, "versions": versions }] })
    };
    let taken = fake::status(409, "AlreadyExists", "exists");
    let fake = Fake::default()
        .on(
            "GET /api",
            200,
            groups("", json!([kind("configmaps", "ConfigMap"), kind("secrets", "Secret")])),
        )
        .on(
            "GET /apis",
            200,
            groups("example.com", json!([kind("widgets", "Widget")])),
        )
        .objects(
            "api/v1",
            "configmaps",
            SANDBOX,
            &[json!({ "metadata": { "name": "settings" } })],
        )
        .on(
            &format!("GET /apis/example.com/v1/namespaces/{SANDBOX}/widgets/w"),
            403,
            forbidden(),
        )
        .on(&format!("POST /api/v1/namespaces/{SANDBOX}/secrets"), 409, taken);
    let exists = |resources: Value| json!({ "name": "r", "type": "resourceExists", "resourceExists": { "resources": resources } });
    let both = json!([{ "kind": "ConfigMap", "name": "settings" }, { "kind": "Secret", "name": "password" }]);
    assert_eq!(
        one(&fake, exists(both)).await,
        (Status::Pass, "2/2 resources exist".into())
    );
    assert_eq!(
        (
            fake.asked("GET /api/v1/namespaces/rp-test-shop-kymaros-abc123/secrets"),
            fake.asked("dryRun=All")
        ),
        (0, 1)
    );
    let (status, message) = one(
        &fake,
        exists(json!([{ "kind": "ConfigMap", "name": "gone" }, { "kind": "Widget", "name": "w" }])),
    )
    .await;
    assert_eq!(status, Status::Fail);
    let role = "add a ClusterRole labelled kymaros.io/aggregate-to-sandbox=true with get on widgets.example.com";
    assert_eq!(
        message,
        format!("0/2 resources exist; missing: ConfigMap/gone; Widget/w: may not be looked for; {role}")
    );
    let created = fake.on(
        &format!("POST /api/v1/namespaces/{SANDBOX}/secrets"),
        201,
        json!({ "metadata": { "name": "password" } }),
    );
    let (_, message) = one(&created, exists(json!([{ "kind": "Secret", "name": "password" }]))).await;
    assert_eq!(message, "0/1 resources exist; missing: Secret/password");
}

#[tokio::test(start_paused = true)]
async fn pods_are_counted_and_waited_for() {
    let fake = Fake::default().objects(
        "api/v1",
        "pods",
        SANDBOX,
        &[ready_pod("web-0"), ready_pod("web-1"), ready_pod("web-2")],
    );
    let pods = |ready: u32| {
        let block = json!({ "labelSelector": { "app": "web" }, "minReady": ready, "timeout": "90s" });
        json!({ "name": "worker", "type": "podStatus", "podStatus": block })
    };
    assert_eq!(one(&fake, pods(3)).await, (Status::Pass, "3/3 pods ready".into()));
    assert!(
        fake.asked("labelSelector=app%3Dweb%2C%21kymaros.io%2Fmanaged-by") > 0,
        "{:?}",
        fake.log
    );
    let done = run(&fake, &[pods(4)], Duration::from_mins(10)).await;
    assert_eq!(
        (done[0].status, done[0].duration),
        (Status::Fail, Duration::from_secs(90))
    );
    assert_eq!(
        done[0].message,
        "3/3 pods ready within 1m30s, 4 needed: pods with app=web"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_pod_must_stay_ready() {
    let mut pod = ready_pod("web-0");
    pod["status"]["containerStatuses"] =
        json!([{ "name": "web", "image": "web:1", "imageID": "", "ready": true, "restartCount": 4 }]);
    let fake = Fake::default().objects("api/v1", "pods", SANDBOX, &[pod]);
    let pods = |timeout: &str| {
        let block = json!({ "labelSelector": { "app": "web" }, "timeout": timeout });
        json!({ "name": "worker", "type": "podStatus", "podStatus": block })
    };
    for (timeout, seconds) in [("90s", 10), ("3s", 3)] {
        let done = run(&fake, &[pods(timeout)], Duration::from_mins(10)).await;
        assert_eq!(
            (done[0].status, done[0].duration),
            (Status::Pass, Duration::from_secs(seconds))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_further_restart_begins_the_wait_anew_and_other_changes_do_not() {
    for (restarts, seconds) in [(5, 15), (4, 10)] {
        let pod = |restarts: u32, version: &str| {
            let mut pod = ready_pod("web-0");
            pod["metadata"]["resourceVersion"] = json!(version);
            pod["status"]["containerStatuses"] =
                json!([{ "name": "web", "image": "web:1", "imageID": "", "ready": true, "restartCount": restarts }]);
            pod
        };
        let (first, then) = (pod(4, "1"), pod(restarts, "11"));
        let mut watches = 0;
        let (cluster, _) = fake::cluster(move |asked| {
            if !asked.is_watch() {
                return Reply::list(std::slice::from_ref(&first));
            }
            watches += 1;
            match watches {
                1 => Reply::Later(
                    Duration::from_secs(5),
                    200,
                    format!("{}\n", json!({ "type": "MODIFIED", "object": then })),
                ),
                _ => Reply::quiet(),
            }
        });
        let sandboxes = sandboxes(&[("shop", SANDBOX)]);
        let block = json!({ "labelSelector": {}, "timeout": "90s" });
        let checks = [check(
            json!({ "name": "worker", "type": "podStatus", "podStatus": block }),
        )];
        let mut done = Vec::new();
        run_all(
            &Context::new(&cluster, &sandboxes),
            &checks,
            Duration::from_mins(10),
            &mut done,
        )
        .await;
        assert_eq!(
            (done[0].status, done[0].duration),
            (Status::Pass, Duration::from_secs(seconds)),
            "{done:?}"
        );
    }
}

#[tokio::test]
async fn a_command_needs_a_ready_pod_and_the_right_to_run() {
    let block = json!({ "podSelector": { "app": "web" }, "command": ["true"] });
    let exec = json!({ "name": "exec", "type": "exec", "exec": block });
    let none = Fake::default().objects("api/v1", "pods", SANDBOX, &[]);
    assert_eq!(
        one(&none, exec.clone()).await,
        (Status::Fail, "no pods with app=web in the sandbox".into())
    );
    let mut starting = ready_pod("web-0");
    starting["status"]["conditions"] = json!([]);
    let starting = none.objects("api/v1", "pods", SANDBOX, &[starting]);
    assert_eq!(
        one(&starting, exec.clone()).await,
        (Status::Fail, "none of the 1 pods with app=web is ready".into())
    );
    let path = format!("GET /api/v1/namespaces/{SANDBOX}/pods/web-0/exec");
    let refused = starting
        .objects("api/v1", "pods", SANDBOX, &[ready_pod("web-0")])
        .on(&path, 403, forbidden());
    let (status, message) = one(&refused, exec).await;
    assert_eq!(status, Status::Fail);
    assert!(
        message.starts_with("commands may not be executed in pod web-0; add the component sandbox-exec"),
        "{message}"
    );
}

/// Whatever the API server does not say is nothing against the application, and a refusal is.
#[tokio::test(start_paused = true)]
async fn a_check_that_could_not_be_made_is_no_failed_check() {
    let address = echo().await;
    let fake = Fake::default().service(address);
    let pods = format!("/api/v1/namespaces/{SANDBOX}/pods");
    let away = fake.clone().on(
        &format!("GET {pods}"),
        500,
        fake::status(500, "InternalError", "etcd is away"),
    );
    let refused = fake.on(&format!("GET {pods}"), 403, forbidden());
    let exec = json!({ "name": "sql", "type": "exec", "exec": { "podSelector": {}, "command": ["true"] } });
    let checks: Vec<_> = [tcp("port", address.port(), 0), exec].map(check).into();
    for (fake, unmade, count) in [(away, true, 0), (refused, false, 2)] {
        let (cluster, sandboxes) = (fake.cluster(), sandboxes(&[("shop", SANDBOX)]));
        let mut done = Vec::new();
        let context = Context::new(&cluster, &sandboxes);
        let why = run_all(&context, &checks, Duration::from_mins(5), &mut done).await;
        assert_eq!(why.is_some(), unmade, "{why:?}");
        assert_eq!(done.len(), count, "{done:?}");
        assert!(why.is_none_or(|why| why.starts_with("check port: ") && why.contains("etcd is away")));
    }
}

mod kept_out {
    use super::*;
    use crate::facts::{HeldFact, KindFacts};
    use crate::observe::LeftOut;

    fn left(name: &str, labels: Option<Value>) -> LeftOut {
        LeftOut {
            source: "shop".to_owned(),
            name: name.to_owned(),
            labels: labels.map(|labels| serde_json::from_value(labels).unwrap()),
            reason: "no host".to_owned(),
        }
    }

    /// Runs checks where this is left out.
    async fn without(fake: &Fake, left_out: &[LeftOut], objects: &[KindFacts], checks: &[Value]) -> Vec<CheckFact> {
        let (cluster, sandboxes) = (fake.cluster(), sandboxes(&[("shop", SANDBOX)]));
        let kept_out = KeptOut {
            pods: left_out,
            objects,
            errors: &[],
        };
        let context = Context::new(&cluster, &sandboxes).without(kept_out);
        let checks: Vec<Check> = checks.iter().cloned().map(check).collect();
        let mut done = Vec::new();
        run_all(&context, &checks, Duration::from_mins(1), &mut done).await;
        done
    }

    fn pod(name: &str, ready: bool) -> Value {
        let ready = if ready { "True" } else { "False" };
        json!({ "metadata": { "name": name, "namespace": SANDBOX },
            "spec": { "containers": [{ "name": "m" }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] } })
    }

    fn service(selector: Value) -> Value {
        json!({ "metadata": { "name": "search", "namespace": SANDBOX },
            "spec": { "selector": selector, "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ports": [{ "port": 80 }] } })
    }

    fn tcp() -> Value {
        json!({ "name": "open", "type": "tcpSocket", "tcpSocket": { "service": "search", "port": 80, "retries": 0 } })
    }

    #[tokio::test]
    async fn checks_of_pods_that_are_all_held_are_skipped_and_abort_nothing() {
        let fake = Fake::default().objects("api/v1", "pods", SANDBOX, &[]).objects(
            "api/v1",
            "services",
            SANDBOX,
            &[service(json!({ "app": "search" }))],
        );
        let held = [left("search", Some(json!({ "app": "search", "tier": "index" })))];
        let ready =
            json!({ "name": "ready", "type": "podStatus", "podStatus": { "labelSelector": { "tier": "index" } } });
        let exec =
            json!({ "name": "in", "type": "exec", "exec": { "podSelector": { "app": "search" }, "command": ["x"] } });
        let other =
            json!({ "name": "other", "type": "exec", "exec": { "podSelector": { "app": "web" }, "command": ["x"] } });
        let done = without(&fake, &held, &[], &[ready, tcp(), exec, other]).await;
        for one in &done[..3] {
            assert_eq!(
                one.message, "Skipped: its pods are held: search (no host)",
                "{}",
                one.name
            );
            assert!(one.status == Status::Skip && one.excluded);
        }
        assert_eq!(
            (done[3].status, done[3].message.as_str()),
            (Status::Fail, "no pods with app=web in the sandbox")
        );
        assert!(!done[3].excluded);
    }

    #[tokio::test]
    async fn one_other_pod_and_the_check_counts() {
        let fake = Fake::default().objects("api/v1", "pods", SANDBOX, &[pod("web-0", false)]);
        let held = [left("search", Some(json!({ "app": "web" })))];
        let exec =
            json!({ "name": "in", "type": "exec", "exec": { "podSelector": { "app": "web" }, "command": ["x"] } });
        let done = without(&fake, &held, &[], &[exec]).await;
        assert_eq!(done[0].message, "none of the 1 pods with app=web is ready");
        assert_eq!(done[0].status, Status::Fail);
    }

    #[tokio::test]
    async fn a_pod_that_is_there_without_its_owner_is_tried_if_it_is_ready() {
        let held = [left("pg-1", Some(json!({ "app": "pg" })))];
        let exec = json!({ "name": "in", "type": "exec", "exec": { "podSelector": { "app": "pg" }, "container": "db", "command": ["x"] } });
        let waiting = Fake::default().objects("api/v1", "pods", SANDBOX, &[pod("pg-1", false)]);
        let done = without(&waiting, &held, &[], std::slice::from_ref(&exec)).await;
        assert_eq!(done[0].message, "Skipped: its pods are held: pg-1 (no host)");
        let up = Fake::default().objects("api/v1", "pods", SANDBOX, &[pod("pg-1", true)]);
        let done = without(&up, &held, &[], &[exec]).await;
        let tried = "Skipped: its pods are held: pg-1 (no host); tried all the same: pod pg-1 has no container db; its containers: m";
        assert_eq!((done[0].status, done[0].message.as_str()), (Status::Skip, tried));
    }

    #[tokio::test]
    async fn a_service_whose_endpoints_are_held_is_skipped() {
        let fake = Fake::default()
            .objects("api/v1", "services", SANDBOX, &[service(json!({}))])
            .objects("apis/discovery.k8s.io/v1", "endpointslices", SANDBOX, &[])
            .objects("api/v1", "pods", SANDBOX, &[]);
        let endpoints = KindFacts {
            source: "shop".to_owned(),
            kind: "Endpoints".to_owned(),
            held: vec![HeldFact {
                name: "search".to_owned(),
                rule: "endpoints".to_owned(),
            }],
            ..KindFacts::default()
        };
        let done = without(&fake, &[], &[endpoints], &[tcp()]).await;
        assert_eq!(
            (done[0].status, done[0].message.as_str()),
            (
                Status::Skip,
                "Skipped: its endpoints are held: those of the backup lead outside the sandbox"
            )
        );
        let done = without(&fake, &[], &[], &[tcp()]).await;
        assert_eq!(done[0].status, Status::Fail, "nobody knows of any");
    }
}
