//! The lists of objects: what a backup holds, and what a restore did with each.
//!
//! Both are one JSON object, from `group/version/Kind` to `namespace/name` (cluster-wide objects: `name`), and can be as
//! long as the cluster is big. They are read entry by entry and only the wanted namespaces are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Kind;
use super::clip::parser;

/// Objects kept of one list, about 20 MB. More cannot be judged in the memory a run is given, and saying so beats dying.
pub const MAX_OBJECTS: usize = 200_000;

/// What a backup holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents {
    /// Names by kind and namespace, of the wanted namespaces; sorted, each once.
    pub kinds: BTreeMap<Kind, BTreeMap<String, Vec<String>>>,
    /// Every namespace that has an object in the backup, or is in it itself.
    pub namespaces: BTreeSet<String>,
    /// Names of the `CustomResourceDefinition`s in the backup, `plural.group`.
    pub definitions: BTreeSet<String>,
}

impl Contents {
    /// Does the backup hold this namespace? The only way to know.
    pub fn holds(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace)
    }

    /// Does it hold objects of this kind, in whatever version?
    pub fn has_kind(&self, group: &str, kind: &str) -> bool {
        self.kinds.keys().any(|held| held.group == group && held.kind == kind)
    }

    /// Number of objects kept.
    pub fn len(&self) -> usize {
        self.kinds.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a restore did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcomes {
    /// Objects by kind and namespace, which is the sandbox; sorted by name.
    pub kinds: BTreeMap<Kind, BTreeMap<String, Vec<RestoredItem>>>,
    /// Number of objects that were created, cluster-wide ones not counted.
    pub created: usize,
}

impl Outcomes {
    /// What was done with this object; `None` if it was never tried.
    pub fn of(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Action> {
        let items = self.kinds.get(kind)?.get(namespace)?;
        let index = items.binary_search_by(|item| item.name.as_str().cmp(name)).ok()?;
        Some(&items[index].action)
    }
}

/// One object of a restore.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RestoredItem {
    /// Its name.
    pub name: String,
    /// What was done with it.
    pub action: Action,
}

/// What a restore did with one object.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Made.
    Created,
    /// It was there and was changed, e.g. the default service account.
    Updated,
    /// Left alone: it was there, or is never restored as such (volumes that are made anew, tokens).
    Skipped,
    /// Not made, *or* it was there with other contents: no proof of an error.
    Failed,
    /// A word this version does not know.
    Other(String),
}

impl From<&str> for Action {
    fn from(text: &str) -> Self {
        match text {
            "created" => Self::Created,
            "updated" => Self::Updated,
            "skipped" => Self::Skipped,
            "failed" => Self::Failed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Reads a `BackupResourceList` and keeps the objects of the wanted namespaces.
pub fn read_backup_contents<R: Read>(reader: R, wanted: &BTreeSet<String>) -> serde_json::Result<Contents> {
    let mut contents = Contents::default();
    let mut kept = 0;
    read_entries(reader, &mut |kind, entry| {
        let Some((namespace, name)) = entry.split_once('/') else {
            match (kind.group.as_str(), kind.kind.as_str()) {
                ("", "Namespace") => {
                    contents.namespaces.insert(entry.to_owned());
                }
                ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                    contents.definitions.insert(entry.to_owned());
                }
                _ => {}
            }
            return Ok(());
        };
        if !contents.namespaces.contains(namespace) {
            contents.namespaces.insert(namespace.to_owned());
        }
        if wanted.contains(namespace) {
            count(&mut kept)?;
            let namespaces = contents.kinds.entry(kind.clone()).or_default();
            namespaces
                .entry(namespace.to_owned())
                .or_default()
                .push(name.to_owned());
        }
        Ok(())
    })?;
    for names in contents.kinds.values_mut().flat_map(BTreeMap::values_mut) {
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
    }
    Ok(contents)
}

/// Reads a `RestoreResourceList` and keeps the objects of the given sandboxes.
pub fn read_restore_outcomes<R: Read>(reader: R, sandboxes: &BTreeSet<String>) -> serde_json::Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    let mut kept = 0;
    read_entries(reader, &mut |kind, entry| {
        // Names may hold parentheses themselves (RBAC), so the last pair counts.
        let (object, action) = match entry.strip_suffix(')').and_then(|entry| entry.rsplit_once('(')) {
            Some((object, action)) => (object, Action::from(action)),
            None => (entry, Action::Other(String::new())),
        };
        let Some((namespace, name)) = object.split_once('/') else {
            return Ok(());
        };
        if sandboxes.contains(namespace) {
            count(&mut kept)?;
            outcomes.created += usize::from(action == Action::Created);
            let namespaces = outcomes.kinds.entry(kind.clone()).or_default();
            let items = namespaces.entry(namespace.to_owned()).or_default();
            items.push(RestoredItem {
                name: name.to_owned(),
                action,
            });
        }
        Ok(())
    })?;
    for items in outcomes.kinds.values_mut().flat_map(BTreeMap::values_mut) {
        items.sort_unstable();
        items.shrink_to_fit();
    }
    Ok(outcomes)
}

fn count(kept: &mut usize) -> Result<(), String> {
    *kept += 1;
    if *kept > MAX_OBJECTS {
        return Err(format!("more than {MAX_OBJECTS} objects"));
    }
    Ok(())
}

/// What is called for each entry of a list.
type Visit<'v> = dyn FnMut(&Kind, &str) -> Result<(), String> + 'v;

fn read_entries<R: Read>(reader: R, visit: &mut Visit<'_>) -> serde_json::Result<()> {
    let mut parser = parser(reader);
    parser.deserialize_any(Kinds(visit))?;
    parser.end()
}

struct Kinds<'a, 'v>(&'a mut Visit<'v>);

impl<'de> Visitor<'de> for Kinds<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from kinds to lists of objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let kind = Kind::parse(&key);
            if is_event(&kind) {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Entries {
                    kind: &kind,
                    visit: self.0,
                })?;
            }
        }
        Ok(())
    }
}

/// Events are the longest list of all, are never restored, and say nothing.
fn is_event(kind: &Kind) -> bool {
    kind.kind == "Event" && matches!(kind.group.as_str(), "" | "events.k8s.io")
}

struct Entries<'a, 'v> {
    kind: &'a Kind,
    visit: &'a mut Visit<'v>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(Entry {
                kind: self.kind,
                visit: self.visit,
            })?
            .is_some()
        {}
        Ok(())
    }
}

struct Entry<'a, 'v> {
    kind: &'a Kind,
    visit: &'a mut Visit<'v>,
}

impl<'de> DeserializeSeed<'de> for Entry<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Entry<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object's name")
    }

    fn visit_str<E: serde::de::Error>(self, entry: &str) -> Result<(), E> {
        (self.visit)(self.kind, entry).map_err(E::custom)
    }
}
