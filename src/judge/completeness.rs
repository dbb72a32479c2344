//! Level 2: is everything that the backup holds in the sandbox, has every claim its data, and does the backup hold what the living
//! namespace does?
//!
//! Counted by identity: an object too many hides no object that is missing.

use std::collections::{BTreeMap, HashSet};

use crate::facts::{Brief, Facts, Fault, KindFacts, ProviderProblem, VolumeFacts};
use crate::judge::level::{Level, first_few, name_in, share, weight::COMPLETENESS};
use crate::judge::not_in_backup;

/// Kinds that run pods; they are what `tested` lists.
pub const WORKLOADS: [(&str, &str); 6] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
];

/// An object of the backup that is not in the sandbox, a claim without its data, or an object that the backup does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// `Kind/name`, with `<source>/` in front where there are several sources.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// What became of a claim's data.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeState {
    /// All of it is back.
    Restored,
    /// The backup holds the volume and there was nothing in it.
    Empty,
    /// The backup holds no data for the claim.
    NoData(String),
    /// The backup holds data that is not (all) back.
    NotRestored(String),
    /// Nobody uses the claim, or nothing shows what is in its volume. Where a pod mounts it, that costs the level's points.
    NotTested(String),
}

/// Number of objects expected and there, of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// There.
    pub present: usize,
    /// Expected.
    pub expected: usize,
}

/// Everything the level found.
#[derive(Clone, Debug, PartialEq)]
pub struct Completeness {
    /// The verdict.
    pub level: Level,
    /// The sandbox was looked through, so that its objects can be counted.
    pub looked_at: bool,
    /// Missing objects and claims without data.
    pub missing: Vec<Missing>,
    /// Objects of the living namespace that should be in the backup and are not.
    pub not_in_backup: Vec<Missing>,
    /// Each claim of the backup with its state.
    pub volumes: Vec<(VolumeFacts, VolumeState)>,
}

/// Judges the objects and volumes.
pub fn judge(brief: &Brief, facts: &Facts) -> Completeness {
    let nothing = |level| Completeness {
        level,
        looked_at: false,
        missing: Vec::new(),
        not_in_backup: Vec::new(),
        volumes: Vec::new(),
    };
    let Some(restore) = &facts.restore else {
        return nothing(Level::skip("Skipped: no restore was made"));
    };
    let looked_at = |o: &&crate::facts::ObjectFacts| {
        o.kinds
            .iter()
            .all(|k| k.present.is_some() || k.unlisted.is_some() || k.expected.is_empty())
    };
    let Some(objects) = facts.objects.as_ref().filter(looked_at) else {
        return nothing(Level::skip(
            "Skipped: the run ended before the sandbox was looked through",
        ));
    };

    let mut tally = Tally::default();
    let mut tested = Vec::new();
    let mut not_tested = Vec::new();
    for kind in &objects.kinds {
        let seen = Seen::of(kind);
        let named = |name: &str| name_in(brief, &kind.source, &format!("{}/{name}", kind.kind));
        for name in kind
            .expected
            .iter()
            .filter(|name| !refused_on_purpose(facts, kind, name))
        {
            match seen.absent(name, &restore.errors) {
                None => tally.there(),
                Some(reason) => tally.missing(named(name), reason),
            }
        }
        if is_workload(&kind.group, &kind.kind) {
            tested.extend(kind.expected.iter().map(|n| named(n)));
        }
        not_tested.extend(
            kind.not_tested
                .iter()
                .map(|n| format!("{} ({})", named(&n.name), n.reason)),
        );
    }

    let not_in_backup = not_in_backup::list(brief, facts);
    tally.lost = not_in_backup.iter().map(|m| m.object.clone()).collect();
    for (living, kind) in not_in_backup::absent(facts).filter(|(_, kind)| is_workload(&kind.group, &kind.kind)) {
        let named = |name: &String| name_in(brief, &living.source, &format!("{}/{name}", kind.kind));
        tested.extend(kind.names.iter().map(named));
    }
    not_tested.extend(not_in_backup::ignored(brief, facts));

    let mut volumes = Vec::new();
    // What a judged pod uses costs the points when nobody knows what is in it.
    let mut unproved = Vec::new();
    for volume in &facts.volumes {
        let claim = name_in(
            brief,
            &volume.source,
            &format!("PersistentVolumeClaim/{}", volume.claim),
        );
        let state = state(volume);
        match &state {
            VolumeState::NoData(why) => tally.replace(&claim, format!("no data in the backup: {why}")),
            VolumeState::NotRestored(why) => tally.replace(&claim, why.clone()),
            VolumeState::NotTested(why) => {
                not_tested.push(format!("{claim} ({why})"));
                if volume.mounted {
                    unproved.push(format!("{claim}: {why}"));
                }
            }
            VolumeState::Restored | VolumeState::Empty => {}
        }
        volumes.push((volume.clone(), state));
    }

    let unseen = unseen_claims(facts);
    let ended = "the run ended before its data was looked at";
    not_tested.extend(unseen.iter().map(|(kind, name)| {
        let claim = name_in(brief, &kind.source, &format!("{}/{name}", kind.kind));
        format!("{claim} ({ended})")
    }));
    Completeness {
        level: level(&tally, unseen.len(), &unproved, brief, &not_in_backup::words(facts))
            .tested(tested)
            .not_tested(not_tested),
        looked_at: true,
        missing: tally.missing,
        not_in_backup,
        volumes,
    }
}

