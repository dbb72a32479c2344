//! Leniency: enumerations that a newer server may extend, and fields that may be `null`.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default. Many of Velero's fields are nullable, and a foreign object with an odd `null` must not make
/// a whole list unreadable.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Declares a phase: the known values, `New` for absent, empty and `New` alike (Velero means the same by all three), and
/// `Other` for what this version has never heard of.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            /// Not looked at by the server yet: absent, empty or `New`.
            #[default]
            New,
            $($(#[$vdoc])* $variant,)*
            /// A value this version does not know, as it was spelled.
            Other(String),
        }

        impl $name {
            /// The value as the server spells it.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::New => "New",
                    $(Self::$variant => stringify!($variant),)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    "" | "New" => Self::New,
                    $(stringify!($variant) => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Option<std::borrow::Cow<'de, str>> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(text.as_deref().map_or(Self::New, Self::from))
            }
        }
    };
}
pub(super) use open_enum;
