//! What a test asks for that loosens the fence, and whether the installation allows it.
//!
//! The fence itself answers, by dry runs of the sandbox that would be made: one that asks for nothing must be accepted, and then one
//! for each thing that is asked for. So nothing here knows the installation's lists, and no refusal has to be read.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;

use super::{is_refused_by, stop};
use crate::api::{IsolationProof, PodSecurity, Sandbox};
use crate::build::Owner;
use crate::build::sandbox::{self, End, Kinds};
use crate::clock;
use crate::cluster::{Cluster, Objects};
use crate::facts::{Reason, Stop};
use crate::names::{INSTALLATION, self_test};
use crate::plan::{self, PlanError, ValidTest, rules};

/// One loosening: the path of the field, what it is, and how to allow it; and a sandbox that asks for it alone.
struct Loosening {
    problem: PlanError,
    settings: Sandbox,
    kinds: Kinds,
}

/// Finds everything that the test asks for and the installation does not allow. Nothing is stored.
pub async fn installation_allows(cluster: &Cluster, test: &ValidTest, run_id: &str, kinds: &Kinds) -> Result<(), Stop> {
    let asked = loosenings(&test.spec.sandbox, kinds);
    if asked.is_empty() {
        return Ok(());
    }
    let refused =
        |settings: Sandbox, kinds: Kinds| async move { is_refused(cluster, test, run_id, &settings, &kinds).await };
    if refused(plain(&test.spec.sandbox), Kinds::new()).await? {
        return Err(Stop::new(
            Reason::SandboxDenied,
            "the fence refuses a sandbox that asks for nothing; install the runner's manifests and its image in the same version"
                .to_owned(),
        ));
    }
    let judged = try_join_all(asked.into_iter().map(async |one| {
        let refused = refused(one.settings, one.kinds).await?;
        Ok::<_, Stop>(refused.then_some(one.problem))
    }));
    let problems: Vec<PlanError> = judged.await?.into_iter().flatten().collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(plan::invalid_spec(&problems))
}

/// Without whatever loosens the fence.
fn plain(settings: &Sandbox) -> Sandbox {
    Sandbox {
        pod_security: PodSecurity::Baseline,
        isolation_proof: IsolationProof::Required,
        ..settings.clone()
    }
}

fn loosenings(settings: &Sandbox, kinds: &Kinds) -> Vec<Loosening> {
    let plain = plain(settings);
    let problem = |path: &str, what: &str, how: &str| PlanError {
        path: path.to_owned(),
        message: format!(
            "this installation does not allow {what}: whoever runs it can {how} of ConfigMap {INSTALLATION} (docs/install.md, What the \
             installation allows)"
        ),
    };
    let mut asked = Vec::new();
    if settings.pod_security == PodSecurity::Privileged {
        asked.push(Loosening {
            problem: problem("spec.sandbox.podSecurity", "privileged", "set privilegedSandboxes"),
            settings: Sandbox {
                pod_security: settings.pod_security,
                ..plain.clone()
            },
            kinds: Kinds::new(),
        });
    }
    if settings.isolation_proof == IsolationProof::Report {
        asked.push(Loosening {
            problem: problem(
                "spec.sandbox.isolationProof",
                "report, a restore whose isolation was not proved",
                "set unprovenIsolation",
            ),
            settings: Sandbox {
                isolation_proof: settings.isolation_proof,
                ..plain.clone()
            },
            kinds: Kinds::new(),
        });
    }
    let custom = kinds
        .iter()
        .filter(|kind| kind.split_once('.').is_some_and(|(_, group)| rules::is_custom(group)));
    for kind in custom {
        asked.push(Loosening {
            problem: problem(
                "spec.restore.customResources",
                &format!("{kind} in a sandbox"),
                &format!("add '{kind}' or its group to customResources"),
            ),
            settings: plain.clone(),
            kinds: Kinds::from([kind.clone()]),
        });
    }
    asked
}

/// Does the fence refuse such a sandbox?
async fn is_refused(
    cluster: &Cluster,
    test: &ValidTest,
    run_id: &str,
    settings: &Sandbox,
    kinds: &Kinds,
) -> Result<bool, Stop> {
    let owner = Owner {
        test: test.name.clone(),
        test_uid: test.uid.clone(),
        run_id: run_id.to_owned(),
    };
    let Some((source, name)) = test.sandbox_names(run_id).into_iter().next() else {
        return Ok(false);
    };
    let end = End {
        expires_at: clock::now(),
        provider_namespace: test.spec.backup_source.provider_namespace.clone(),
        ..End::default()
    };
    let namespaces: Objects<Namespace> = cluster.all();
    let namespace = sandbox::namespace(&source, &name, &owner, settings, &end, kinds);
    match namespaces.dry_run_create(&namespace).await {
        Ok(_) => Ok(false),
        Err(error) if is_refused_by(&error, self_test::NAMESPACE) => Ok(true),
        Err(error) => Err(stop(&error)),
    }
}
