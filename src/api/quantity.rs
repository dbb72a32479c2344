//! Amounts of CPU, memory and storage, written as a number or a text.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::schema::rule;

/// An amount in Kubernetes' notation. A bare YAML number (`cpu: 2`) is kept as its text, which the cluster's own type
/// would not accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity(pub String);

impl From<Quantity> for resource::Quantity {
    fn from(value: Quantity) -> Self {
        Self(value.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(number) => Self(number.to_string()),
            Written::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "x-kubernetes-validations": [rule(
                "type(self) == int ? self > 0 : (isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0')))",
                "must be a positive quantity such as 2, 500m or 4Gi",
            )],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_both_read() {
        assert_eq!(serde_json::from_str::<Quantity>("2").unwrap(), Quantity("2".into()));
        assert_eq!(
            serde_json::from_str::<Quantity>("\"4Gi\"").unwrap(),
            Quantity("4Gi".into())
        );
        assert!(serde_json::from_str::<Quantity>("{}").is_err());
    }
}
