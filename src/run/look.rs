//! Looks at what came back: the provider's results, the objects, the volumes, the pods, the checks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::restore;
use super::{Run, choose::Chosen};
use crate::checks;
use crate::cluster::{Discovery, DownloadError, Downloads, Velero};
use crate::facts::{Fault, KindFacts, ObjectFacts, ProviderProblem, Reason, RestoreFacts, SandboxFacts, Stop};
use crate::observe::{self, ProviderVolumes, Settled, Startup, StartupOptions};
use crate::plan::ValidTest;
use crate::velero::{self, Cause, FileKind, Outcomes, Problem, RestorePhase};

/// A dependency has this long to answer.
const DIAL: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Everything after the provider has stopped writing.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is what an earlier phase found, and nothing else needs them together"
    )]
    pub(super) async fn look(
        &mut self,
        test: &ValidTest,
        velero: &Velero,
        chosen: Chosen,
        discovery: &Discovery,
        expected: Vec<KindFacts>,
        uid: &str,
        restored_after: Duration,
    ) -> Result<(), Stop> {
        if let Some(turn) = self.turn.take() {
            turn.release().await;
        }
        let Some(restore) = self.facts.restore.as_mut() else {
            return Ok(());
        };
        self.facts.elapsed = None;
        let outcomes = results(&chosen.downloads, restore, &self.facts.sandboxes, &expected).await?;
        let phase = RestorePhase::from(restore.phase.as_str());
        if let Some(stop) = restore::end(restore, &phase) {
            return Err(stop);
        }
        let since = self
            .anchor
            .map_or_else(tokio::time::Instant::now, |anchor| anchor.instant());
        let options = StartupOptions {
            since,
            restored: tokio::time::Instant::now(),
            timeout: test.spec.pod_startup.timeout.0,
            stable_for: test.spec.pod_startup.stable_for.0,
            replication_controllers: expected
                .iter()
                .any(|k| k.kind == "ReplicationController" && !k.expected.is_empty()),
        };
        let startup = self
            .startup
            .insert(Startup::new(self.cluster, &self.facts.sandboxes, &options));
        let objects = self.facts.objects.insert(ObjectFacts { kinds: expected });

        // Completeness is looked at while the pods start.
        self.timeline.begin("podStartup");
        let (counted, settled) = tokio::join!(
            observe::inventory(
                self.cluster,
                discovery,
                &self.facts.sandboxes,
                &mut objects.kinds,
                outcomes.as_ref(),
                test.is_partial()
            ),
            startup.settled(),
        );
        restore.created_items = counted.map_err(super::api)?;
        tracing::info!(outcome = ?settled, "pods settled");
        if settled == Settled::Blind {
            return Err(blind(startup));
        }
        let from_files = velero.pod_volumes(uid).await.map_err(super::api)?;
        let from_snapshots = velero.data_downloads(uid).await.map_err(super::api)?;
        let provider = ProviderVolumes {
            backup: &chosen.volumes,
            from_files: &from_files,
            from_snapshots: &from_snapshots,
        };
        self.facts.volumes = observe::volumes(
            self.cluster,
            &self.facts.sandboxes,
            &objects.kinds,
            &provider,
            &startup.mounts(),
        )
        .await
        .map_err(super::api)?;

        self.timeline.begin("checks");
        let policy = test.checks.as_deref().unwrap_or_default();
        let context = checks::Context::new(self.cluster, &self.facts.sandboxes);
        let checks = checks::run_all(
            &context,
            policy,
            test.spec.health_checks.timeout.0,
            &mut self.facts.checks,
        );
        let dependencies = async {
            if settled == Settled::AllReady && !self.brief.dependencies.is_empty() {
                Some(checks::dependencies::dial(&self.brief.dependencies, DIAL).await)
            } else {
                None
            }
        };
        let anchor = self.anchor;
        let checks = async {
            checks.await;
            anchor.map(|anchor| anchor.elapsed())
        };
        let stable = async {
            if settled == Settled::AllReady {
                startup.stable().await;
            }
        };
        let (checked_after, dependencies, ()) = tokio::join!(checks, dependencies, stable);
        self.facts.dependencies = dependencies;
        if startup.blindness().is_some() {
            return Err(blind(startup));
        }
        self.timeline.end("podStartup");
        self.timeline.end("checks");

        let pods = startup.facts();
        // Recovery is reached with the last check or the last pod, whichever is later; the stability window is not part of it.
        let checked_after = checked_after.filter(|_| !policy.is_empty());
        let unready = if settled == Settled::AllReady {
            None
        } else {
            Some(restored_after.max(pods.waited))
        };
        self.facts.elapsed = [Some(restored_after), pods.ready_after, checked_after, unready]
            .into_iter()
            .flatten()
            .max();
        self.facts.pods = Some(pods);
        self.startup = None;

        observe::recheck(
            self.cluster,
            discovery,
            &self.facts.sandboxes,
            &mut objects.kinds,
            outcomes.as_ref(),
        )
        .await
        .map_err(super::api)?;
        self.facts.hardcoded_names = observe::hardcoded_names(self.cluster, &self.facts.sandboxes, &objects.kinds)
            .await
            .map_err(super::api)?;
        Ok(())
    }
}

