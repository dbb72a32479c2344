//! One run: the phases in order, one deadline over all of them, always a report, always a clean-up.
//!
//! What a phase sees goes into [`Facts`] at once, so that a run that is stopped in the middle still reports what it saw. A bad
//! outcome is a fact, not an error; a [`Stop`] is what keeps a run from going on.

mod admit;
mod choose;
mod compare;
mod ephemeral;
mod exclude;
mod finish;
mod look;
mod owed;
mod patience;
mod queue;
mod restore;
mod stop;
mod timeline;
mod unblock;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::api::RestoreTest;
use crate::build;
use crate::build::restore::Neutraliser;
use crate::build::sandbox::{End, Kinds};
use crate::clock::{self, Anchor};
use crate::cluster::{Canceller, Cluster, Discovery, Velero};
use crate::facts::{Brief, Digests, Facts, Isolation, KindFacts, Reason, RestoreFacts, Stop};
use crate::fence::{self, IsolationWatch, NameServer, Runner};
use crate::lease::{Annotations, Held};
use crate::names::{PROVIDER_LOCK, PROVIDER_PREFIX, annotation};
use crate::observe::{Startup, StartupOptions};
use crate::plan::living::Comparison;
use crate::plan::{self, PlanError, Served, ValidTest};
use crate::report::{self, TestRef};
use crate::settings::{FailJobOn, Settings};
use crate::velero::Restore;
use admit::Policy;
use choose::{Chosen, api, api_ref};
use compare::Comparing;
use stop::Stopper;
use timeline::Timeline;

pub use finish::Exit;

/// Runs the test that the settings name.
pub async fn run(settings: &Settings) -> Exit {
    let span = tracing::info_span!("run", test = settings.test);
    Box::pin(run_in_span(settings)).instrument(span).await
}

async fn run_in_span(settings: &Settings) -> Exit {
    let signals = Stopper::new();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let in_cluster = settings.common.api_server.is_some();
    let cluster = match Cluster::find(in_cluster, settings.common.api_timeout).await {
        Ok(cluster) => cluster,
        Err(error) => {
            tracing::error!(%error, "no way to the API server");
            return Exit::Unavailable;
        }
    };
    Box::pin(run_on(settings, &cluster, &signals)).await
}

async fn run_on(settings: &Settings, cluster: &Cluster, signals: &Stopper) -> Exit {
    let mut admitted = match Box::pin(admit::admit(settings, cluster, signals)).await {
        Ok(admitted) => admitted,
        Err(exit) => return exit,
    };
    let started = Anchor::new(clock::now());
    // Interrupted, the run ends before it needs one.
    let policy = signals.unless(admit::policy(cluster, &admitted.test)).await;
    let policy = policy.unwrap_or_else(|_| Ok(Policy::default()));
    let read = policy.as_ref().ok();
    let deadline = started.instant() + admitted.test.spec.timeout.0;
    let mut run = Run {
        settings,
        cluster,
        brief: plan::brief_of_invalid(&admitted.test, read.and_then(|read| read.found.as_ref())),
        test_ref: TestRef::of(&admitted.test),
        test: None,
        facts: Facts {
            run_id: admitted.holder.run_id.clone(),
            run_started: started.at(),
            digests: Digests {
                policy: read.and_then(|read| read.digest.clone()),
                ..admitted.digests.clone()
            },
            ..Facts::default()
        },
        admitted: &admitted,
        timeline: Timeline::default(),
        anchor: None,
        startup: None,
        comparing: None,
        announced: Vec::new(),
        lock: None,
        waiting_for: RefCell::default(),
        image: None,
        names: Vec::new(),
        neutraliser: None,
    };
    tracing::info!(run = run.facts.run_id, timeout = %admitted.test.spec.timeout, "admitted");

    let stopped = tokio::select! {
        outcome = AssertUnwindSafe(run.phases(&admitted.test, policy)).catch_unwind() => match outcome {
            Ok(outcome) => outcome.err(),
            Err(_) => Some(panicked()),
        },
        stop = signals.told(admitted.lease.lost()) => Some(stop),
        () = tokio::time::sleep_until(deadline) => {
            Some(run.too_late())
        }
    };
    run.compared(stopped.is_some()).await;
    run.conclude(stopped);
    let exit = Box::pin(finish::finish(run, signals)).await;
    if exit != Exit::Unavailable {
        // Interrupted, there is no time for the reports of others.
        let _interrupted = signals.unless(Box::pin(pay(cluster, &mut admitted))).await;
    }
    if exit != Exit::Unavailable && admitted.owed.is_empty() {
        admitted.lease.release().await;
    } else {
        // Whoever takes it over will see that a report is owed.
        admitted.lease.leave().await;
    }
    exit
}

