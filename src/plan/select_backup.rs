//! Which backup is restored: the candidates, best first, and why the others are none.
//!
//! Backups are ordered by the provider's own start of them, for data written later may be missing in them; the time at which
//! the cluster learnt of them means nothing. Whether a candidate really holds the namespaces is known only from its list of
//! objects, which the caller downloads and shows to [`holds`](super::holds).

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::ValidTest;
use crate::api::{self, Selection as Choice};
use crate::facts::{BackupFacts, Reason, Stop, UnusableBackup};
use crate::redact;
use crate::velero::{self, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest};

/// How many refused backups a message names.
pub(super) const NAMED_IN_MESSAGE: usize = 5;
/// The storage location of a backup that names none.
const DEFAULT_LOCATION: &str = "default";

/// What the provider has.
#[derive(Clone, Copy, Debug)]
pub struct Inventory<'a> {
    /// All backups.
    pub backups: &'a [Backup],
    /// All storage locations.
    pub locations: &'a [BackupStorageLocation],
    /// All requests to delete a backup.
    pub deletions: &'a [DeleteBackupRequest],
}

/// A backup that can be restored from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// UID of its object.
    pub uid: Option<String>,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
    /// When its object was made, by the clock of the API server.
    pub asked_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it will be deleted.
    pub expires_at: Option<DateTime<Utc>>,
    /// Where its data lies.
    pub storage_location: String,
    /// Its phase, as the provider spells it.
    pub phase: String,
    /// Why it holds less than its namespaces held.
    pub partial: Option<String>,
}

impl Point {
    /// As the report shows it.
    pub fn facts(&self, newer_unusable: Vec<UnusableBackup>) -> BackupFacts {
        BackupFacts {
            name: self.name.clone(),
            uid: self.uid.clone(),
            started_at: Some(self.started_at),
            storage_location: Some(self.storage_location.clone()),
            bytes: None,
            partial: self.partial.clone(),
            newer_unusable,
        }
    }

    /// Older ones come first; the name makes the order of equals the same every time.
    fn order(&self) -> (DateTime<Utc>, Option<DateTime<Utc>>, &str) {
        (self.started_at, self.completed_at, &self.name)
    }
}

/// A backup of these namespaces that is no candidate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// Why, to be read after the name: `is Failed`.
    pub reason: String,
    /// When it was begun, or made if it never was.
    pub started_at: Option<DateTime<Utc>>,
}

/// What there is to choose from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Usable ones, best first.
    pub candidates: Vec<Point>,
    /// The others that could concern the namespaces, newest first.
    pub refused: Vec<Refused>,
    /// Those that cannot be restored from, as far as the provider's objects tell.
    unusable: Vec<Passed>,
    /// An older one was drawn on purpose.
    random: bool,
}

/// A backup that was passed over because nothing can be restored from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    started_at: DateTime<Utc>,
    backup: UnusableBackup,
}

impl Passed {
    /// A candidate that turned out to be unusable for this reason, which reads well in brackets.
    pub fn new(point: &Point, reason: String) -> Self {
        Self {
            started_at: point.started_at,
            backup: UnusableBackup {
                name: point.name.clone(),
                phase: reason,
            },
        }
    }

    /// The backup's name.
    pub(super) fn name(&self) -> &str {
        &self.backup.name
    }

    /// What makes it unusable.
    pub(super) fn reason(&self) -> &str {
        &self.backup.phase
    }
}

impl Selection {
    /// Unusable backups that would have been taken before `chosen`, newest first; `found` are those of the candidates of which only
    /// their files told. One that still runs is none. If the choice is by chance, those count that are newer than every usable one.
    pub fn newer_unusable(&self, chosen: &Point, found: &[Passed]) -> Vec<UnusableBackup> {
        let is_found = |point: &&Point| !found.iter().any(|passed| passed.backup.name == point.name);
        let newest = self
            .candidates
            .iter()
            .filter(is_found)
            .map(|point| point.started_at)
            .max();
        let bar = newest.filter(|_| self.random).unwrap_or(chosen.started_at);
        let mut newer: Vec<&Passed> = self
            .unusable
            .iter()
            .chain(found)
            .filter(|passed| passed.started_at > bar)
            .collect();
        newer.sort_by(|a, b| (b.started_at, &b.backup.name).cmp(&(a.started_at, &a.backup.name)));
        newer.into_iter().map(|passed| passed.backup.clone()).collect()
    }
}

