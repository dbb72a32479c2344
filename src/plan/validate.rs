//! From a `RestoreTest` and its policy to a [`ValidTest`], or to everything that is wrong with them at once.
//!
//! What the schema refuses is checked again: the definitions in the cluster may be older than this program, and an object
//! that was stored under them is never looked at again by the API server.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use super::problems::{PlanError, Problems};
use super::syntax::{self, Checked};
use super::valid::{LATEST, ParsedSchedule, Proof, ValidTest};
use super::{cron, egress, ignore, naming, served, validate_policy};
use crate::api::{
    BackupSource, Dns, HealthCheckPolicy, LogCollection, NotificationChannel, Notifications, RestoreOptions,
    RestoreTest, RestoreTestSpec, Sandbox, Schedule, Selection, limits,
};

/// Longest time of one step, and of a run.
const DAY: u64 = 24;
/// Longest time that something is kept.
const WEEK: u64 = 168;
/// Longest age of a backup, a leap year.
const YEAR: u64 = 8784;
/// Longest prefix of the sandboxes' names.
const PREFIX: usize = 40;
/// Longest DNS label.
const LABEL: usize = 63;
/// Excluding these, in whatever way, leaves claims that wait for the source's own volumes for ever.
const NEVER_EXCLUDED: [&str; 2] = ["persistentvolume", "persistentvolumes"];
/// Pods of Jobs carry it and are always kept out.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

/// Checks a test and the policy that its `policyRef` names; `policy` is `None` if there is no such policy in the cluster.
pub fn validate(test: &RestoreTest, policy: Option<&HealthCheckPolicy>) -> Result<ValidTest, Vec<PlanError>> {
    let mut problems = Problems::default();
    let name = test.metadata.name.clone().unwrap_or_default();
    let namespace = test.metadata.namespace.clone().unwrap_or_default();
    let spec = &test.spec;

    problems.check("metadata.name", syntax::label(&name, limits::TEST_NAME));
    check_source(&spec.backup_source, &mut problems);
    let schedule = spec
        .schedule
        .as_ref()
        .and_then(|schedule| check_schedule(schedule, &mut problems));
    check_sandbox(&spec.sandbox, &mut problems);
    check_restore(&spec.restore, &mut problems);
    check_ignore(&spec.completeness.ignore, &mut problems);
    problems.time("spec.podStartup.timeout", spec.pod_startup.timeout, DAY);
    problems.time_or_none("spec.podStartup.stableFor", spec.pod_startup.stable_for, DAY);
    problems.count("spec.podStartup.ignore", spec.pod_startup.ignore.len(), 0, 50);
    for (index, entry) in spec.pod_startup.ignore.iter().enumerate() {
        problems.check(format!("spec.podStartup.ignore[{index}]"), ignore::check(entry));
    }
    problems.time("spec.healthChecks.timeout", spec.health_checks.timeout, DAY);
    let checks = check_policy(spec, &namespace, policy, &mut problems);
    check_dependencies(spec, &mut problems);
    if let Some(target) = &spec.sla.max_rto {
        problems.time("spec.sla.maxRTO", target.time(), DAY);
    } else if spec.sla.alert_on_exceed {
        problems.add("spec.sla.alertOnExceed", "needs spec.sla.maxRTO");
    }
    if let Some(target) = &spec.sla.max_backup_age {
        problems.time("spec.sla.maxBackupAge", target.time(), YEAR);
    }
    check_notifications(&spec.notifications, &mut problems);
    check_logs(&spec.log_collection, &mut problems);
    problems.time("spec.timeout", spec.timeout, DAY);
    problems.range("spec.historyLimit", spec.history_limit, 1, 1000);

    if !problems.0.is_empty() {
        return Err(problems.0);
    }
    Ok(ValidTest {
        name,
        uid: test.metadata.uid.clone().unwrap_or_default(),
        spec: spec.clone(),
        checks,
        schedule,
        _proof: Proof,
    })
}

