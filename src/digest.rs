//! SHA-256 of what a report rests on, in a form that anybody can compute again from what the API server gives.
//!
//! What is hashed are the bytes of canonical JSON: keys sorted, no spaces, no line end, characters as they are. `jq -cSj` prints
//! the same bytes. It is the object as the API server gave it and not as this program read it, for reading drops fields that a
//! newer version may have.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use serde_json::Value;

/// Digest of a value, in small hexadecimal digits.
pub fn of(value: &Value) -> String {
    let hash = digest(&SHA256, canonical(value).as_bytes());
    hash.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a String cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Digest of a finished report's status. Its conditions are left out: the outcome of clean-up is written into them after the
/// report is finished, and all else stays as it is.
pub fn of_report(status: &Value) -> String {
    let mut status = status.clone();
    if let Value::Object(fields) = &mut status {
        fields.remove("conditions");
    }
    of(&status)
}

/// As `jq -cSj .` prints it.
fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    // The one character that jq escapes and serde does not; in JSON it can only stand inside a string.
    value.to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"{"b": 1, "a": {"z": [true, null, -3, "é\u2028<&>\"\\/\u0001\n\t\u007f"], "B": {}, "aa": ""}, "é": 2, "Z": 3}"#;
    const STATUS: &str =
        r#"{"score": 89, "result": "partial", "checks": [], "conditions": [{"type": "Complete", "status": "True"}]}"#;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Made with `jq -cSj .` and, from its output, `sha256sum`.
    #[test]
    fn canonical_json_is_what_jq_prints() {
        let printed = "{\"Z\":3,\"a\":{\"B\":{},\"aa\":\"\",\"z\":[true,null,-3,\"é\u{2028}<&>\\\"\\\\/\\u0001\\n\\t\\u007f\"]},\"b\":1,\"é\":2}";
        assert_eq!(canonical(&value(TEXT)), printed);
        assert_eq!(
            of(&value(TEXT)),
            "fb3010efb14e99cb4c17976466d329dc3d592a287c7d1f516e482f250facfc98"
        );
    }

    /// Made with `jq -cSj '.status | del(.conditions)' | sha256sum`, as the field's comment says.
    #[test]
    fn a_report_is_digested_without_its_conditions() {
        let mut status = value(STATUS);
        assert_eq!(
            of_report(&status),
            "3e087c761ae38566469f20df3665c9c197aa2e3fdd6d0268681eee8a8e5abc5e"
        );
        status["conditions"] = json!([{"type": "SandboxCleanedUp", "status": "True"}]);
        assert_eq!(
            of_report(&status),
            of_report(&value(STATUS)),
            "clean-up's outcome changes nothing"
        );
        status["score"] = json!(90);
        assert_ne!(of_report(&status), of_report(&value(STATUS)));
    }
}