/// Why a backup is no candidate.
enum Obstacle {
    /// The backup itself.
    Backup(String),
    /// Where it lies; that says nothing about the backup.
    Location(String),
    /// It does not live as long as the run may last: what the test asks for and how long backups are kept do not go together.
    TooShort(String),
}

/// Ranks the backups for a test; `random` is the draw for `selection: random`. The error says why there is nothing to try.
pub fn rank(test: &ValidTest, inventory: &Inventory<'_>, now: DateTime<Utc>, random: u64) -> Result<Selection, Stop> {
    match test.named_backup() {
        Some(name) => named(test, inventory, now, name),
        None => latest(test, inventory, now, random),
    }
}

fn named(test: &ValidTest, inventory: &Inventory<'_>, now: DateTime<Utc>, name: &str) -> Result<Selection, Stop> {
    let Some(backup) = inventory.backups.iter().find(|backup| backup.name() == name) else {
        let namespace = &test.spec.backup_source.provider_namespace;
        let missing = format!("there is no Backup {name:?} in namespace {namespace}");
        if let Some(doubt) = unknown_backups(test, inventory) {
            return Err(Stop::new(
                Reason::ProviderUnavailable,
                format!("{missing}, but {doubt}"),
            ));
        }
        let mut others: Vec<&Backup> = inventory
            .backups
            .iter()
            .filter(|backup| concerns(test, backup))
            .collect();
        others.sort_by_key(|backup| std::cmp::Reverse(began(backup)));
        let others: Vec<&str> = others.into_iter().take(NAMED_IN_MESSAGE).map(Backup::name).collect();
        let hint = if others.is_empty() {
            "none there holds these namespaces".to_owned()
        } else {
            format!("the newest for these namespaces: {}", others.join(", "))
        };
        return Err(Stop::new(Reason::BackupNotFound, format!("{missing}; {hint}")));
    };
    match usable(test, inventory, backup, now) {
        Ok(point) => Ok(Selection {
            candidates: vec![point],
            ..Selection::default()
        }),
        Err(Obstacle::Backup(why)) => Err(Stop::new(Reason::BackupUnusable, format!("backup {name} {why}"))),
        Err(Obstacle::Location(why)) => Err(Stop::new(Reason::ProviderUnavailable, format!("backup {name} {why}"))),
        Err(Obstacle::TooShort(why)) => Err(Stop::new(Reason::InvalidSpec, format!("backup {name} {why}"))),
    }
}

fn latest(test: &ValidTest, inventory: &Inventory<'_>, now: DateTime<Utc>, random: u64) -> Result<Selection, Stop> {
    let mut selection = Selection {
        random: test.spec.backup_source.selection == Choice::Random,
        ..Selection::default()
    };
    let mut nothing = Reason::BackupUnusable;
    for backup in inventory.backups.iter().filter(|backup| concerns(test, backup)) {
        let lacking: Vec<String> = lacking(test, backup);
        let outcome = if lacking.is_empty() {
            usable(test, inventory, backup, now).and_then(|point| within_window(test, point, now))
        } else {
            Err(Obstacle::Backup(format!(
                "was not asked to hold {}",
                lacking.join(", ")
            )))
        };
        // One that is being deleted or expires was taken away on purpose, and one that runs may still become good.
        let unusable = match &outcome {
            Err(Obstacle::Location(why)) => Some(why.clone()),
            _ if is_failed(test, backup) && lacking.is_empty() => Some(backup.status.phase.to_string()),
            _ => None,
        };
        if let Some((started_at, phase)) = began(backup).zip(unusable) {
            let name = backup.name().to_owned();
            let backup = UnusableBackup { name, phase };
            selection.unusable.push(Passed { started_at, backup });
        }
        let reason = match outcome {
            Ok(point) => {
                selection.candidates.push(point);
                continue;
            }
            Err(Obstacle::Backup(why)) => why,
            Err(Obstacle::Location(why)) => {
                nothing = Reason::ProviderUnavailable;
                why
            }
            Err(Obstacle::TooShort(why)) => {
                if nothing == Reason::BackupUnusable {
                    nothing = Reason::InvalidSpec;
                }
                why
            }
        };
        selection.refused.push(Refused {
            name: backup.name().to_owned(),
            reason,
            started_at: began(backup),
        });
    }
    selection.candidates.sort_by(|a, b| b.order().cmp(&a.order()));
    selection
        .refused
        .sort_by(|a, b| (b.started_at, &b.name).cmp(&(a.started_at, &a.name)));
    if selection.candidates.is_empty() {
        return Err(nothing_usable(test, inventory, &selection.refused, nothing));
    }
    if selection.random {
        shuffle(&mut selection.candidates, random);
    }
    Ok(selection)
}

