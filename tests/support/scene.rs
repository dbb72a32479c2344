//! A sandbox and what stands around it on a real API server, for one test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use super::cases::{Outcome, Verb, make, role_binding, sandbox, send};
use super::{PROVIDER, RUNNER, apply_base, apply_object, client, kubectl_in_cluster};

/// The actors, and the names of this test's namespaces.
pub(crate) struct Scene {
    /// The cluster's administrator: everybody whom no policy names.
    pub(crate) admin: Client,
    /// The runner.
    pub(crate) runner: Client,
    /// The backup provider.
    pub(crate) provider: Client,
    /// The run id that the sandboxes' names end in.
    pub(crate) run: String,
    /// A sandbox of that run.
    pub(crate) sandbox: String,
    /// Another one of the same run.
    pub(crate) sibling: String,
    /// A sandbox of another run.
    pub(crate) foreign: String,
    /// A namespace that is none.
    pub(crate) production: String,
}

impl Scene {
    /// Installs what is shipped (once per process), makes the namespaces, and waits until the fence is in force.
    pub(crate) async fn open() -> Self {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        INSTALLED.get_or_init(|| {
            apply_base();
            allow_privileged_sandboxes();
            // The provider may do everything, as its own installation says; RBAC must not be what stops it here, nor a network
            // plugin.
            apply_object(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "kymaros-tests"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [
                    {"kind": "ServiceAccount", "name": "velero", "namespace": "velero"},
                    {"kind": "ServiceAccount", "name": "cilium", "namespace": "kube-system"},
                ],
            }));
        });
        // Ids of earlier processes may still be in the cluster, half deleted.
        let unique = std::process::id()
            .wrapping_mul(16)
            .wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
            & 0xff_ffff;
        let run = format!("{unique:06x}");
        let other = format!("{:06x}", unique ^ 0x80_0000);
        let scene = Self {
            admin: client(None).await,
            runner: client(Some(RUNNER)).await,
            provider: client(Some(PROVIDER)).await,
            sandbox: format!("shop-kymaros-{run}"),
            sibling: format!("blog-kymaros-{run}"),
            foreign: format!("shop-kymaros-{other}"),
            production: format!("fence-prod-{run}"),
            run,
        };
        scene.privileged_sandboxes_are_allowed().await;
        make(
            &scene.runner,
            &[
                sandbox(&scene.sandbox),
                sandbox(&scene.sibling),
                sandbox(&scene.foreign),
            ],
        )
        .await;
        let production = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.production}});
        make(&scene.admin, &[production]).await;
        for namespace in [&scene.sandbox, &scene.sibling, &scene.foreign, &scene.production] {
            // Without the controller that makes it, no pod would be accepted.
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}});
            make(&scene.admin, &[account]).await;
        }
        scene.in_force().await;
        make(&scene.runner, &[role_binding(&scene.sandbox)]).await;
        scene.granted().await;
        for namespace in [&scene.sandbox, &scene.sibling, &scene.foreign] {
            make(&scene.admin, &[closed(namespace)]).await;
        }
        scene.closed().await;
        scene
    }

    /// Waits until admission knows the last sandbox's network policy.
    async fn closed(&self) {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial", "namespace": self.foreign},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        accepted(&self.admin, &pod, "no pod may start in a sandbox that is closed").await;
    }

    /// Waits until the patched policy is in force.
    async fn privileged_sandboxes_are_allowed(&self) {
        let sandbox = sandbox(&self.sandbox);
        accepted(&self.runner, &sandbox, "no sandbox of the level privileged may be made").await;
    }

    /// Waits until the runner has its rights in the sandbox: the authorizer learns of a binding a moment after it was made,
    /// and the role is put together by a controller.
    async fn granted(&self) {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "trial", "namespace": self.sandbox}, "spec": {},
        });
        accepted(&self.runner, &quota, "the runner has no rights in its sandbox").await;
    }

    /// Waits until the first and the last policy answer: a new policy is in force a second or two after it was written.
    async fn in_force(&self) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "trial", "namespace": self.sandbox},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
        });
        let widget = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": "trial", "namespace": self.sandbox},
        });
        let mut last = String::new();
        for _ in 0..100 {
            let bound = send(&self.runner, Verb::Create, &role_binding("kymaros-system")).await;
            let served = send(&self.admin, Verb::Create, &service).await;
            let held = send(&self.admin, Verb::Create, &widget).await;
            if let (Outcome::Refused(first), Outcome::Accepted(service), Outcome::Refused(second)) =
                (&bound, &served, &held)
                && first.contains("kymaros-fence-rolebindings")
                && second.contains("kymaros-fence-foreign-kinds")
                && service.pointer("/spec/type") == Some(&Value::from("ClusterIP"))
            {
                return;
            }
            last = format!("RoleBinding {bound}; Service {served}; Application {held}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the fence is not in force after 10 s: {last}");
    }

    /// Removes the namespaces, without waiting for it.
    pub(crate) async fn close(&self) {
        for name in [&self.sandbox, &self.sibling, &self.foreign, &self.production] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            send(&self.admin, Verb::Remove, &namespace).await;
        }
    }
}

/// Waits until the object may be created, by dry runs; what is wrong if it never may.
async fn accepted(client: &Client, object: &Value, otherwise: &str) {
    let mut last = String::new();
    for _ in 0..100 {
        match send(client, Verb::Create, object).await {
            Outcome::Accepted(_) => return,
            outcome => last = outcome.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{otherwise} after 10 s: {last}");
}

/// The policy without which admission lets no pod into a sandbox.
pub(crate) fn closed(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "kymaros-deny-all", "namespace": namespace, "labels": {"kymaros.io/managed-by": "kymaros"}},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    })
}

/// Lets sandboxes of the level privileged be made, and nothing in them be looser: so the fence's own rules are tried where Pod Security
/// does not answer before them.
fn allow_privileged_sandboxes() {
    let patch = json!([
        {"op": "test", "path": "/spec/variables/0/name", "value": "privilegedSandboxes"},
        {"op": "replace", "path": "/spec/variables/0/expression", "value": "true"},
    ]);
    kubectl_in_cluster(
        &[
            "patch",
            "validatingadmissionpolicy",
            "kymaros-fence-namespaces",
            "--type=json",
            "-p",
            &patch.to_string(),
        ],
        None,
    )
    .expect("the policy is there");
}
