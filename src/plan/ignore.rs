//! `podStartup.ignore`: pods that nobody waits for, each entry by kind and name or by labels.

use std::collections::BTreeMap;

use super::glob;
use super::syntax::{self, Checked};

/// Longest entry: a kind and a name, or some labels.
const ENTRY: usize = 317;
/// Most labels of one entry.
const LABELS: usize = 8;

/// The entries of `podStartup.ignore`.
#[derive(Clone, Debug, Default)]
pub struct IgnoredPods(Vec<Entry>);

/// One of them.
#[derive(Clone, Debug)]
struct Entry {
    /// As the test writes it.
    written: String,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// `Kind/name`, a pattern.
    Object(String),
    /// Labels that a pod must all have; values are patterns.
    Labels(Vec<(String, String)>),
}

impl IgnoredPods {
    /// Reads entries that were found valid; others are left out.
    pub fn new(entries: &[String]) -> Self {
        let entry = |written: &String| {
            Some(Entry {
                form: parse(written).ok()?,
                written: written.clone(),
            })
        };
        Self(entries.iter().filter_map(entry).collect())
    }

    /// The entry that names this object or, if its pods' labels are known, has them; as the test writes it.
    pub fn covers(&self, kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Option<&str> {
        let object = format!("{kind}/{name}");
        let covers = |entry: &&Entry| match &entry.form {
            Form::Object(pattern) => glob::matches(pattern, &object),
            Form::Labels(wanted) => wanted
                .iter()
                .all(|(key, pattern)| labels.get(key).is_some_and(|value| glob::matches(pattern, value))),
        };
        self.0.iter().find(covers).map(|entry| entry.written.as_str())
    }
}

/// Is this an entry?
pub(super) fn check(entry: &str) -> Checked {
    syntax::length(entry, 1, ENTRY)?;
    parse(entry).map(drop)
}

fn parse(entry: &str) -> Result<Form, String> {
    let wrong = || {
        format!(
            "{entry:?} must be Kind/name, such as Pod/runner-* or Deployment/ci-*, or labels of pods, such as team=ci,build=shop-*"
        )
    };
    if !entry.contains('=') {
        let (kind, name) = entry.split_once('/').ok_or_else(wrong)?;
        let is_part = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "/,".contains(c));
        return (is_part(kind) && is_part(name))
            .then(|| Form::Object(entry.to_owned()))
            .ok_or_else(wrong);
    }
    let labels = entry.split(',').map(|label| {
        let (key, value) = label.split_once('=').ok_or_else(wrong)?;
        // Signs of a pattern stand for letters, of which any number may be meant.
        let plain = value.replace(['*', '?'], "x");
        syntax::label_key(key).map_err(|_| wrong())?;
        syntax::label_value(&plain).map_err(|_| wrong())?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let labels = labels.collect::<Result<Vec<_>, String>>()?;
    if labels.len() > LABELS {
        return Err(format!("{entry:?} has more than {LABELS} labels"));
    }
    Ok(Form::Labels(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered<'i>(ignored: &'i IgnoredPods, kind: &str, name: &str, labels: &[(&str, &str)]) -> Option<&'i str> {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ignored.covers(kind, name, &labels.collect())
    }

    #[test]
    fn by_kind_and_name_or_by_all_labels() {
        let entries = [
            "Pod/runner-*",
            "*/ci",
            "jenkins=slave,build=shop-*",
            "example.com/role=step",
        ];
        for entry in entries {
            assert_eq!(check(entry), Ok(()), "{entry}");
        }
        let ignored = IgnoredPods::new(&entries.map(str::to_owned));
        assert_eq!(covered(&ignored, "Pod", "runner-7", &[]), Some("Pod/runner-*"));
        assert_eq!(covered(&ignored, "Deployment", "runner-7", &[]), None);
        assert_eq!(covered(&ignored, "StatefulSet", "ci", &[]), Some("*/ci"));
        let build = [("jenkins", "slave"), ("build", "shop-12"), ("more", "x")];
        assert_eq!(covered(&ignored, "Pod", "x", &build), Some(entries[2]));
        assert_eq!(covered(&ignored, "Pod", "x", &build[..1]), None, "all of them");
        assert_eq!(
            covered(&ignored, "Pod", "x", &[("example.com/role", "step")]),
            Some(entries[3])
        );
        assert_eq!(covered(&IgnoredPods::default(), "Pod", "x", &build), None);
    }

    #[test]
    fn anything_else_is_no_entry() {
        for entry in [
            "",
            "runner-*",
            "Pod/",
            "/x",
            "Pod/a/b",
            "Pod/a b",
            "team in (ci)",
            "=ci",
            "team=ci,",
            "team=a=b",
            "team=c i",
            "team=-ci",
            "a b=c",
            "team==ci",
            "team!=ci",
        ] {
            assert!(check(entry).is_err(), "{entry:?}");
        }
        assert!(check(&format!("Pod/{}", "x".repeat(400))).is_err());
        assert!(check("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1").is_err());
    }
}