fn nothing_usable(test: &ValidTest, inventory: &Inventory<'_>, refused: &[Refused], reason: Reason) -> Stop {
    let source = &test.spec.backup_source;
    let mut wanted = format!(
        "backup of {} in namespace {}",
        test.sources().join(", "),
        source.provider_namespace
    );
    if let Some(schedule) = &source.schedule_name {
        wanted = format!("{wanted} of schedule {schedule}");
    }
    if let Some(location) = &source.storage_location {
        wanted = format!("{wanted} in storage location {location}");
    }
    if refused.is_empty() {
        let missing = format!("there is no {wanted}");
        return match unknown_backups(test, inventory) {
            Some(doubt) => Stop::new(Reason::ProviderUnavailable, format!("{missing}, but {doubt}")),
            None => Stop::new(Reason::BackupNotFound, missing),
        };
    }
    Stop::new(reason, format!("there is no usable {wanted}: {}", list(refused)))
}

/// The nearest of the refused ones, each with its reason.
fn list(refused: &[Refused]) -> String {
    let named: Vec<String> = refused
        .iter()
        .take(NAMED_IN_MESSAGE)
        .map(|one| format!("{} {}", one.name, one.reason))
        .collect();
    let rest = refused.len() - named.len();
    let more = if rest > 0 {
        format!("; and {rest} more")
    } else {
        String::new()
    };
    format!("{}{more}", named.join("; "))
}

/// Why the cluster may not know of all backups: the server reads them from the locations that it reaches.
fn unknown_backups(test: &ValidTest, inventory: &Inventory<'_>) -> Option<String> {
    let wanted = test.spec.backup_source.storage_location.as_deref();
    let in_scope = inventory
        .locations
        .iter()
        .filter(|location| wanted.is_none_or(|wanted| location.name() == wanted));
    let mut locations = in_scope.peekable();
    if locations.peek().is_none() {
        let namespace = &test.spec.backup_source.provider_namespace;
        let name = wanted.map(|name| format!(" {name:?}")).unwrap_or_default();
        return Some(format!(
            "there is no BackupStorageLocation{name} in namespace {namespace}"
        ));
    }
    let unavailable = locations.find(|location| !location.is_available())?;
    Some(format!(
        "BackupStorageLocation {} is {}, so not all backups may be known",
        unavailable.name(),
        state(unavailable)
    ))
}

/// `Unavailable`, with the server's reason if it gives one.
fn state(location: &BackupStorageLocation) -> String {
    let phase = match &location.status.phase {
        velero::LocationPhase::New => "not validated yet".to_owned(),
        phase => phase.to_string(),
    };
    match location
        .status
        .message
        .as_deref()
        .map(str::trim)
        .filter(|message| !message.is_empty())
    {
        Some(message) => format!("{phase} ({message})"),
        None => phase,
    }
}

/// Is the backup one of those that the test could mean: by its schedule, its location, and at least one namespace?
fn concerns(test: &ValidTest, backup: &Backup) -> bool {
    let source = &test.spec.backup_source;
    let schedule = backup
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(velero::label::SCHEDULE));
    source
        .schedule_name
        .as_ref()
        .is_none_or(|wanted| schedule == Some(wanted))
        && source
            .storage_location
            .as_deref()
            .is_none_or(|wanted| location_of(backup) == wanted)
        && source
            .namespaces
            .iter()
            .any(|namespace| backup.spec.may_hold(&namespace.name))
}

/// Namespaces of the test that the backup certainly does not hold.
fn lacking(test: &ValidTest, backup: &Backup) -> Vec<String> {
    test.sources()
        .into_iter()
        .filter(|source| !backup.spec.may_hold(source))
        .collect()
}

fn location_of(backup: &Backup) -> &str {
    match backup.spec.storage_location.as_str() {
        "" => DEFAULT_LOCATION,
        name => name,
    }
}

/// When the backup was begun. One whose spec was refused never was; for its place in the order its creation will do, for it
/// cannot have come from a store.
fn began(backup: &Backup) -> Option<DateTime<Utc>> {
    let created = || backup.metadata.creation_timestamp.as_ref().map(api::time::from_time);
    backup.status.start_timestamp.or_else(created)
}

fn is_failed(test: &ValidTest, backup: &Backup) -> bool {
    match backup.status.phase {
        BackupPhase::Failed | BackupPhase::FailedValidation => true,
        BackupPhase::PartiallyFailed => !test.spec.backup_source.allow_partially_failed,
        _ => false,
    }
}

