//! Storage classes that would give a sandbox the storage of production's claims: no claim of them is let in.
//!
//! A quota of none refuses such a claim itself. By the time there is a volume to look at it is too late: it lies in
//! production's folder, and a provisioner whose volume is refused may clear that.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::storage::v1::StorageClass;

use super::{Fence, INSTALL, create_when_granted, stop};
use crate::build::sandbox;
use crate::cluster::{Error, Query};
use crate::facts::{Reason, SandboxFacts, Stop};
use crate::plan;

impl Fence<'_> {
    /// Closes all sandboxes to claims of such classes, whoever makes them: Velero, a `StatefulSet` or a pod. So the classes
    /// must be known whatever the backup holds, and a run that may not list them does not go on.
    pub async fn close_to_shared_storage(&self, sandboxes: &[SandboxFacts]) -> Result<(), Stop> {
        let listed = self
            .cluster
            .all::<StorageClass>()
            .list_with(&Query::all(), |class| {
                let shared = plan::may_share_storage(&class.parameters.unwrap_or_default());
                class.metadata.name.filter(|_| shared)
            })
            .await;
        let classes: Vec<String> = listed
            .map_err(|error| unlisted(&error))?
            .into_iter()
            .flatten()
            .collect();
        if classes.is_empty() {
            return Ok(());
        }
        let closed = sandboxes.iter().map(async |sandbox| {
            let quota = sandbox::class_quota(&sandbox.name, self.owner, &classes);
            create_when_granted::<ResourceQuota>(&self.cluster.namespaced(&sandbox.name), &quota).await
        });
        try_join_all(closed).await.map_err(|error| stop(&error))?;
        tracing::info!(
            classes = classes.join(","),
            "no claim of these storage classes is let in: their storage may be production's"
        );
        Ok(())
    }
}

fn unlisted(error: &Error) -> Stop {
    if !error.is_forbidden() {
        return stop(error);
    }
    Stop::new(
        Reason::SandboxDenied,
        format!(
            "storage classes that would give a sandbox production's storage could not be looked for ({error}); {INSTALL}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Sandbox;
    use crate::build::sandbox::Kinds;
    use crate::cluster::fake::{Reply, cluster};
    use crate::facts::{Reason, SandboxFacts, Stop};
    use crate::fence::Fence;
    use crate::fence::tests::{forbidden, owner, runner, stored};

    /// Closes two sandboxes in a cluster that gives this answer when it is asked for its classes. Returns the quotas.
    async fn close(classes: impl Fn() -> Reply + Send + 'static) -> (Result<(), Stop>, Vec<String>, Vec<Value>) {
        let quotas = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let made = std::sync::Arc::clone(&quotas);
        let (cluster, log) = cluster(move |asked| {
            if asked.is("GET", "/storageclasses") {
                return classes();
            }
            made.lock().unwrap().push(asked.body.clone());
            stored(asked)
        });
        let sandbox = |name: &str| SandboxFacts {
            source: "shop".to_owned(),
            name: name.to_owned(),
            uid: "u-1".to_owned(),
        };
        let (runner, owner, settings) = (runner(), owner(), Sandbox::default());
        let result = Fence::new(&cluster, &runner, &owner, &settings, &Kinds::new())
            .close_to_shared_storage(&[sandbox("a-kymaros-abc123"), sandbox("b-kymaros-abc123")])
            .await;
        let log = log.lock().unwrap().clone();
        let quotas = quotas.lock().unwrap().clone();
        (result, log, quotas)
    }

    fn class(name: &str, parameters: &Value) -> Value {
        json!({"metadata": {"name": name}, "provisioner": "example.com/nfs", "parameters": parameters})
    }

    #[tokio::test(start_paused = true)]
    async fn each_sandbox_admits_no_claim_of_any_such_class() {
        let (result, _, quotas) = close(|| {
            Reply::list(&[
                class("by-name", &json!({"pathPattern": "${.PVC.name}"})),
                class("fast", &json!({"type": "gp3"})),
                class("own", &json!({"pathPattern": "${.PVC.namespace}/${.PVC.name}"})),
                class("one-share", &json!({"shareName": "files"})),
            ])
        })
        .await;
        assert_eq!(result, Ok(()));
        let hard = json!({
            "by-name.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
            "one-share.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
        });
        let found: Vec<_> = quotas
            .iter()
            .map(|quota| (quota["metadata"]["namespace"].as_str().unwrap(), &quota["spec"]["hard"]))
            .collect();
        assert_eq!(found, [("a-kymaros-abc123", &hard), ("b-kymaros-abc123", &hard)]);
        assert!(
            quotas
                .iter()
                .all(|quota| quota["metadata"]["name"] == "kymaros-classes")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_no_class_is_such_the_list_is_all_that_is_asked_for() {
        let (result, log, quotas) = close(|| {
            Reply::list(&[
                class("fast", &json!({})),
                json!({"metadata": {"name": "bare"}, "provisioner": "x"}),
            ])
        })
        .await;
        assert_eq!((result, log.len(), quotas.len()), (Ok(()), 1, 0), "{log:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn classes_that_cannot_be_looked_at_stop_the_run() {
        type Answer = fn() -> Reply;
        let refused: Answer = || forbidden("is forbidden: User \"x\" cannot list resource \"storageclasses\"");
        let away: Answer = || Reply::status(503, "ServiceUnavailable", "etcd is away");
        for (answer, reason, words) in [
            (refused, Reason::SandboxDenied, "kubectl apply -k"),
            (away, Reason::ApiUnavailable, "etcd is away"),
        ] {
            let (result, _, quotas) = close(answer).await;
            let stop = result.unwrap_err();
            assert!(stop.reason == reason && stop.message.contains(words), "{stop:?}");
            assert!(quotas.is_empty());
        }
    }
}