/// A panic is a defect of this program and of nothing else, and its run leaves a report like any other. Its words stay in the log: they
/// may quote whatever the program had in hand.
fn panicked() -> Stop {
    let version = env!("CARGO_PKG_VERSION");
    let message = format!("internal error of kymaros-runner {version}; the pod's log says where: please report it");
    Stop::new(Reason::InternalError, message)
}

/// Tries once more to write the reports that earlier runs owe.
async fn pay(cluster: &Cluster, admitted: &mut admit::Admitted) {
    if admitted.owed.is_empty() || admitted.lease.is_lost() {
        return;
    }
    let test = TestRef::of(&admitted.test);
    match report::list(cluster, &test.namespace, &test.name).await {
        Ok(reports) => {
            let last = report::last_finished(&reports);
            let mut last = admit::digest_of(cluster, &test.namespace, last).await;
            owed::complete(
                cluster,
                &admitted.lease,
                &admitted.test,
                &mut admitted.owed,
                &reports,
                &mut last,
            )
            .await;
        }
        Err(error) => tracing::warn!(%error, "earlier reports cannot be read"),
    }
}

/// A run in the middle.
struct Run<'a> {
    settings: &'a Settings,
    cluster: &'a Cluster,
    admitted: &'a admit::Admitted,
    test_ref: TestRef,
    /// Once the spec is known to be sound.
    test: Option<ValidTest>,
    brief: Brief,
    facts: Facts,
    timeline: Timeline,
    /// The creation of the Restore.
    anchor: Option<Anchor>,
    /// Kept here, so that what it saw survives a stop.
    startup: Option<Startup>,
    /// The comparison with the living namespaces.
    comparing: Option<Comparing>,
    /// Source namespaces and sandboxes that stand in the Lease; those that were made are in the facts.
    announced: Vec<(String, String)>,
    /// The provider lock.
    lock: Option<Held>,
    /// What the run waits for, while it does.
    waiting_for: RefCell<String>,
    /// The runner's own image.
    image: Option<String>,
    /// The name servers of the sandboxes, if names are rewritten.
    names: Vec<NameServer>,
    /// What changes restored objects on their way in, once that is known.
    neutraliser: Option<Neutraliser>,
}

/// What is known before anything is made.
struct Planned {
    chosen: Chosen,
    discovery: Discovery,
    served: Served,
    /// Resources that Velero is told to leave out.
    excluded: Vec<String>,
    expected: Vec<KindFacts>,
    kinds: Kinds,
}

/// What stands before the first restored byte.
struct Fenced {
    owner: build::Owner,
    /// Source namespaces and their sandboxes.
    names: Vec<(String, String)>,
    /// The storage location of the backup.
    location: String,
    /// The rest of the proof, beside the restore.
    watching: IsolationWatch,
    /// The backup holds `ReplicationControllers`.
    replication_controllers: bool,
}

/// A restore that the provider has finished.
struct Restored {
    chosen: Chosen,
    discovery: Discovery,
    /// UID of the Restore.
    uid: String,
    /// From the creation of the Restore until its last volume was written.
    after: Duration,
}