fn check_source(source: &BackupSource, problems: &mut Problems) {
    problems.check(
        "spec.backupSource.providerNamespace",
        syntax::label(&source.provider_namespace, LABEL),
    );
    problems.check("spec.backupSource.backupName", syntax::subdomain(&source.backup_name));
    problems.check_if(
        "spec.backupSource.scheduleName",
        source.schedule_name.as_ref(),
        syntax::subdomain,
    );
    problems.check_if(
        "spec.backupSource.storageLocation",
        source.storage_location.as_ref(),
        syntax::subdomain,
    );
    if let Some(window) = source.window {
        problems.time("spec.backupSource.window", window, YEAR);
    }
    if source.backup_name != LATEST && syntax::subdomain(&source.backup_name).is_ok() {
        for (field, set) in [
            ("scheduleName", source.schedule_name.is_some()),
            ("storageLocation", source.storage_location.is_some()),
            ("window", source.window.is_some()),
            ("selection", source.selection != Selection::Newest),
        ] {
            if set {
                problems.add(
                    format!("spec.backupSource.{field}"),
                    format!(
                        "chooses among backups, but backupName says {}: it needs backupName: latest",
                        source.backup_name
                    ),
                );
            }
        }
    }
    problems.count(
        "spec.backupSource.namespaces",
        source.namespaces.len(),
        1,
        limits::NAMESPACES,
    );
    for (index, namespace) in source.namespaces.iter().enumerate() {
        let path = format!("spec.backupSource.namespaces[{index}].name");
        if source.namespaces[..index]
            .iter()
            .any(|before| before.name == namespace.name)
        {
            problems.add(&path, format!("{:?} is listed twice", namespace.name));
        }
        if naming::is_sandbox_name(&namespace.name) {
            problems.add(
                &path,
                format!(
                    "{:?} is the name of a sandbox; name the namespace that was backed up",
                    namespace.name
                ),
            );
        }
        problems.check(path, syntax::label(&namespace.name, LABEL));
        let path = format!("spec.backupSource.namespaces[{index}].sandboxName");
        problems.check_if(&path, namespace.sandbox_name.as_ref(), |name| {
            syntax::label(name, LABEL)
        });
    }
    check_labels("spec.backupSource.labelSelector", &source.label_selector, problems);
    if source.label_selector.contains_key(JOB_LABEL) {
        let why = "Jobs and their pods are never restored, so nothing would be";
        problems.add(format!("spec.backupSource.labelSelector[{JOB_LABEL}]"), why);
    }
}

/// Labels that an object must all have.
pub(super) fn check_labels(path: &str, labels: &BTreeMap<String, String>, problems: &mut Problems) {
    problems.count(path, labels.len(), 0, 16);
    for (key, value) in labels {
        let path = format!("{path}[{key}]");
        problems.check(&path, syntax::label_key(key));
        problems.check(path, syntax::label_value(value));
    }
}

/// When a test should run, whatever else is wrong with it; `None` if nobody can tell.
pub fn schedule(schedule: &Schedule) -> Option<ParsedSchedule> {
    check_schedule(schedule, &mut Problems::default())
}

fn check_schedule(schedule: &Schedule, problems: &mut Problems) -> Option<ParsedSchedule> {
    problems.check("spec.schedule.cron", syntax::length(&schedule.cron, 1, 100));
    let cron = cron::parse(&schedule.cron);
    // The zone of whatever machine the controller runs on is not one that a report could name, so `Local` is none here.
    let zone = schedule.timezone.parse::<Tz>();
    if zone.is_err() {
        let message = format!(
            "{:?} is no IANA time zone such as UTC or Europe/Paris",
            schedule.timezone
        );
        problems.add("spec.schedule.timezone", message);
    }
    match cron {
        Ok(cron) => zone.ok().map(|zone| ParsedSchedule { cron, zone }),
        Err(message) => {
            problems.add("spec.schedule.cron", message);
            None
        }
    }
}

fn check_sandbox(sandbox: &Sandbox, problems: &mut Problems) {
    problems.check(
        "spec.sandbox.namespacePrefix",
        syntax::label(&sandbox.namespace_prefix, PREFIX),
    );
    problems.time("spec.sandbox.ttl", sandbox.ttl, DAY);
    problems.time_or_none("spec.sandbox.keepFailedFor", sandbox.keep_failed_for, WEEK);
    let quota = &sandbox.resource_quota;
    for (field, amount) in [
        ("cpu", &quota.cpu),
        ("memory", &quota.memory),
        ("storage", &quota.storage),
    ] {
        if let Some(amount) = amount {
            problems.check(
                format!("spec.sandbox.resourceQuota.{field}"),
                syntax::quantity(&amount.0),
            );
        }
    }
    egress::check(sandbox, problems);
    check_dns(&sandbox.dns, problems);
}

fn check_dns(dns: &Dns, problems: &mut Problems) {
    problems.check("spec.sandbox.dns.namespace", syntax::label(&dns.namespace, LABEL));
    check_labels("spec.sandbox.dns.podSelector", &dns.pod_selector, problems);
    if dns.pod_selector.is_empty() {
        problems.add(
            "spec.sandbox.dns.podSelector",
            "must not be empty: it would open the way to every pod there",
        );
    }
    problems.check_if("spec.sandbox.dns.cidr", dns.cidr.as_ref(), syntax::cidr);
    problems.count("spec.sandbox.dns.ports", dns.ports.len(), 1, 4);
    for (index, port) in dns.ports.iter().enumerate() {
        let path = format!("spec.sandbox.dns.ports[{index}]");
        problems.range(&path, *port, 1, u16::MAX);
        if dns.ports[..index].contains(port) {
            problems.add(path, format!("{port} is listed twice"));
        }
    }
    problems.check("spec.sandbox.dns.domain", syntax::subdomain(&dns.domain));
}

