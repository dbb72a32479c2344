//! The one place where the program's time (chrono) and the cluster's (whole seconds) turn into each other.

use chrono::{DateTime, Utc};
use k8s_openapi::jiff::Timestamp;

use super::Time;

/// An instant as the cluster keeps it: whole seconds, so that it is equal to itself after a round trip. An instant
/// outside the years the cluster can write becomes the nearest it can.
pub fn to_time(instant: DateTime<Utc>) -> Time {
    let seconds = instant.timestamp();
    Time(Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX }))
}

/// An instant of the cluster as the program counts it.
pub fn from_time(time: &Time) -> DateTime<Utc> {
    let nanos = u32::try_from(time.0.subsec_nanosecond()).unwrap_or(0);
    // Every instant the cluster can write lies inside chrono's range, so the fallback is never taken.
    DateTime::from_timestamp(time.0.as_second(), nanos).unwrap_or(DateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_in_whole_seconds() {
        let instant = DateTime::parse_from_rfc3339("2024-03-15T03:00:12.987654321Z")
            .unwrap()
            .to_utc();
        let time = to_time(instant);
        assert_eq!(serde_json::to_string(&time).unwrap(), "\"2024-03-15T03:00:12Z\"");
        assert_eq!(from_time(&time).to_rfc3339(), "2024-03-15T03:00:12+00:00");
        assert_eq!(to_time(from_time(&time)), time);
    }

    #[test]
    fn instants_beyond_the_clusters_years_are_clamped() {
        assert_eq!(to_time(DateTime::<Utc>::MAX_UTC).0, Timestamp::MAX);
        assert_eq!(to_time(DateTime::<Utc>::MIN_UTC).0, Timestamp::MIN);
    }
}