impl Run<'_> {
    async fn phases(&mut self, test: &RestoreTest, policy: Result<Policy, crate::cluster::Error>) -> Result<(), Stop> {
        admit::tidy(self.cluster, self.settings, test, &self.facts.run_id).await;
        let runner = self.prepare().await?;
        let policy = policy.map_err(api)?;
        let unreadable: Vec<PlanError> = self
            .admitted
            .unreadable
            .iter()
            .cloned()
            .chain(policy.unreadable)
            .collect();
        if !unreadable.is_empty() {
            return Err(plan::unreadable(&unreadable));
        }
        let valid = plan::validate(test, policy.found.as_ref()).map_err(|errors| plan::invalid_spec(&errors))?;
        self.brief = plan::brief(&valid);
        self.test = Some(valid.clone());
        let velero = Velero::new(
            self.cluster,
            &valid.spec.backup_source.provider_namespace,
            &self.facts.run_id,
        )
        .of_test(&valid.name);

        fence::self_test(self.cluster, &self.settings.pod.namespace, velero.namespace()).await?;
        let provider = choose::provider(&velero).await?;
        self.facts.provider = Some(provider.clone());
        choose::supported(&provider, velero.namespace())?;
        let chosen = choose::choose(&velero, &valid, admit::random()?).await?;
        self.facts.backup = Some(chosen.facts.clone());
        self.facts.notes.extend(chosen.lacking.clone());
        tracing::info!(backup = chosen.point.name, started = %chosen.point.started_at, objects = chosen.contents.len(), "backup chosen");

        let discovery = self.cluster.discover().await.map_err(api)?;
        let mut served = Served::default();
        for kind in discovery.kinds.iter().filter(|kind| kind.namespaced) {
            served.add(&kind.resource.group, &kind.resource.kind, &kind.resource.plural);
        }
        let planned = Planned {
            excluded: plan::excluded_resources(&valid, &served, &chosen.contents),
            expected: plan::expectation(&valid, &served, &chosen.contents),
            kinds: plan::restored_kinds(&valid, &served, &chosen.contents),
            chosen,
            discovery,
            served,
        };

        fence::installation_allows(self.cluster, &valid, &self.facts.run_id, &planned.kinds).await?;
        let lost = self.take_lock(&velero, &valid).await?;
        tokio::select! {
            done = Box::pin(self.drill(&runner, &velero, &valid, planned)) => done,
            stop = lost => Err(stop),
        }
    }

    /// What is done with the provider lock, and what is looked at afterwards.
    async fn drill(
        &mut self,
        runner: &Runner,
        velero: &Velero,
        valid: &ValidTest,
        planned: Planned,
    ) -> Result<(), Stop> {
        let Planned {
            chosen,
            discovery,
            served,
            excluded,
            expected,
            kinds,
        } = planned;
        let made = self.fence_in(runner, velero, valid, &chosen, &kinds).await?;
        let comparison = Comparison::new(valid, &served, &chosen.point, &chosen.contents);
        self.comparing = Some(Comparing::start(self.cluster, &discovery, comparison));
        let wanted = build::restore::restore(valid, &made.owner, &chosen.point, &made.names, excluded);
        let uid = Box::pin(self.restore(velero, valid, &wanted, made)).await?;
        let restored = Restored {
            chosen,
            discovery,
            uid,
            after: self.anchor.map(|anchor| anchor.elapsed()).unwrap_or_default(),
        };
        self.look(valid, velero, &restored, expected).await
    }

    /// Makes the sandboxes, proves their isolation, and puts what changes objects on their way in place.
    async fn fence_in(
        &mut self,
        runner: &Runner,
        velero: &Velero,
        test: &ValidTest,
        chosen: &Chosen,
        kinds: &Kinds,
    ) -> Result<Fenced, Stop> {
        let owner = build::Owner {
            test: test.name.clone(),
            test_uid: test.uid.clone(),
            run_id: self.facts.run_id.clone(),
        };
        let names = test.sandbox_names(&self.facts.run_id);
        self.announce(&chosen.point.name, &names).await?;
        let longest = test.spec.sandbox.ttl.0.max(test.spec.sandbox.keep_failed_for.0);
        let end = End {
            expires_at: clock::now() + test.spec.timeout.0 + self.settings.cleanup_timeout + longest,
            provider_namespace: velero.namespace().to_owned(),
            holder: self.admitted.holder.identity(),
        };
        let fence = fence::Fence::new(self.cluster, runner, &owner, &test.spec.sandbox, kinds);
        let neutraliser = match fence.make_sandboxes(&names, &end, &mut self.facts.sandboxes).await? {
            fence::Neutraliser::Admission => Neutraliser::Admission,
            fence::Neutraliser::Refusal => {
                self.facts.notes.push(
                    "this cluster has no mutating admission policies: Velero's modifiers made the changes".to_owned(),
                );
                Neutraliser::Modifiers
            }
        };
        self.neutraliser = Some(neutraliser);
        fence.close_to_shared_storage(&self.facts.sandboxes).await?;
        let served = test.spec.sandbox.name_rewrite && neutraliser == Neutraliser::Admission;
        fence.allow_dns(&self.facts.sandboxes, served).await?;
        self.names = match neutraliser {
            _ if !test.spec.sandbox.name_rewrite => Vec::new(),
            Neutraliser::Admission => fence.serve_names(&self.facts.sandboxes).await?,
            Neutraliser::Modifiers => {
                let note = "names of the source's Services were not rewritten, which needs Kubernetes 1.36";
                self.facts.notes.push(note.to_owned());
                Vec::new()
            }
        };
        let watching = fence
            .prove_isolation(&self.facts.sandboxes, &self.names, &mut self.facts.isolation)
            .await?;
        self.facts.ways_out = fence
            .open_ways_out(&self.facts.sandboxes, &self.facts.isolation)
            .await?;
        // While the sandboxes were made, somebody may have begun to restore for real.
        let others = queue::external(velero).await?;
        if !others.is_empty() {
            let message = format!(
                "yielded to restore {}, which kymaros did not create; the drill is tried again at the next scheduled run",
                others.join(", ")
            );
            return Err(Stop::new(Reason::Deferred, message));
        }
        let modifiers = build::restore::modifiers(test, &owner, neutraliser);
        self.cluster
            .namespaced(velero.namespace())
            .create_or_same(&modifiers)
            .await
            .map_err(api)?;
        Ok(Fenced {
            owner,
            names,
            location: chosen.point.storage_location.clone(),
            watching,
            replication_controllers: chosen.contents.has_kind("", "ReplicationController"),
        })
    }

    /// Asks for the restore and follows it until the provider has stopped writing. Returns the Restore's UID.
    async fn restore(
        &mut self,
        velero: &Velero,
        test: &ValidTest,
        wanted: &Restore,
        made: Fenced,
    ) -> Result<String, Stop> {
        let name = made.owner.provider_name();
        self.timeline.begin("restore");
        let created = velero.create_restore(wanted).await.map_err(api)?;
        let at = created
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or_else(clock::now, crate::api::time::from_time);
        let anchor = Anchor::new(at);
        self.anchor = Some(anchor);
        let uid = created.metadata.uid.clone().unwrap_or_default();
        self.facts.restore = Some(RestoreFacts {
            name: name.clone(),
            created_at: at,
            ..RestoreFacts::default()
        });
        let started = (annotation::STARTED_AT.to_owned(), at.to_rfc3339());
        self.admitted.note(Annotations::from([started])).await?;
        tracing::info!(restore = name, "restore created");

        let transfers = Canceller::of_restore(self.cluster, velero.namespace(), &name);
        let follow = restore::Follow {
            cluster: self.cluster,
            velero,
            uid: &uid,
            transfers: &transfers,
            location: &made.location,
            run_id: &self.facts.run_id,
            sandboxes: &self.facts.sandboxes,
            limit: test.spec.restore.timeout.0,
            since: anchor.instant(),
        };
        let mut startup = Startup::new(
            self.cluster,
            &self.facts.sandboxes,
            &StartupOptions {
                since: anchor.instant(),
                created: at,
                timeout: test.spec.pod_startup.timeout.0,
                stable_for: test.spec.pod_startup.stable_for.0,
                replication_controllers: made.replication_controllers,
                operators: !test.spec.restore.custom_resources.is_empty(),
            },
        );
        let mut given_up = Vec::new();
        let facts = self.facts.restore.get_or_insert_default();
        let isolation = &mut self.facts.isolation;
        let watching = async {
            let seen = made.watching.await;
            match &seen {
                Isolation::Breached(_) => isolation.clone_from(&seen),
                Isolation::NotTested(why) => *isolation = Isolation::NotWatched(why.clone()),
                _ => {}
            }
            seen
        };
        let unblock = unblock::Unblock {
            cluster: self.cluster,
            velero,
            sandboxes: &self.facts.sandboxes,
            uid: &uid,
            transfers: &transfers,
            startup: &mut startup,
            patience: test.spec.pod_startup.timeout.0,
            given_up: &mut given_up,
        };
        let timeline = &mut self.timeline;
        let followed = async {
            follow.to_the_end(facts, watching).await?;
            timeline.end("restore");
            timeline.begin("data");
            follow.volumes().await?;
            timeline.end("data");
            Ok(())
        };
        let outcome = tokio::select! {
            outcome = followed => outcome,
            stop = unblock.watch() => Err(stop),
        };
        self.facts.restore.get_or_insert_default().given_up = given_up;
        self.startup = Some(startup);
        match outcome {
            Ok(()) => Ok(uid),
            Err(stop) => Err(self.held_up(stop)),
        }
    }

    /// What the run needs to know of itself.
    async fn prepare(&mut self) -> Result<Runner, Stop> {
        let (host, port) = self.settings.common.api_server.clone().ok_or_else(|| {
            Stop::new(
                Reason::SandboxDenied,
                "the runner must run in a pod: isolation is proved from inside the cluster",
            )
        })?;
        let ip = host.parse().map_err(|_| {
            Stop::new(
                Reason::SandboxDenied,
                format!("KUBERNETES_SERVICE_HOST is no address: {host}"),
            )
        })?;
        let runner = Runner::read(self.cluster, &self.settings.pod, SocketAddr::new(ip, port)).await?;
        self.image = Some(runner.image().to_owned());
        Ok(runner)
    }

    /// Takes the provider lock and waits until the provider is idle. What it returns resolves when the lock is lost.
    async fn take_lock(
        &mut self,
        velero: &Velero,
        test: &ValidTest,
    ) -> Result<impl Future<Output = Stop> + use<>, Stop> {
        self.timeline.begin("queued");
        let own = format!("{PROVIDER_PREFIX}{}", self.facts.run_id);
        let mut queue = queue::Queue::new(velero, own, test.spec.restore.queue_timeout.0, &self.waiting_for);
        // Before the lock is taken: a drill that waits for the lock has no queueTimeout for what its holder waits for.
        queue.until_no_external().await?;
        let others = format!(
            "other drills, which hold the provider lock {}/{PROVIDER_LOCK}",
            velero.namespace()
        );
        self.waiting_for.replace(others);
        let lock = self
            .admitted
            .lock(self.cluster, velero.namespace(), PROVIDER_LOCK)
            .await?;
        let lost = lock.lost();
        self.lock = Some(lock);
        queue.until_idle().await?;
        self.timeline.end("queued");
        let lease = format!("{}/{PROVIDER_LOCK}", velero.namespace());
        Ok(async move {
            lost.await;
            Stop::new(
                Reason::Interrupted,
                format!("the provider lock (Lease {lease}) was lost, so another drill may have begun to restore"),
            )
        })
    }

    /// Writes into the Lease what is about to be made, so that nothing of a run that dies is unknown.
    async fn announce(&mut self, backup: &str, names: &[(String, String)]) -> Result<(), Stop> {
        self.announced = names.to_vec();
        let sandboxes: Vec<String> = names.iter().map(|(source, name)| format!("{source}={name}")).collect();
        let notes = [
            (annotation::BACKUP, backup.to_owned()),
            (annotation::SANDBOXES, sandboxes.join(",")),
        ];
        self.admitted.note(notes.map(|(k, v)| (k.to_owned(), v)).into()).await
    }

    /// The run's own deadline has passed.
    fn too_late(&self) -> Stop {
        let limit = self.admitted.test.spec.timeout;
        let waiting_for = self.waiting_for.borrow();
        let message = if waiting_for.is_empty() {
            format!("the run exceeded spec.timeout ({limit}); increase it if runs normally take longer")
        } else {
            format!("the run exceeded spec.timeout ({limit}) while it waited for {waiting_for}")
        };
        Stop::new(Reason::DeadlineExceeded, message)
    }

    /// Takes what the comparison with the living namespaces found into the facts. It has long ended when everything has been looked
    /// at; a run that was stopped does not wait for it.
    async fn compared(&mut self, stopped: bool) {
        if let Some(comparing) = self.comparing.take() {
            self.facts.living = if stopped {
                comparing.now().await
            } else {
                comparing.end(look::GLANCE).await
            };
        }
    }

    /// Takes into the facts what was seen by the end, whatever the end was.
    fn conclude(&mut self, stop: Option<Stop>) {
        if let Some(stop) = &stop {
            tracing::warn!(reason = %stop.reason, message = stop.message, "stopped");
        }
        // What was seen while the restore ran counts for nothing: what was not up might have come.
        if let Some(startup) = self.startup.take().filter(Startup::has_begun) {
            self.facts.pods = Some(startup.facts());
        }
        if self.facts.elapsed.is_none() {
            self.facts.elapsed = self.anchor.map(|anchor| anchor.elapsed());
        }
        self.facts.stop = stop;
        self.facts.timeline = self.timeline.facts();
        self.facts.previous = self.admitted.previous.clone();
    }

    /// Does this outcome make the Job fail?
    fn refuses(&self, outcome: crate::api::Outcome) -> bool {
        use crate::api::Outcome::{Fail, Partial};
        match self.settings.fail_job_on {
            FailJobOn::Never => false,
            FailJobOn::Fail => outcome == Fail,
            FailJobOn::Partial => matches!(outcome, Fail | Partial),
        }
    }
}

/// Until a deadline, but at least a moment, so that a report is tried even when time is up.
fn until(deadline: Instant, least: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(least)
}

#[cfg(test)]
mod tests;
