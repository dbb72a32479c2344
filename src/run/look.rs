//! Looks at what came back: the provider's results, the objects, the volumes, the pods, the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::patience::patiently;
use super::{Restored, Run, choose, ephemeral, exclude, restore};
use crate::build::restore::Neutraliser;
use crate::checks;
use crate::cluster::{DownloadError, Downloads, Velero};
use crate::facts::{
    Fault, GivenUp, KindFacts, NotTested, ObjectFacts, ProviderProblem, Reason, RestoreFacts, SandboxFacts, Stop,
};
use crate::fence;
use crate::judge::level::first_few;
use crate::observe::{self, BarePod, ProviderVolumes, Settled, Startup};
use crate::plan::{self, ValidTest};
use crate::velero::{self, Cause, FileKind, Furnished, Outcomes, Problem, RestorePhase};

/// How long a look may take that only makes a message clearer.
pub(super) const GLANCE: Duration = Duration::from_secs(5);

/// A dependency has this long to answer.
const DIAL: Duration = Duration::from_secs(5);

/// A restore that ended with errors, as the provider spells it.
const PARTIAL: &str = "PartiallyFailed";

impl Run<'_> {
    /// Everything after the provider has stopped writing.
    pub(super) async fn look(
        &mut self,
        test: &ValidTest,
        velero: &Velero,
        restored: &Restored,
        expected: Vec<KindFacts>,
    ) -> Result<(), Stop> {
        // Its Restore and all its volume restores have ended, so the provider is idle.
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
        let Some(restore) = self.facts.restore.as_mut() else {
            return Ok(());
        };
        let mut expected = expected;
        let outcomes = results(
            &restored.chosen.downloads,
            restore,
            &self.facts.sandboxes,
            &mut expected,
        )
        .await?;
        restore.created_items = outcomes
            .as_ref()
            .map(|o| observe::created_items(o, &self.facts.sandboxes));
        let phase = RestorePhase::from(restore.phase.as_str());
        let missed_data =
            restore.errors.iter().any(|e| e.fault == Fault::Storage) || phase == RestorePhase::FailedValidation;
        if missed_data && restore.storage_lost.is_none() {
            let location = &restored.chosen.point.storage_location;
            restore.storage_lost = patiently(async || restore::storage_lost(velero, location).await)
                .await
                .map_err(super::api)?;
        }
        let backup_gone = phase == RestorePhase::FailedValidation
            && patiently(async || velero.backup(&restored.chosen.point.name).await)
                .await
                .map_err(super::api)?
                .is_none();
        if let Some(stop) = restore::end(restore, &phase, backup_gone) {
            return Err(stop);
        }
        let bare = bare_pods(
            test,
            restored,
            restore,
            &self.facts.sandboxes,
            outcomes.as_ref(),
            &mut expected,
        );
        if let Some(startup) = &mut self.startup {
            ephemeral::free(self.cluster, &self.facts.sandboxes, startup, &mut BTreeSet::new()).await;
            ephemeral::leave_out(startup, &mut expected);
            startup.exclude(exclude::exclusions(test, restored));
            startup.begin(restored.after, bare);
        }

        self.facts.objects = Some(ObjectFacts { kinds: expected });
        self.timeline.begin("podStartup");
        let settled = self.settle(test, restored, outcomes.as_ref()).await?;
        self.volumes(velero, restored).await?;
        let checks_took = self.check(test, settled).await?;
        self.recovered(settled, restored.after, checks_took);

        self.last_look(restored, outcomes.as_ref()).await;
        self.facts.denied = observe::denied(self.cluster, &self.facts).await;
        let (names, problem) = fence::outside_names(&self.names).await;
        self.facts.outside_names = names;
        self.facts.notes.extend(problem);
        Ok(())
    }

    /// What makes a report say more. The verdict is complete without it, so what fails here is said and costs nothing.
    async fn last_look(&mut self, restored: &Restored, outcomes: Option<&Outcomes>) {
        let kinds = &mut self.facts.objects.get_or_insert_default().kinds;
        let sandboxes = &self.facts.sandboxes;
        let again = observe::recheck(self.cluster, &restored.discovery, sandboxes, kinds, outcomes).await;
        if let Err(error) = again {
            let note =
                format!("whether everything was still in the sandbox after the checks could not be looked at: {error}");
            self.facts.notes.push(note);
        }
        match observe::hardcoded_names(self.cluster, sandboxes, kinds).await {
            Ok(names) => self.facts.hardcoded_names = names,
            Err(error) => {
                let note = format!("restored configuration could not be searched for names of the source: {error}");
                self.facts.notes.push(note);
            }
        }
    }

    /// Says what holds a restore up that did not end in time: volumes are written into pods, and one that cannot start is
    /// waited for until the last moment.
    pub(super) fn held_up(&self, mut stop: Stop) -> Stop {
        if stop.reason == Reason::DeadlineExceeded {
            let causes = self.startup.as_ref().map(Startup::not_up).unwrap_or_default();
            if !causes.is_empty() {
                stop.message = format!("{}; not up: {}", stop.message, first_few(&causes, 3));
            }
        }
        stop
    }

    /// Looks through the sandboxes while the pods start.
    async fn settle(
        &mut self,
        test: &ValidTest,
        restored: &Restored,
        outcomes: Option<&Outcomes>,
    ) -> Result<Settled, Stop> {
        let objects = self.facts.objects.get_or_insert_default();
        let Some(startup) = self.startup.as_mut() else {
            return Ok(Settled::Blind);
        };
        let counted = self.neutraliser == Some(Neutraliser::Admission);
        let inventory = patiently(async || {
            observe::inventory(
                self.cluster,
                &restored.discovery,
                &self.facts.sandboxes,
                &mut objects.kinds,
                outcomes,
                test.is_partial(),
                counted,
            )
            .await
        });
        let (counted, settled) = tokio::join!(inventory, startup.settled());
        if let Some(restore) = &mut self.facts.restore {
            restore.created_items = counted.map_err(super::api)?;
        }
        tracing::info!(outcome = ?settled, "pods settled");
        if settled == Settled::Blind {
            return Err(blind(startup));
        }
        if settled != Settled::AllReady {
            self.timeline.end("podStartup");
        }
        Ok(settled)
    }

    /// What became of the claims' data. Every volume restore has ended by now.
    async fn volumes(&mut self, velero: &Velero, restored: &Restored) -> Result<(), Stop> {
        let mut from_files = patiently(async || velero.pod_volumes(&restored.uid).await)
            .await
            .map_err(super::api)?;
        let from_snapshots = patiently(async || velero.data_downloads(&restored.uid).await)
            .await
            .map_err(super::api)?;
        let given_up = self.facts.restore.iter().flat_map(|restore| &restore.given_up);
        for one in given_up {
            if let Some(volume) = from_files.iter_mut().find(|volume| volume.name() == one.volume_restore) {
                volume.status.message = Some(one.why.clone());
            }
        }
        let held_pods = self.held_pods(restored);
        let provider = ProviderVolumes {
            backup: &restored.chosen.volumes,
            from_files: &from_files,
            from_snapshots: &from_snapshots,
            held_pods: &held_pods,
        };
        let mounts = self.startup.as_ref().map(Startup::mounts).unwrap_or_default();
        let kinds = self
            .facts
            .objects
            .iter()
            .flat_map(|o| &o.kinds)
            .cloned()
            .collect::<Vec<_>>();
        self.facts.volumes =
            patiently(async || observe::volumes(self.cluster, &self.facts.sandboxes, &kinds, &provider, &mounts).await)
                .await
                .map_err(super::api)?;
        Ok(())
    }

    /// Pods of the backup that were kept out on purpose, with the reason: volumes are restored into pods, so theirs are not.
    fn held_pods(&self, restored: &Restored) -> BTreeMap<(String, String), String> {
        let jobs = plan::job_pods(&restored.chosen.contents, &self.brief.sources);
        let mut held: BTreeMap<_, _> = jobs
            .into_iter()
            .map(|pod| (pod, "Jobs are held back, for they would run again".to_owned()))
            .collect();
        let errors = self.facts.restore.iter().flat_map(|restore| &restore.errors);
        let refused = errors.filter(|e| e.fault == Fault::Fence && e.resource.as_deref() == Some("pods"));
        held.extend(refused.filter_map(|error| {
            let pod = (error.source.clone()?, error.name.clone()?);
            Some((pod, error.message.clone()))
        }));
        held
    }

    /// Checks the application while the stability window passes. Returns how long the checks took; `None` without checks.
    async fn check(&mut self, test: &ValidTest, settled: Settled) -> Result<Option<Duration>, Stop> {
        self.timeline.begin("checks");
        let policy = test.checks.as_deref().unwrap_or_default();
        let left_out = self.startup.as_ref().map(Startup::left_out).unwrap_or_default();
        let kept_out = checks::KeptOut {
            pods: &left_out,
            objects: self.facts.objects.as_ref().map_or(&[], |objects| &objects.kinds),
            errors: self.facts.restore.as_ref().map_or(&[], |restore| &restore.errors),
        };
        let context = checks::Context::new(self.cluster, &self.facts.sandboxes).without(kept_out);
        let limit = test.spec.health_checks.timeout.0;
        let done = &mut self.facts.checks;
        let began = Instant::now();
        let checks = async {
            let unmade = checks::run_all(&context, policy, limit, done).await;
            (Some(began.elapsed()).filter(|_| !policy.is_empty()), unmade)
        };
        let brief = &self.brief;
        let dependencies = async {
            let wanted = settled == Settled::AllReady && !brief.dependencies.is_empty();
            if wanted {
                Some(checks::dependencies::dial(&brief.dependencies, DIAL).await)
            } else {
                None
            }
        };
        let Some(startup) = self.startup.as_mut() else {
            return Ok(None);
        };
        let both = async {
            let (checked, dependencies) = tokio::join!(checks, dependencies);
            (checked, dependencies, Instant::now())
        };
        let ((checks_took, unmade), dependencies, checked_at) = if settled == Settled::AllReady {
            startup.stable_during(Box::pin(both)).await
        } else {
            both.await
        };
        self.timeline.end("podStartup");
        self.timeline.end_at("checks", checked_at);
        self.facts.dependencies = dependencies;
        if startup.blindness().is_some() {
            return Err(blind(startup));
        }
        if let Some(why) = unmade {
            let message = format!("a check could not be made, which says nothing about the application: {why}");
            return Err(Stop::new(Reason::ApiUnavailable, message));
        }
        Ok(checks_took)
    }

    /// Recovery is reached with the last check or the last pod, whichever is later. The stability window is not part of it, nor is
    /// what the runner itself did before the checks could begin: they count from the moment the last pod was ready.
    fn recovered(&mut self, settled: Settled, restored_after: Duration, checks_took: Option<Duration>) {
        let Some(pods) = self.startup.take().map(|startup| startup.facts()) else {
            return;
        };
        let unready = (settled != Settled::AllReady).then(|| restored_after + pods.waited);
        let up = [Some(restored_after), pods.ready_after, unready]
            .into_iter()
            .flatten()
            .max();
        self.facts.elapsed = up.map(|up| up + checks_took.unwrap_or_default());
        self.facts.pods = Some(pods);
    }
}