/// What can be restored from, or the first thing in the way. What is wrong with the backup itself comes before what is wrong
/// with its location: only that is a finding.
fn usable(test: &ValidTest, inventory: &Inventory<'_>, backup: &Backup, now: DateTime<Utc>) -> Result<Point, Obstacle> {
    let unusable = |why: String| Err(Obstacle::Backup(why));
    let status = &backup.status;
    let is_requested = inventory
        .deletions
        .iter()
        .any(|request| request.spec.backup_name == backup.name());
    if status.phase == BackupPhase::Deleting || backup.metadata.deletion_timestamp.is_some() || is_requested {
        return unusable("is being deleted".to_owned());
    }
    let partially_failed = status.phase == BackupPhase::PartiallyFailed;
    if is_failed(test, backup) {
        return unusable(failure(backup));
    }
    if status.phase.is_unfinished() {
        return unusable(format!("is not finished ({})", status.phase));
    }
    let Some(started_at) = status.start_timestamp else {
        return unusable("does not say when it was begun".to_owned());
    };
    let run_ends = after(now, test.spec.timeout.0);
    if let Some(expiration) = status.expiration.filter(|expiration| *expiration <= run_ends) {
        if expiration <= now {
            return unusable(format!("expired at {}", instant(expiration)));
        }
        return Err(Obstacle::TooShort(format!(
            "expires at {}, before this run may end (spec.timeout {}): lower spec.timeout, or keep backups longer",
            instant(expiration),
            test.spec.timeout
        )));
    }
    let name = location_of(backup);
    match inventory.locations.iter().find(|location| location.name() == name) {
        None => {
            return Err(Obstacle::Location(format!(
                "lies in BackupStorageLocation {name}, which does not exist"
            )));
        }
        Some(location) if !location.is_available() => {
            let state = state(location);
            return Err(Obstacle::Location(format!(
                "lies in BackupStorageLocation {name}, which is {state}"
            )));
        }
        Some(_) => {}
    }
    let errors = match status.errors {
        0 => String::new(),
        1 => " with 1 error".to_owned(),
        errors => format!(" with {errors} errors"),
    };
    let ended = partially_failed.then(|| format!("it ended PartiallyFailed{errors}"));
    let filters = backup.spec.filters();
    let filtered = (!filters.is_empty()).then(|| format!("it was taken with filters ({})", filters.join("; ")));
    let partial: Vec<String> = ended.into_iter().chain(filtered).collect();
    Ok(Point {
        name: backup.name().to_owned(),
        uid: backup.metadata.uid.clone(),
        started_at,
        asked_at: backup.metadata.creation_timestamp.as_ref().map(api::time::from_time),
        completed_at: status.completion_timestamp,
        expires_at: status.expiration,
        storage_location: name.to_owned(),
        phase: status.phase.to_string(),
        partial: (!partial.is_empty()).then(|| partial.join(" and ")),
    })
}

/// `is Failed`, with the provider's reason, or with what to set if the failure could be accepted.
fn failure(backup: &Backup) -> String {
    let phase = &backup.status.phase;
    let reasons = backup
        .status
        .failure_reason
        .iter()
        .chain(backup.status.validation_errors.iter().flatten());
    let reasons: Vec<String> = reasons
        .filter(|reason| !reason.is_empty())
        .map(|reason| redact::values(reason))
        .collect();
    if *phase == BackupPhase::PartiallyFailed {
        format!("is {phase} (set spec.backupSource.allowPartiallyFailed to restore it all the same)")
    } else if reasons.is_empty() {
        format!("is {phase}")
    } else {
        format!("is {phase} ({})", reasons.join("; "))
    }
}

fn within_window(test: &ValidTest, point: Point, now: DateTime<Utc>) -> Result<Point, Obstacle> {
    match test.spec.backup_source.window {
        Some(window) if after(point.started_at, window.0) < now => {
            let began = instant(point.started_at);
            Err(Obstacle::Backup(format!(
                "is older than spec.backupSource.window ({window}): begun at {began}"
            )))
        }
        _ => Ok(point),
    }
}

/// The instant `time` after another; one beyond all calendars is the last there is.
fn after(instant: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let delta = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    instant.checked_add_signed(delta).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Puts the candidates into an order that depends on the draw alone, each as likely as the others.
fn shuffle(candidates: &mut [Point], mut random: u64) {
    for last in (1..candidates.len()).rev() {
        // The step of splitmix64: well mixed from any seed, and no more is asked of it.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let other = usize::try_from(mixed % (last as u64 + 1)).unwrap_or_default();
        candidates.swap(last, other);
    }
}
