//! Sandboxes on a real cluster: made, proved isolated, restored into, and removed.
//!
//! The runner's listener has to be reachable from pods, so this runs inside the cluster's network, as the runner's account,
//! and needs an image of this program there:
//!
//! ```text
//! cargo test --test sandbox --no-run
//! tests/cluster/in env KYMAROS_TEST_KUBECONFIG=… KUBECONFIG=… KYMAROS_TEST_IMAGE=kymaros-runner:0.1.0 \
//!     KUBE_RS_DEBUG_IMPERSONATE_USER=system:serviceaccount:kymaros-system:kymaros-runner <the binary> --ignored
//! ```
//!
//! One test needs a cluster whose network ignores policies, and one a finished backup named `shop` of namespace `shop`.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test program says what it measured, and ends where it cannot go on"
)]

#[path = "support/mod.rs"]
mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kymaros_runner::api::{NetworkIsolation, Sandbox};
use kymaros_runner::build::Owner;
use kymaros_runner::build::probe::ProbeHost;
use kymaros_runner::build::sandbox::{End, Kinds};
use kymaros_runner::cleanup::{self, RunRef};
use kymaros_runner::cluster::{Cluster, Velero};
use kymaros_runner::facts::{Isolation, Reason, SandboxFacts, Stop};
use kymaros_runner::fence::{self, Fence, Neutraliser, Runner};
use kymaros_runner::sweep::sweep;
use kymaros_runner::velero::{Restore, RestoreSpec};
use serde_json::json;

/// One run's surroundings.
struct Stage {
    admin: kube::Client,
    cluster: Cluster,
    runner: Runner,
    owner: Owner,
    made: Vec<SandboxFacts>,
}

impl Stage {
    async fn open(run_id: &str) -> Self {
        support::apply_base();
        let admin = support::client(None).await;
        let cluster = Cluster::find(false, Duration::from_secs(10)).await.unwrap();
        let services: Api<Service> = Api::namespaced(admin.clone(), "default");
        let api: IpAddr = services
            .get("kubernetes")
            .await
            .unwrap()
            .spec
            .unwrap()
            .cluster_ip
            .unwrap()
            .parse()
            .unwrap();
        let api_server = SocketAddr::new(api, 443);
        let runner = Runner {
            namespace: "kymaros-system".to_owned(),
            service_account: "kymaros-runner".to_owned(),
            host: ProbeHost {
                image: image(),
                // The image may come without a user of its own.
                run_as_user: Some(65_532),
                ..ProbeHost::default()
            },
            ip: own_address(api_server),
            api_server,
        };
        // A new policy is in force a second or two after it was written.
        let mut fence = fence::self_test(&cluster, "kymaros-system", "velero").await;
        for _ in 0..50 {
            if fence.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            fence = fence::self_test(&cluster, "kymaros-system", "velero").await;
        }
        fence.expect("the fence stands, and this process acts as the runner");
        let owner = Owner {
            test: "sandbox-test".to_owned(),
            test_uid: "u-1".to_owned(),
            run_id: run_id.to_owned(),
        };
        Self {
            admin,
            cluster,
            runner,
            owner,
            made: Vec::new(),
        }
    }

    /// Makes a sandbox for each source and proves their isolation; how long that took, and what was watched afterwards.
    async fn fence(&mut self, settings: &Sandbox, sources: &[&str]) -> (Isolation, Result<Isolation, Stop>, Duration) {
        let names: Vec<_> = sources
            .iter()
            .map(|s| ((*s).to_owned(), format!("{s}{}", self.owner.sandbox_suffix())))
            .collect();
        let end = End {
            expires_at: "2030-01-01T00:00:00Z".parse().unwrap(),
            provider_namespace: "velero".to_owned(),
            holder: "abc123/runner-1/u-1".to_owned(),
        };
        let kinds = Kinds::new();
        let fence = Fence::new(&self.cluster, &self.runner, &self.owner, settings, &kinds);
        let begun = Instant::now();
        let neutraliser = fence.make_sandboxes(&names, &end, &mut self.made).await.unwrap();
        assert_eq!(neutraliser, Neutraliser::Admission);
        eprintln!("sandboxes made after {:?}", begun.elapsed());
        fence.allow_dns(&self.made, false).await.unwrap();
        let mut isolation = Isolation::default();
        let proved = fence.prove_isolation(&self.made, &[], &mut isolation).await;
        let took = begun.elapsed();
        eprintln!("isolation after {took:?}: {isolation:?} {:?}", proved.as_ref().err());
        let watched = match proved {
            Ok(watch) => Ok(watch.await),
            Err(stop) => Err(stop),
        };
        (isolation, watched, took)
    }

    fn run(&self) -> RunRef {
        RunRef {
            run_id: self.owner.run_id.clone(),
            test: self.owner.test.clone(),
            provider_namespace: "velero".to_owned(),
            sandboxes: self
                .made
                .iter()
                .map(|s| (s.name.clone(), Some(s.uid.clone())))
                .collect(),
        }
    }

