//! Velero's times.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};

/// Reads an RFC 3339 time; absent, `null` and what is no time at all are `None`, so that one odd object cannot make a
/// whole list unreadable.
pub(super) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text
        .and_then(|text| DateTime::parse_from_rfc3339(&text).ok())
        .map(|time| time.to_utc()))
}
