//! The checks of a `HealthCheckPolicy`, and the dependencies outside the sandbox.
//!
//! Each type of check has a file: a pure part that knows what to expect and judges what came back, and a thin part that
//! looks. What is found goes to [`CheckFact`]s; whether that is good enough is for `judge` to say.

pub mod dependencies;
mod dial;
mod excluded;
mod exec;
mod http;
mod http_get;
mod locate;
mod pod_status;
mod pods;
mod resource_exists;
mod service;
mod tcp_socket;
mod text;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regex::bytes::Regex;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{self, Check, CheckType};
use crate::cluster::{Cluster, Error};
use crate::facts::{CheckFact, SandboxFacts, Status};
pub use excluded::KeptOut;
use service::Trouble;

/// Between two attempts of a check.
const PAUSE: Duration = Duration::from_secs(2);
/// Pods that became ready a moment ago are not yet known to the Services: the nodes learn of them one after the other. So long
/// after the first check began, nobody being there costs no retry.
const SERVICES_LEARN: Duration = Duration::from_secs(5);
/// Between two attempts in that time.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

/// What a check came to: its message either way.
type Verdict = Result<String, String>;

/// Where the checks of a run look.
pub struct Context<'a> {
    cluster: &'a Cluster,
    sandboxes: &'a [SandboxFacts],
    /// What the drill keeps out of them.
    kept_out: KeptOut<'a>,
    /// When the checks began.
    began: Instant,
    /// What the running check is at, told when its time is up.
    last: Mutex<Option<String>>,
    /// What kept the running check from being made, though not by a refusal: that says nothing about the application.
    unanswered: Mutex<Option<String>>,
    /// Why the running check fails for no other reason than what is kept out.
    in_vain: Mutex<Option<String>>,
}

impl<'a> Context<'a> {
    /// Checks look into these sandboxes, from now on.
    pub fn new(cluster: &'a Cluster, sandboxes: &'a [SandboxFacts]) -> Self {
        Self {
            cluster,
            sandboxes,
            kept_out: KeptOut::default(),
            began: Instant::now(),
            last: Mutex::new(None),
            unanswered: Mutex::new(None),
            in_vain: Mutex::new(None),
        }
    }

    /// Of which this is kept out.
    #[must_use]
    pub fn without(mut self, kept_out: KeptOut<'a>) -> Self {
        self.kept_out = kept_out;
        self
    }