fn check_restore(restore: &RestoreOptions, problems: &mut Problems) {
    problems.count(
        "spec.restore.excludedResources",
        restore.excluded_resources.len(),
        0,
        100,
    );
    for (index, name) in restore.excluded_resources.iter().enumerate() {
        let path = format!("spec.restore.excludedResources[{index}]");
        if NEVER_EXCLUDED.contains(&served::long(name)) {
            problems.add(
                path,
                "must not be excluded: claims would wait for the source's own volumes",
            );
        } else {
            problems.check(path, syntax::resource(name));
        }
    }
    problems.count(
        "spec.restore.storageClassMapping",
        restore.storage_class_mapping.len(),
        0,
        50,
    );
    for (from, to) in &restore.storage_class_mapping {
        let path = format!("spec.restore.storageClassMapping[{from}]");
        // The empty name is that of claims for volumes made by hand, of which a sandbox has none.
        if !from.is_empty() {
            problems.check(&path, syntax::subdomain(from));
        }
        problems.check(path, syntax::subdomain(to));
    }
    problems.count("spec.restore.customResources", restore.custom_resources.len(), 0, 50);
    for (index, entry) in restore.custom_resources.iter().enumerate() {
        problems.check(format!("spec.restore.customResources[{index}]"), custom_resource(entry));
    }
    problems.time("spec.restore.queueTimeout", restore.queue_timeout, DAY);
    problems.time("spec.restore.timeout", restore.timeout, DAY);
}

/// `*`, a group, or `Kind.group`.
fn custom_resource(entry: &str) -> Checked {
    let group_of_kind = entry
        .split_once('.')
        .filter(|(kind, _)| syntax::kind(kind).is_ok())
        .map(|(_, group)| group);
    let is_group = |group: &str| group.contains('.') && syntax::subdomain(group).is_ok();
    if entry == "*" || is_group(group_of_kind.unwrap_or(entry)) {
        return Ok(());
    }
    Err(format!(
        "{entry:?} must be a group (example.com), a kind and its group (Cache.example.com), or *"
    ))
}

fn check_ignore(patterns: &[String], problems: &mut Problems) {
    problems.count("spec.completeness.ignore", patterns.len(), 0, 100);
    for (index, pattern) in patterns.iter().enumerate() {
        let path = format!("spec.completeness.ignore[{index}]");
        problems.check(&path, syntax::length(pattern, 1, 317));
        let parts: Vec<&str> = pattern.split('/').collect();
        let is_name = |part: &&str| !part.is_empty() && !part.contains(char::is_whitespace);
        if parts.len() != 2 || !parts.iter().all(is_name) {
            problems.add(
                path,
                format!("{pattern:?} must be Kind/name, such as PersistentVolumeClaim/cache-*"),
            );
        }
    }
}

fn check_policy(
    spec: &RestoreTestSpec,
    namespace: &str,
    policy: Option<&HealthCheckPolicy>,
    problems: &mut Problems,
) -> Option<Vec<crate::api::Check>> {
    let name = spec.health_checks.policy_ref.as_ref()?;
    problems.check("spec.healthChecks.policyRef", syntax::subdomain(name));
    let Some(policy) = policy else {
        let message = format!("no HealthCheckPolicy {name:?} in namespace {namespace}");
        problems.add("spec.healthChecks.policyRef", message);
        return None;
    };
    validate_policy::check(&policy.spec, name, &spec.backup_source.namespaces, problems);
    Some(policy.spec.checks.clone())
}

fn check_dependencies(spec: &RestoreTestSpec, problems: &mut Problems) {
    problems.count("spec.dependencies", spec.dependencies.len(), 0, 50);
    for (index, dependency) in spec.dependencies.iter().enumerate() {
        let path = format!("spec.dependencies[{index}]");
        problems.check(format!("{path}.service"), syntax::label(&dependency.service, LABEL));
        problems.check(format!("{path}.namespace"), syntax::label(&dependency.namespace, LABEL));
        problems.range(&format!("{path}.port"), dependency.port, 1, u16::MAX);
    }
}

fn check_notifications(notifications: &Notifications, problems: &mut Problems) {
    let check = |path: &str, channels: &[NotificationChannel], problems: &mut Problems| {
        problems.count(path, channels.len(), 0, 10);
        for (index, channel) in channels.iter().enumerate() {
            let path = format!("{path}[{index}]");
            problems.check_if(&format!("{path}.channel"), channel.channel.as_ref(), |name| {
                syntax::length(name, 1, 80)
            });
            let secret = channel.webhook_secret_ref.as_ref();
            problems.check_if(&format!("{path}.webhookSecretRef"), secret, syntax::subdomain);
        }
    };
    check("spec.notifications.onFailure", &notifications.on_failure, problems);
    check("spec.notifications.onSuccess", &notifications.on_success, problems);
}

fn check_logs(logs: &LogCollection, problems: &mut Problems) {
    problems.range("spec.logCollection.maxLines", logs.max_lines, 10, 1000);
}