/// Nothing can be said of the pods.
fn blind(startup: &Startup) -> Stop {
    match startup.blindness() {
        Some(blindness) if blindness.refused => Stop::new(
            Reason::SandboxDenied,
            format!("the pods could not be watched: {}", blindness.message),
        ),
        Some(blindness) => Stop::new(
            Reason::ApiUnavailable,
            format!("the pods could not be watched: {}", blindness.message),
        ),
        None => Stop::new(Reason::ApiUnavailable, "the pods could not be watched"),
    }
}

/// Reads what the provider says of its restore into the facts, and returns its list of what it did with each object.
async fn results(
    downloads: &Downloads,
    restore: &mut RestoreFacts,
    sandboxes: &[SandboxFacts],
    expected: &[KindFacts],
) -> Result<Option<Outcomes>, Stop> {
    match downloads
        .fetch(FileKind::RestoreResults, &restore.name, |reader| {
            velero::read_results(reader)
        })
        .await
    {
        Ok(results) => {
            restore.error_count = results.errors.total;
            restore.errors = results
                .errors
                .problems
                .iter()
                .map(|p| problem(p, sandboxes, expected))
                .collect();
            restore.warning_count = results.warnings.total;
            restore.warnings = results.warnings.texts;
        }
        Err(DownloadError::Api(error)) => return Err(super::api(error)),
        Err(error) => restore.results_unreadable = Some(error.to_string()),
    }
    let names: BTreeSet<String> = sandboxes.iter().map(|s| s.name.clone()).collect();
    match downloads
        .fetch(FileKind::RestoreResourceList, &restore.name, move |reader| {
            velero::read_restore_outcomes(reader, &names)
        })
        .await
    {
        Ok(outcomes) => Ok(Some(outcomes)),
        Err(DownloadError::Api(error)) => Err(super::api(error)),
        Err(error) => {
            tracing::warn!(%error, "the provider's list of what it restored cannot be read");
            Ok(None)
        }
    }
}

/// One error of the provider in the source's terms.
fn problem(problem: &Problem, sandboxes: &[SandboxFacts], expected: &[KindFacts]) -> ProviderProblem {
    let item = problem.item.as_ref();
    let namespace = item.and_then(|i| i.namespace.as_ref()).or(problem.namespace.as_ref());
    let source = namespace
        .and_then(|n| sandboxes.iter().find(|s| s.name == *n))
        .map(|s| s.source.clone());
    let kind = item
        .and_then(|i| expected.iter().find(|k| k.resource == i.resource))
        .map(|k| k.kind.clone());
    let object = item.map(|i| format!("{}/{}", kind.as_ref().unwrap_or(&i.resource), i.name));
    let object = match (&source, sandboxes.len()) {
        (Some(source), 2..) => object.map(|object| format!("{source}/{object}")),
        _ => object,
    };
    // The sandbox's name means nothing to the reader, and is another one in every run.
    let message = sandboxes
        .iter()
        .fold(problem.message.clone(), |text, s| text.replace(&s.name, &s.source));
    ProviderProblem {
        object,
        resource: item.map(|i| i.resource.clone()),
        source,
        name: item.map(|i| i.name.clone()),
        message,
        fault: fault(problem.cause),
    }
}

fn fault(cause: Cause) -> Fault {
    match cause {
        Cause::Fence => Fault::Fence,
        Cause::PodSecurity => Fault::PodSecurity,
        Cause::Quota => Fault::Sandbox,
        Cause::Provider | Cause::SandboxLost | Cause::Modifier => Fault::Provider,
        Cause::Backup => Fault::Backup,
    }
}