/// The pods that should be there by themselves; those of which nothing can be said are added to the expected objects.
fn bare_pods(
    test: &ValidTest,
    restored: &Restored,
    restore: &RestoreFacts,
    sandboxes: &[SandboxFacts],
    outcomes: Option<&Outcomes>,
    expected: &mut Vec<KindFacts>,
) -> Vec<BarePod> {
    let is_pod = |kind: &KindFacts| kind.group.is_empty() && kind.kind == "Pod";
    // Pods that the spec keeps out are counted as held already.
    let Some(outcomes) = outcomes.filter(|_| !expected.iter().any(is_pod)) else {
        return Vec::new();
    };
    let pods = plan::bare_pods(&restored.chosen.contents, &test.sources());
    let (wanted, unknown) = observe::bare_pods(&pods, sandboxes, outcomes, &restore.errors, test.is_partial());
    expected.extend(unknown);
    wanted
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

/// Reads what the provider says of its restore into the facts, and returns its list of what it did with each object. Nothing that
/// the store or the API server fails at here is the backup's fault.
async fn results(
    downloads: &Downloads,
    restore: &mut RestoreFacts,
    sandboxes: &[SandboxFacts],
    expected: &mut [KindFacts],
) -> Result<Option<Outcomes>, Stop> {
    let name = restore.name.clone();
    let answer = patiently(async || {
        downloads
            .fetch(FileKind::RestoreResults, &name, |reader| velero::read_results(reader))
            .await
    });
    match answer.await {
        Ok(results) => {
            // Moves of data that failed are counted by the Restore alone.
            restore.error_count = restore.error_count.max(results.errors.total);
            restore.errors = results
                .errors
                .problems
                .iter()
                .map(|p| problem(p, sandboxes, expected, &restore.given_up))
                .collect();
            restore.warning_count = results.warnings.total;
            restore.warnings = results.warnings.texts;
            furnished(&results.warnings.furnished, sandboxes, expected);
        }
        // Nobody can say whose fault its errors are.
        Err(error @ DownloadError::NotAvailable(_)) if restore.phase == PARTIAL => {
            let message = format!("Velero ended the restore {PARTIAL}, and what went wrong cannot be read: {error}");
            return Err(Stop::new(Reason::ProviderUnavailable, message));
        }
        Err(error @ (DownloadError::NotAvailable(_) | DownloadError::NoSuchObject)) => {
            restore.results_unreadable = Some(error.to_string());
        }
        Err(error) => return Err(choose::lists(&error)),
    }
    let names: BTreeSet<String> = sandboxes.iter().map(|s| s.name.clone()).collect();
    let answer = patiently(async || {
        let names = names.clone();
        downloads
            .fetch(FileKind::RestoreResourceList, &name, move |reader| {
                velero::read_restore_outcomes(reader, &names)
            })
            .await
    });
    match answer.await {
        Ok(outcomes) => Ok(Some(outcomes)),
        // A restore that failed before it began writes none.
        Err(error @ (DownloadError::NotAvailable(_) | DownloadError::NoSuchObject)) => {
            tracing::warn!(%error, "the provider has no list of what it restored");
            Ok(None)
        }
        Err(error) => Err(choose::lists(&error)),
    }
}

/// One error of the provider in the source's terms.
fn problem(
    problem: &Problem,
    sandboxes: &[SandboxFacts],
    expected: &[KindFacts],
    given_up: &[GivenUp],
) -> ProviderProblem {
    let item = problem.item.as_ref();
    let namespace = item.and_then(|i| i.namespace.as_ref()).or(problem.namespace.as_ref());
    let source = namespace
        .and_then(|n| sandboxes.iter().find(|s| s.name == *n))
        .map(|s| s.source.clone());
    let kind = item
        .and_then(|i| expected.iter().find(|k| k.resource == i.resource))
        .map(|k| k.kind.clone())
        // Pods are not among the expected objects.
        .or_else(|| item.filter(|i| i.resource == "pods").map(|_| "Pod".to_owned()));
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
        name: item.map(|i| i.name.clone()),
        message,
        fault: match problem.cause {
            // Volumes that were cancelled where the drill gave some up are those; Velero names neither pod nor namespace.
            Cause::Cancelled
                if given_up
                    .iter()
                    .any(|one| source.as_ref().is_none_or(|source| *source == one.source)) =>
            {
                Fault::Drill
            }
            cause => fault(cause),
        },
        source,
    }
}

/// Takes objects that the cluster puts into every new namespace out of what is expected: what is in the sandbox is not the backup's.
fn furnished(objects: &[Furnished], sandboxes: &[SandboxFacts], expected: &mut [KindFacts]) {
    for object in objects {
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.name == object.namespace) else {
            continue;
        };
        for kind in expected
            .iter_mut()
            .filter(|k| k.source == sandbox.source && k.kind == object.kind)
        {
            let before = kind.expected.len();
            kind.expected.retain(|name| *name != object.name);
            if kind.expected.len() < before {
                kind.not_tested.push(NotTested {
                    name: object.name.clone(),
                    reason:
                        "something in this cluster puts it into every new namespace, so the backup's was not restored"
                            .to_owned(),
                });
            }
        }
    }
}

fn fault(cause: Cause) -> Fault {
    match cause {
        Cause::Fence => Fault::Fence,
        Cause::PodSecurity => Fault::PodSecurity,
        Cause::Quota => Fault::Sandbox,
        Cause::Provider | Cause::SandboxLost | Cause::Modifier | Cause::Cancelled => Fault::Provider,
        Cause::Storage => Fault::Storage,
        Cause::Backup => Fault::Backup,
    }
}