/// Does this kind run pods?
fn is_workload(group: &str, kind: &str) -> bool {
    WORKLOADS.contains(&(group, kind))
}

/// Expected objects of the backup, those of them that are missing, and those that the backup should hold besides.
#[derive(Default)]
struct Tally {
    expected: usize,
    missing: Vec<Missing>,
    lost: Vec<String>,
}

impl Tally {
    fn there(&mut self) {
        self.expected += 1;
    }

    fn missing(&mut self, object: String, reason: String) {
        self.expected += 1;
        self.missing.push(Missing { object, reason });
    }

    /// A claim that is there without its data counts as missing; one that is not there is counted already.
    fn replace(&mut self, object: &str, reason: String) {
        if !self.missing.iter().any(|m| m.object == object) {
            self.missing.push(Missing {
                object: object.to_owned(),
                reason,
            });
        }
    }
}

/// The claims that are there, but of whose data a run that ended early did not come to know.
fn unseen_claims(facts: &Facts) -> Vec<(&KindFacts, &String)> {
    if facts.stop.is_none() || !facts.volumes.is_empty() {
        return Vec::new();
    }
    let kinds = facts.objects.iter().flat_map(|objects| &objects.kinds);
    kinds
        .filter(|kind| kind.group.is_empty() && kind.kind == "PersistentVolumeClaim")
        .flat_map(|kind| kind.expected.iter().map(move |name| (kind, name)))
        .filter(|(kind, name)| kind.present.as_ref().is_some_and(|present| present.contains(name)))
        .collect()
}

fn level(tally: &Tally, unseen: usize, unproved: &[String], brief: &Brief, compared: &str) -> Level {
    let partial = if brief.partial_restore {
        "; only what spec.backupSource.labelSelector selects was restored, so this says nothing of the rest"
    } else {
        ""
    };
    let complete = tally.missing.is_empty() && tally.lost.is_empty();
    // Claims without data are among the expected objects, so this cannot fall below nothing but for an odd list of the provider's.
    let present = tally.expected.saturating_sub(tally.missing.len());
    if complete && unseen > 0 {
        return Level::skip(format!(
            "Skipped: all expected resources are in the sandbox, but the run ended before the data of {unseen} claims was looked at{compared}"
        ));
    }
    if complete && !unproved.is_empty() {
        return Level::skip(format!(
            "Skipped: all expected resources are in the sandbox, but nothing shows what is in volumes that pods mount: {}{compared}",
            first_few(unproved, 3)
        ));
    }
    if complete {
        return Level::pass(
            COMPLETENESS,
            format!("All expected resources found in sandbox{partial}{compared}"),
        );
    }
    let texts: Vec<String> = tally
        .missing
        .iter()
        .map(|m| format!("{}: {}", m.object, m.reason))
        .collect();
    let expected = tally.expected + tally.lost.len();
    let named = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what}: {}", first_few(names, 3)),
    };
    let lost = named("not in the backup", &tally.lost);
    let missing = named("missing", &texts);
    let detail = format!("{present}/{expected} expected resources found in sandbox{lost}{missing}{partial}{compared}");
    // A list of volumes that names claims the list of resources does not must not earn full marks either.
    let points = share(COMPLETENESS, present.saturating_sub(unseen + unproved.len()), expected).min(COMPLETENESS - 1);
    Level::fail(points, detail)
}

/// What was seen of a kind, for many questions: a namespace may hold tens of thousands of one.
struct Seen<'k> {
    kind: &'k KindFacts,
    present: Option<HashSet<&'k str>>,
    vanished: HashSet<&'k str>,
}

impl<'k> Seen<'k> {
    fn of(kind: &'k KindFacts) -> Self {
        Self {
            kind,
            present: kind
                .present
                .as_ref()
                .map(|names| names.iter().map(String::as_str).collect()),
            vanished: kind.vanished.iter().map(String::as_str).collect(),
        }
    }

