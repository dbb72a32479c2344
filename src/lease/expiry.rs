//! When a Lease is over whose holder says nothing more.
//!
//! Its renewal time is by another machine's clock, and whoever may write the Lease may write any time. So it is over when it was
//! not renewed, by the waiter's own clock, for as long as it lasts, as in Kubernetes' own leader election. What its renewal time says
//! only decides how long somebody waits who would rather not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use tokio::time::Instant;

/// So much may the clocks of two machines differ. A renewal that lies further ahead was written by a clock that is wrong, or
/// by somebody who wants the Lease to stay.
pub(super) const SKEW: Duration = Duration::from_mins(1);
/// No Lease lasts longer, whatever it says. The fence refuses the runner a longer one.
pub const LONGEST: Duration = Duration::from_mins(10);

/// What a Lease's renewal time says at a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Says {
    /// It is over.
    Over,
    /// It lasts so long from now on, unless it is renewed.
    Lasts(Duration),
    /// Nothing that can be believed.
    Nothing,
}

/// How long a Lease lasts after each renewal.
pub(super) fn lasts(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0)).min(LONGEST)
}

/// When it was last renewed; `None` if nobody ever did, or the time cannot be believed.
pub(super) fn last_renewal(lease: &Lease, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    renewal(lease).filter(|renewed| *renewed <= now + SKEW)
}

fn renewal(lease: &Lease) -> Option<DateTime<Utc>> {
    let time = lease.spec.as_ref()?.renew_time.as_ref()?;
    DateTime::from_timestamp_micros(time.0.as_microsecond())
}

/// What it says at `now`.
pub(super) fn says(lease: &Lease, now: DateTime<Utc>) -> Says {
    match (renewal(lease), last_renewal(lease, now)) {
        (None, _) => Says::Over,
        (Some(_), None) => Says::Nothing,
        (_, Some(renewed)) => match (renewed + lasts(lease) + SKEW - now).to_std() {
            Ok(left) if !left.is_zero() => Says::Lasts(left),
            _ => Says::Over,
        },
    }
}

/// A Lease as it was seen, and since when it has been so.
#[derive(Debug)]
pub(super) struct Watched {
    spec: Option<LeaseSpec>,
    since: Instant,
    /// Its holder was seen to renew it.
    alive: bool,
}

impl Watched {
    /// Seen for the first time, now.
    pub(super) fn new(lease: &Lease) -> Self {
        Self {
            spec: lease.spec.clone(),
            since: Instant::now(),
            alive: false,
        }
    }

    /// Seen again, now.
    pub(super) fn look(&mut self, lease: &Lease) {
        if self.spec != lease.spec {
            *self = Self {
                alive: true,
                ..Self::new(lease)
            };
        }
    }

    /// When it is over, unless it is renewed, for one who has watched it from here.
    pub(super) fn end(&self, lease: &Lease) -> Instant {
        match renewal(lease) {
            // Nobody has ever held it.
            None => Instant::now(),
            Some(_) => self.since + lasts(lease),
        }
    }

    /// How long one who would wait until `deadline` waits for it. When its time does not say that it lasts, and nobody was seen to
    /// renew it, long enough to see it end: otherwise it would be there for everybody who comes, for ever.
    pub(super) fn patience(&self, lease: &Lease, now: DateTime<Utc>, deadline: Instant) -> Instant {
        match says(lease, now) {
            Says::Over | Says::Nothing if !self.alive => deadline.max(self.since + lasts(lease)),
            _ => deadline,
        }
    }
}