    /// Notes that the running check can only fail for what is kept out.
    fn vain(&self, why: String) {
        *self.in_vain.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// The API server's error in words. One that says nothing about the application is noted.
    fn told(&self, error: &Error) -> String {
        if error.is_transient() {
            self.not_answered(&error.to_string());
        }
        error.to_string()
    }

    /// Notes that the running check could not be made.
    fn not_answered(&self, why: &str) {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Forgets what an attempt before has noted, and returns it.
    fn unanswered(&self) -> Option<String> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes what the running check is at.
    fn note(&self, words: Option<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// What was noted last.
    fn noted(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs the checks in order, one at a time, all of them within `timeout`. Each finished check is pushed to `done` at once, so
/// that what ran survives when this future is dropped. Returns what kept a check from being made, if something did: the checks
/// end there, and nothing may be held against the application.
pub async fn run_all(
    context: &Context<'_>,
    checks: &[Check],
    timeout: Duration,
    done: &mut Vec<CheckFact>,
) -> Option<String> {
    let deadline = Instant::now() + timeout;
    let mut skip: Option<String> = None;
    for check in checks {
        if skip.is_none() && Instant::now() >= deadline {
            skip = Some("Skipped: healthChecks.timeout reached".to_owned());
        }
        let fact = match &skip {
            Some(reason) => skipped(check, reason),
            None => run_one(context, check, timeout, deadline).await,
        };
        if fact.status == Status::Fail
            && let Some(why) = context.unanswered()
        {
            tracing::warn!(check = fact.name, message = fact.message, "check could not be made");
            return Some(format!("check {}: {why}", fact.name));
        }
        tracing::info!(check = fact.name, status = ?fact.status, message = fact.message, "check finished");
        if fact.status == Status::Fail && check.is_critical() {
            skip = Some(format!("Skipped: {} failed, downstream checks aborted", check.name));
        }
        done.push(fact);
    }
    None
}

/// A check that does not run, and why.
fn skipped(check: &Check, reason: &str) -> CheckFact {
    CheckFact {
        name: check.name.clone(),
        status: Status::Skip,
        duration: Duration::ZERO,
        message: reason.to_owned(),
        excluded: false,
    }
}

/// Runs one check to its end or to the deadline of all.
async fn run_one(context: &Context<'_>, check: &Check, timeout: Duration, deadline: Instant) -> CheckFact {
    context.note(None);
    context.unanswered();
    context.in_vain.lock().unwrap_or_else(PoisonError::into_inner).take();
    let started = Instant::now();
    let in_vain = timeout_at(deadline, excluded::look(context, check))
        .await
        .ok()
        .flatten();
    if let Some(in_vain) = in_vain {
        if !in_vain.try_it {
            return excluded(check, started.elapsed(), format!("Skipped: {}", in_vain.reason));
        }
        context.vain(in_vain.reason);
    }
    let verdict = timeout_at(deadline, probe(context, check)).await.unwrap_or_else(|_| {
        let last = context.noted().map(|words| format!(": {words}")).unwrap_or_default();
        Err(format!(
            "stopped, healthChecks.timeout of {} reached{last}",
            api::Duration(timeout)
        ))
    });
    let in_vain = context.in_vain.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (status, message) = match (verdict, in_vain) {
        (Ok(message), _) => (Status::Pass, message),
        (Err(message), Some(why)) => {
            return excluded(
                check,
                started.elapsed(),
                format!("Skipped: {why}; tried all the same: {message}"),
            );
        }
        (Err(message), None) => (Status::Fail, message),
    };
    CheckFact {
        name: check.name.clone(),
        status,
        duration: started.elapsed(),
        message,
        excluded: false,
    }
}

/// A check whose target is kept out on purpose.
fn excluded(check: &Check, duration: Duration, message: String) -> CheckFact {
    CheckFact {
        name: check.name.clone(),
        status: Status::Skip,
        duration,
        message,
        excluded: true,
    }
}

/// Runs a check by its type.
async fn probe(context: &Context<'_>, check: &Check) -> Verdict {
    let missing = || Err(format!("the block {} is missing", check.type_));
    match check.type_ {
        CheckType::PodStatus => match &check.pod_status {
            Some(spec) => pod_status::run(context, check, spec).await,
            None => missing(),
        },
        CheckType::HttpGet => match &check.http_get {
            Some(spec) => http_get::run(context, check, spec).await,
            None => missing(),
        },
        CheckType::TcpSocket => match &check.tcp_socket {
            Some(spec) => tcp_socket::run(context, check, spec).await,
            None => missing(),
        },
        CheckType::Exec => match &check.exec {
            Some(spec) => exec::run(context, check, spec).await,
            None => missing(),
        },
        CheckType::ResourceExists => match &check.resource_exists {
            Some(spec) => resource_exists::run(context, check, spec).await,
            None => missing(),
        },
    }
}

/// Makes an attempt, and up to `retries` more while trying again may help.
async fn retry(context: &Context<'_>, retries: u32, attempt: impl AsyncFn() -> Result<String, Trouble>) -> Verdict {
    let mut made = 0_u32;
    loop {
        made += 1;
        context.unanswered();
        let trouble = match attempt().await {
            Ok(message) => return Ok(message),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Passing(message) if nobody_there(&message) && context.began.elapsed() < SERVICES_LEARN => {
                made -= 1;
                context.note(Some(message));
                sleep(SHORT_PAUSE).await;
            }
            Trouble::Passing(message) if made <= retries => {
                context.note(Some(message));
                sleep(PAUSE).await;
            }
            Trouble::Passing(message) if made > 1 => return Err(format!("{message} ({made} attempts)")),
            Trouble::Passing(message) | Trouble::Lasting(message) => return Err(message),
        }
    }
}

/// Does a Service answer so that knows of no pod?
fn nobody_there(message: &str) -> bool {
    [text::REFUSED, service::NO_ENDPOINTS]
        .iter()
        .any(|words| message.contains(words))
}

/// The regular expression of `field`, which validation compiled in the same way.
fn pattern(field: &str, expression: &str) -> Result<Regex, String> {
    crate::pattern::compile(expression).map_err(|why| format!("{field} {why}"))
}

#[cfg(test)]
#[expect(
    clippy::needless_pass_by_value,
    reason = "json! makes values, and a table of them reads better so"
)]
mod tests;