    /// Why an expected object is not there; `None` if it is.
    fn absent(&self, name: &str, errors: &[ProviderProblem]) -> Option<String> {
        let kind = self.kind;
        let Some(present) = &self.present else {
            return Some(kind.unlisted.clone().unwrap_or_else(|| "not looked for".to_owned()));
        };
        if self.vanished.contains(name) {
            return Some("restored, then vanished during the run".to_owned());
        }
        if present.contains(name) {
            return None;
        }
        if let Some(error) = errors.iter().find(|e| concerns(e, kind, name)) {
            return Some(error.message.clone());
        }
        if kind.created.contains(name) {
            return Some("created, then vanished".to_owned());
        }
        if kind.skipped.contains(name) {
            // Of a token by its name alone: that of a ServiceAccount with "-token-" behind it.
            return Some("skipped by the provider on purpose".to_owned());
        }
        Some("never attempted by the provider".to_owned())
    }
}

/// Is this error about this object?
fn concerns(error: &ProviderProblem, kind: &KindFacts, name: &str) -> bool {
    error.resource.as_deref() == Some(kind.resource.as_str())
        && error.source.as_deref() == Some(kind.source.as_str())
        && error.name.as_deref() == Some(name)
}

/// Is this expected object held by our own policies? Then it is neither expected nor missing.
pub fn refused_on_purpose(facts: &Facts, kind: &KindFacts, name: &str) -> bool {
    let errors = facts.restore.iter().flat_map(|r| &r.errors);
    errors
        .into_iter()
        .any(|e| e.fault == Fault::Fence && concerns(e, kind, name))
}

/// What became of a claim's data: "bound" says nothing about it, only the provider's own record of the new volume does.
pub fn state(volume: &VolumeFacts) -> VolumeState {
    let unused = !volume.mounted && volume.claim_phase.as_deref() == Some("Pending") && volume.waits_for_consumer;
    if let Some(why) = &volume.no_data {
        if !volume.listed && unused {
            return VolumeState::NotTested(
                "it was not bound when the backup was made, and nobody mounts it".to_owned(),
            );
        }
        return VolumeState::NoData(why.clone());
    }
    if let (Some(why), None) = (&volume.pod_held, &volume.restore_phase) {
        return if volume.mounted {
            VolumeState::NotRestored(format!("{why}; the pods that mount it started on an empty volume"))
        } else {
            VolumeState::NotTested(why.clone())
        };
    }
    if volume.mounted && volume.claim_phase.as_deref() != Some("Bound") {
        let phase = volume.claim_phase.as_deref().unwrap_or("missing");
        return VolumeState::NotRestored(format!("a pod mounts it, but the claim is {phase}"));
    }
    match volume.restore_phase.as_deref() {
        Some("Completed") if volume.restored_bytes < volume.to_restore => VolumeState::NotRestored(format!(
            "only {} of {} bytes were restored",
            volume.restored_bytes, volume.to_restore
        )),
        // The backup's own number may be higher than what there is to restore, but not for nothing at all.
        Some("Completed") if volume.bytes > 0 && volume.restored_bytes == 0 => {
            VolumeState::NotRestored(format!("none of {} bytes were restored", volume.bytes))
        }
        Some("Completed") if volume.bytes == 0 => VolumeState::Empty,
        Some("Completed") => VolumeState::Restored,
        Some(phase) => {
            let message = volume.restore_message.as_deref().unwrap_or("no reason given");
            VolumeState::NotRestored(format!("its volume restore ended {phase}: {message}"))
        }
        None if volume.method.as_deref() == Some("CSISnapshot") && volume.claim_phase.as_deref() == Some("Bound") => {
            VolumeState::NotTested(
                "its volume was made from a snapshot, of whose content the provider reports nothing".to_owned(),
            )
        }
        None => VolumeState::NotRestored("the provider restored no volume for it".to_owned()),
    }
}

/// Expected and present objects by kind, with held custom resources counted as the report's `customResources` wants it.
pub fn counts(facts: &Facts) -> BTreeMap<(String, String, bool), Count> {
    let mut counts: BTreeMap<(String, String, bool), Count> = BTreeMap::new();
    for kind in facts.objects.iter().flat_map(|o| &o.kinds) {
        let held = if kind.custom { kind.held.len() } else { 0 };
        if kind.expected.len() + held == 0 {
            continue;
        }
        let count = counts
            .entry((kind.group.clone(), kind.kind.clone(), kind.custom))
            .or_default();
        count.expected += kind.expected.len() + held;
        let seen = Seen::of(kind);
        count.present += kind
            .expected
            .iter()
            .filter(|name| seen.absent(name, &[]).is_none())
            .count();
    }
    for (_, absent) in not_in_backup::absent(facts) {
        let kind = (absent.group.clone(), absent.kind.clone(), absent.custom);
        counts.entry(kind).or_default().expected += absent.names.len();
    }
    counts
}
