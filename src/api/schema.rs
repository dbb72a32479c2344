//! Pieces of schema that several fields share: rules with messages for people, and bounded forms of common types.
//!
//! Rules must compile on Kubernetes 1.30, so no CEL library newer than 1.29 is used (no `format`, `ip`, `cidr`), and
//! every text in a rule has a length, or the API server takes its cost for unbounded and refuses the definition.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::limits;

/// Go's duration syntax, for CEL's `matches`.
const DURATION: &str = r"^(0|([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+)$";

/// One `x-kubernetes-validations` entry.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// A name of a namespace, a Service and the like.
pub(super) fn dns_label() -> Value {
    rule(
        "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
        "must be lower-case letters, digits and '-', beginning and ending with a letter or digit",
    )
}

/// A name of most other objects, which may hold dots.
pub(super) fn dns_subdomain() -> Value {
    rule(
        r"self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')",
        "must be lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    )
}

/// A network of either family, as its first address and the number of bits that all its addresses share.
pub(super) fn address_range(example: &str) -> Value {
    rule(
        r"self.matches('^(([0-9]{1,3}\\.){3}[0-9]{1,3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/([0-9]{1,2}|1[01][0-9]|12[0-8]))$')",
        &format!("must be an address range such as {example}"),
    )
}

fn duration(from: &str, to: &str, message: &str) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "x-kubernetes-validations": [rule(
            &format!("self.matches('{DURATION}') && duration(self) {from} && duration(self) <= duration('{to}')"),
            message,
        )],
    })
}

/// How long a step may take.
pub(super) fn timeout(_: &mut SchemaGenerator) -> Schema {
    duration(
        "> duration('0s')",
        "24h",
        "must be more than 0s and at most 24h, written like 30m or 1h30m (there is no unit for days)",
    )
}

/// A time to go on for, which may be none.
pub(super) fn period(_: &mut SchemaGenerator) -> Schema {
    duration(
        ">= duration('0s')",
        "24h",
        "must be from 0s to 24h, written like 30m or 1h30m (there is no unit for days)",
    )
}

/// A time to keep something.
pub(super) fn keep(_: &mut SchemaGenerator) -> Schema {
    duration(
        ">= duration('0s')",
        "168h",
        "must be from 0s to 168h, written like 30m or 48h (there is no unit for days)",
    )
}

/// An age in backups' terms: up to a leap year.
pub(super) fn age(_: &mut SchemaGenerator) -> Schema {
    duration(
        "> duration('0s')",
        "8784h",
        "must be more than 0s and at most 8784h, written like 26h or 168h (there is no unit for days)",
    )
}

/// Labels that an object must all have.
pub(super) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63 },
        "x-kubernetes-map-type": "atomic",
        "x-kubernetes-validations": [rule(
            "self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$'))",
            "label keys must be a name of at most 63 letters, digits, '-', '_' and '.', with a domain and '/' before it if need be",
        ), rule(
            "self.all(k, self[k].matches('^(([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9])?$'))",
            "label values must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        )],
    })
}

/// The port of a Service, by number or by name.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 15,
        "x-kubernetes-validations": [rule(
            "type(self) == int ? self >= 1 && self <= 65535 : string(self).matches('^([a-z0-9]+-)*[a-z0-9]+$') && string(self).matches('[a-z]')",
            "must be a port number from 1 to 65535, without quotes, or the name of a port of the Service",
        )],
    })
}

/// Conditions, as every kind of Kubernetes has them, with the bounds that Kubernetes documents.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": limits::CONDITIONS,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "What the condition is about.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "True, False, or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "maxLength": 7,
                },
                "reason": {
                    "description": "One word for why the status is what it is.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "The same for people.",
                    "type": "string",
                    "maxLength": 32768,
                },
                "lastTransitionTime": {
                    "description": "When the status became what it is.",
                    "type": "string",
                    "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The generation of the object that the condition was found for.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
            },
        },
    })
}