    async fn close(&self) {
        let begun = Instant::now();
        let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
        let outcome = cleanup::clean_up(&self.cluster, &self.run(), deadline).await;
        eprintln!("cleaned up after {:?}: {outcome}", begun.elapsed());
        assert!(outcome.is_complete(), "{outcome}");
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        for sandbox in &self.made {
            assert!(namespaces.get_opt(&sandbox.name).await.unwrap().is_none());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test program's settings")]
fn image() -> String {
    std::env::var("KYMAROS_TEST_IMAGE").expect("KYMAROS_TEST_IMAGE names an image of this program")
}

/// The address by which this process reaches the cluster. Nothing is sent.
fn own_address(towards: SocketAddr) -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(towards).unwrap();
    socket.local_addr().unwrap().ip()
}

#[tokio::test]
#[ignore = "needs a cluster that enforces NetworkPolicies (installs the base, makes and deletes sandboxes)"]
async fn isolation_is_proved_in_all_sandboxes_at_once() {
    for (run, isolation) in [
        ("proof1", NetworkIsolation::Strict),
        ("proof2", NetworkIsolation::Group),
    ] {
        let mut stage = Stage::open(run).await;
        let settings: Sandbox =
            serde_json::from_value(json!({"resourceQuota": {"cpu": "2", "memory": "1Gi"}})).unwrap();
        let settings = Sandbox {
            network_isolation: isolation,
            ..settings
        };
        let (proved, watched, took) = stage.fence(&settings, &["one", "two"]).await;
        assert_eq!((proved, watched), (Isolation::Proved, Ok(Isolation::Proved)));
        // The target is five seconds on a quiet machine.
        assert!(took < Duration::from_secs(15), "{took:?}");
        for sandbox in &stage.made {
            let pods: Api<Pod> = Api::namespaced(stage.admin.clone(), &sandbox.name);
            assert!(
                pods.list(&ListParams::default()).await.unwrap().items.is_empty(),
                "probes are gone"
            );
            let quotas: Api<ResourceQuota> = Api::namespaced(stage.admin.clone(), &sandbox.name);
            let quota = quotas.get("kymaros-quota").await.unwrap();
            assert!(quota.status.unwrap().used.unwrap().contains_key("count/secrets"));
        }
        stage.close().await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster that enforces NetworkPolicies (installs the base, makes and deletes a sandbox)"]
async fn a_sandbox_without_dns_says_what_to_set() {
    let mut stage = Stage::open("nodns1").await;
    let settings = serde_json::from_value(json!({"dns": {"podSelector": {"k8s-app": "another-dns"}}})).unwrap();
    let (isolation, stopped, _) = stage.fence(&settings, &["one"]).await;
    assert!(matches!(isolation, Isolation::NotTested(_)));
    let stop = stopped.unwrap_err();
    assert!(
        stop.reason == Reason::SandboxDenied && stop.message.contains("set sandbox.dns"),
        "{stop:?}"
    );
    stage.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster that ignores NetworkPolicies (installs the base, makes and deletes a sandbox)"]
async fn a_network_that_ignores_policies_is_found_out() {
    let mut stage = Stage::open("open01").await;
    let (isolation, stopped, _) = stage.fence(&Sandbox::default(), &["one"]).await;
    assert!(matches!(isolation, Isolation::Breached(_)), "{isolation:?}");
    assert_eq!(stopped.unwrap_err().reason, Reason::IsolationNotEnforced);
    stage.close().await;
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes a sandbox and sweeps it, with every other that is dead by 2031)"]
async fn the_sweep_takes_an_expired_sandbox_and_leaves_a_fresh_one() {
    let mut stage = Stage::open("sweep1").await;
    let (.., watched, _) = stage.fence(&Sandbox::default(), &["one"]).await;
    watched.unwrap();
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    let deadline = || tokio::time::Instant::now() + Duration::from_mins(2);
    for (now, there) in [("2029-12-31T23:59:00Z", true), ("2030-01-01T00:00:00Z", false)] {
        let swept = sweep(&stage.cluster, "kymaros-system", now.parse().unwrap(), deadline())
            .await
            .unwrap();
        eprintln!("swept as of {now}: {swept:?}");
        assert!(swept.left.is_empty(), "{swept:?}");
        assert_eq!(namespaces.get_opt(&stage.made[0].name).await.unwrap().is_some(), there);
    }
}

#[tokio::test]
#[ignore = "needs a cluster with Velero and a backup `shop` (restores it into a sandbox and removes that)"]
async fn clean_up_waits_for_the_restore_and_takes_retained_volumes_along() {
    let mut stage = Stage::open("clean1").await;
    let (.., watched, _) = stage.fence(&Sandbox::default(), &["shop"]).await;
    watched.unwrap();
    let sandbox = stage.made[0].name.clone();
    let velero = Velero::new(&stage.cluster, "velero", &stage.owner.run_id);
    let mut restore = Restore::new(
        "velero",
        &stage.owner.provider_name(),
        RestoreSpec {
            backup_name: "shop".to_owned(),
            included_namespaces: vec!["shop".to_owned()],
            namespace_mapping: [("shop".to_owned(), sandbox.clone())].into(),
            restore_pvs: Some(true),
            ..RestoreSpec::default()
        },
    );
    restore.metadata.labels = Some(stage.owner.labels());
    velero.create_restore(&restore).await.unwrap();

    // As soon as there is a volume it becomes one that would stay.
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.admin.clone(), &sandbox);
    let volumes: Api<PersistentVolume> = Api::all(stage.admin.clone());
    let mut retained = None;
    for _ in 0..600 {
        let bound = claims.list(&ListParams::default()).await.unwrap().items;
        retained = bound.into_iter().find_map(|claim| claim.spec?.volume_name);
        if retained.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let retained = retained.expect("a claim of the backup is bound");
    let patch = json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}});
    volumes
        .patch(&retained, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();

    stage.close().await;
    assert!(volumes.get_opt(&retained).await.unwrap().is_none(), "{retained} stayed");
    let restores = velero.restores();
    assert!(restores.get_opt(&stage.owner.provider_name()).await.unwrap().is_none());
}
