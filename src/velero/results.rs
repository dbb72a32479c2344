//! What Velero itself says went wrong, sorted by whose fault it is.
//!
//! The file is `{"errors": {"velero": [..], "cluster": [..], "namespaces": {"<sandbox>": [..]}}, "warnings": {..}}`, every
//! inner key only when used. Texts are all there is: cause and object are read out of their wording, which is why every
//! rule here quotes what was really seen. What no rule knows is held against the backup.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::clip::parser;
use crate::{names, redact};

/// Texts kept of each cause, and of the warnings.
pub const MAX_TEXTS: usize = 500;

/// Objects kept whose refusal is known, also without their text: a refused object is not a missing one, so the names
/// matter when the words no longer do. About 3 MB.
const MAX_ITEMS: usize = 5_000;

/// Bytes kept of one text.
const MAX_TEXT: usize = 1024;

/// Errors and warnings of a restore or a backup.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Results {
    /// The errors.
    pub errors: Errors,
    /// The warnings.
    pub warnings: Warnings,
}

/// All errors.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Errors {
    /// Their number. The Restore's own count may be higher: failed data movements have no text.
    pub total: usize,
    /// Their number by cause.
    pub counts: BTreeMap<Cause, usize>,
    /// Those that were kept, in the order of the file.
    pub problems: Vec<Problem>,
}

/// All warnings.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Warnings {
    /// Their number, without the noise.
    pub total: usize,
    /// Number of warnings that every restore has and that mean nothing.
    pub noise: usize,
    /// The first texts that are no noise.
    pub texts: Vec<String>,
    /// Objects that stood in a sandbox before the provider came to them and differ from the backup's; the first of them. A sandbox
    /// is made empty, so something in this cluster puts them into every new namespace. They count as noise.
    pub furnished: Vec<Furnished>,
}

/// An object that something in the cluster puts into every new namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Furnished {
    /// The sandbox.
    pub namespace: String,
    /// Its kind, without a group.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// One error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Whose fault it is.
    pub cause: Cause,
    /// The admission policy that refused the object; with [`Cause::Fence`].
    pub policy: Option<String>,
    /// The sandbox (of a restore) or namespace (of a backup) it stands under; `None` for errors of the server or of
    /// cluster-wide objects.
    pub namespace: Option<String>,
    /// The object, where the text names it.
    pub item: Option<Item>,
    /// The words, without the object where that is known. Empty when there were too many.
    pub message: String,
}

/// An object that could not be restored.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Item {
    /// `plural.group`, e.g. `deployments.apps`.
    pub resource: String,
    /// The sandbox; `None` for a cluster-wide object.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Cause {
    /// The backup's, or not known to be anybody else's.
    Backup,
    /// One of our own admission policies refused the object: held on purpose.
    Fence,
    /// The sandbox's Pod Security level refused it.
    PodSecurity,
    /// A quota of the sandbox is used up.
    Quota,
    /// The sandbox was deleted under the restore, and the fence kept the provider from making another one.
    SandboxLost,
    /// One of our own resource modifiers did not apply; the object was made without it.
    Modifier,
    /// The provider or the API server failed, or the restore of a volume was stopped.
    Provider,
    /// The provider did not get at the backup's data: it is gone, or its storage is.
    Storage,
    /// Somebody told the restore of a volume to stop.
    Cancelled,
}

/// What gives a cause away, in order: the first that is found decides.
const RULES: [(&str, Cause); 17] = [
    // Velero makes a missing sandbox from the backup; the reserved names refuse that. Before the fence's own rule, for the
    // same text names the policy.
    ("error creating namespace", Cause::SandboxLost),
    ("timed out waiting for terminating namespace", Cause::SandboxLost),
    ("violates PodSecurity", Cause::PodSecurity),
    ("exceeded quota: ", Cause::Quota),
    // Names neither object nor kind, and only our modifiers are ever asked for.
    ("error in applying patch", Cause::Modifier),
    ("error in test for path", Cause::Modifier),
    ("error in remove for path", Cause::Modifier),
    ("error downloading backup", Cause::Storage),
    ("backup repository is not ready", Cause::Storage),
    ("error to ensure backup repository", Cause::Storage),
    (
        "timed out waiting for all PodVolumeRestores to complete",
        Cause::Storage,
    ),
    ("pod volume restore canceled", Cause::Cancelled),
    ("DataDownload is canceled", Cause::Provider),
    ("error getting backup store", Cause::Storage),
    ("is unavailable, cannot retrieve the backup", Cause::Provider),
    // The API server itself is down or overloaded.
    ("etcdserver: ", Cause::Provider),
    ("the server is currently unable to handle the request", Cause::Provider),
];

/// How the error of a volume restore begins that was broken off.
const VOLUME_FAILED: &str = "pod volume restore failed";

/// What stands in such an error when the store did not answer. One that answers, but not with the data, has lost it.
const NO_ANSWER: [&str; 15] = [
    "dial tcp",
    "connection refused",
    "connection reset",
    "no such host",
    "no route to host",
    "i/o timeout",
    "TLS handshake timeout",
    "context deadline exceeded",
    // Codes by which a store says that it cannot serve anybody, or not with these credentials.
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "NoSuchBucket",
    "ContainerNotFound",
    "InvalidAccessKeyId",
    "ExpiredToken",
];

/// What object stores say of one file that they do not have: the codes of S3's and Azure's APIs, and the words of Google's client.
/// A bucket that is gone has a code of its own, and a proxy on the way has none.
const NO_SUCH_FILE: [&str; 3] = ["NoSuchKey", "BlobNotFound", "storage: object doesn't exist"];

/// Does this answer of an object store, or an error that quotes it, say that it has no such file? "404" and "not found" alone may be
/// anybody's words.
pub fn says_no_such_file(text: &str) -> bool {
    NO_SUCH_FILE.iter().any(|code| text.contains(code))
}

/// Objects that the cluster makes in every namespace by itself, each with the reason: they are in every backup, exist in
/// the sandbox before Velero comes to them, and differ there.
const MADE_BY_THE_CLUSTER: [(&str, &str, &str); 9] = [
    (
        "ConfigMap",
        "kube-root-ca.crt",
        "the cluster's own certificate authority, put into every namespace",
    ),
    ("ServiceAccount", "default", "made with every namespace"),
    (
        "ConfigMap",
        "openshift-service-ca.crt",
        "OpenShift's certificate authority for Services, put into every namespace",
    ),
    (
        "ConfigMap",
        "istio-ca-root-cert",
        "Istio's certificate authority, put into every namespace",
    ),
    ("ServiceAccount", "builder", "OpenShift makes it with every namespace"),
    ("ServiceAccount", "deployer", "OpenShift makes it with every namespace"),
    (
        "RoleBinding",
        "system:image-builders",
        "OpenShift makes it with every namespace",
    ),
    (
        "RoleBinding",
        "system:image-pullers",
        "OpenShift makes it with every namespace",
    ),
    (
        "RoleBinding",
        "system:deployers",
        "OpenShift makes it with every namespace",
    ),
];

/// Why the cluster has this object in every namespace by itself; `None` if it has not.
pub fn made_by_the_cluster(kind: &str, name: &str) -> Option<&'static str> {
    MADE_BY_THE_CLUSTER
        .iter()
        .find(|entry| entry.0 == kind && entry.1 == name)
        .map(|entry| entry.2)
}

/// Warnings that mean nothing, besides those about [`MADE_BY_THE_CLUSTER`]: words that are all in one, in this order, and the
/// reason.
const NOISE: [(&[&str], &str); 1] = [(
    // "stat /tmp/485465262/resources/priorityclasses.scheduling.k8s.io/cluster/high.json: no such file or directory"
    &[
        "stat ",
        "/priorityclasses.scheduling.k8s.io/cluster/",
        ": no such file or directory",
    ],
    "the class of a pod belongs to the cluster and need not be in a backup; pods of a drill have one of their own",
)];

/// Why a warning means nothing; `None` if it may mean something.
pub fn noise(warning: &str) -> Option<&'static str> {
    about_an_object_that_exists(warning)
        .and_then(|(kind, name)| made_by_the_cluster(kind, name))
        .or_else(|| {
            let in_order = |words: &[&str]| {
                let mut rest = warning;
                words.iter().all(|word| match rest.split_once(word) {
                    Some((_, after)) => {
                        rest = after;
                        true
                    }
                    None => false,
                })
            };
            NOISE
                .iter()
                .find(|(words, _)| in_order(words))
                .map(|(_, reason)| *reason)
        })
}

/// Kind and name of the object of a warning that it exists already and differs.
fn about_an_object_that_exists(warning: &str) -> Option<(&str, &str)> {
    // "could not restore, ConfigMap:kube-root-ca.crt already exists. Warning: the in-cluster version is different than …";
    // other servers write "ConfigMap \"kube-root-ca.crt\"".
    let (_, rest) = warning.split_once("could not restore, ")?;
    let (object, _) = rest.split_once(" already exists")?;
    let (kind, name) = object.split_once(':').or_else(|| object.split_once(' '))?;
    Some((kind, name.trim_matches('"')))
}

impl Errors {
    /// Number of errors of this cause.
    pub fn count(&self, cause: Cause) -> usize {
        self.counts.get(&cause).copied().unwrap_or(0)
    }

    fn add(&mut self, namespace: Option<&str>, text: &str) {
        let (cause, policy) = cause_of(text);
        self.total += 1;
        let count = self.counts.entry(cause).or_default();
        *count += 1;
        let with_text = *count <= MAX_TEXTS;
        let (item, message) = split_item(text, namespace);
        if with_text || (item.is_some() && self.problems.len() < MAX_ITEMS) {
            self.problems.push(Problem {
                cause,
                policy: policy.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                item,
                message: if with_text {
                    cut(&redact::values(message)).to_owned()
                } else {
                    String::new()
                },
            });
        }
    }
}

impl Warnings {
    fn add(&mut self, namespace: Option<&str>, text: &str) {
        if noise(text).is_some() {
            self.noise += 1;
            return;
        }
        if let Some((namespace, (kind, name))) = namespace.zip(about_an_object_that_exists(text)) {
            self.noise += 1;
            if self.furnished.len() < MAX_TEXTS {
                self.furnished.push(Furnished {
                    namespace: namespace.to_owned(),
                    kind: cut(kind).to_owned(),
                    name: cut(name).to_owned(),
                });
            }
            return;
        }
        self.total += 1;
        if self.texts.len() < MAX_TEXTS {
            self.texts.push(cut(&redact::values(text)).to_owned());
        }
    }
}

/// Whose fault an error is, and the policy that refused, if one of ours did.
fn cause_of(text: &str) -> (Cause, Option<&str>) {
    let policy = names::refusing_policy(text);
    let unanswered = NO_ANSWER.iter().any(|words| text.contains(words));
    let rule = RULES.iter().find(|(words, _)| text.contains(words));
    let known = match rule.map(|(_, cause)| *cause) {
        Some(Cause::Storage) if unanswered => Some(Cause::Provider),
        None if unanswered && text.contains(VOLUME_FAILED) => Some(Cause::Provider),
        other => other,
    };
    let wants_host = names::HOST_ACCESS.iter().any(|words| text.contains(words));
    match (known, policy) {
        (Some(Cause::PodSecurity), None) if wants_host => (Cause::Fence, None),
        (Some(Cause::SandboxLost), _) => (Cause::SandboxLost, policy),
        (_, Some(policy)) => (Cause::Fence, Some(policy)),
        (Some(cause), None) => (cause, None),
        (None, None) => (Cause::Backup, None),
    }
}

/// Takes the object out of an error of a restore, `error restoring <resource>/<namespace>/<name>: <message>`, or of a
/// backup, `resource: /<resource> name: /<name> message: /<message> error: /<error>`.
fn split_item<'t>(text: &'t str, namespace: Option<&str>) -> (Option<Item>, &'t str) {
    split_restore_item(text)
        .or_else(|| split_backup_item(text, namespace))
        .map_or((None, text.trim()), |(item, message)| (Some(item), message))
}

fn split_restore_item(text: &str) -> Option<(Item, &str)> {
    let rest = ["error restoring ", "error preparing "]
        .iter()
        .find_map(|start| text.trim_start().strip_prefix(start))?;
    // A name may hold a colon (RBAC), but none with a space behind it.
    let (object, message) = rest.split_once(": ")?;
    let (resource, path) = object.split_once('/')?;
    let (namespace, name) = match path.split_once('/') {
        Some((namespace, name)) => (Some(namespace).filter(|namespace| !namespace.is_empty()), name),
        None => (None, path),
    };
    let item = Item {
        resource: resource.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    (!object.contains(' ')).then_some((item, message))
}

fn split_backup_item<'t>(text: &'t str, namespace: Option<&str>) -> Option<(Item, &'t str)> {
    let rest = text.trim_start().strip_prefix("resource: /")?;
    let (resource, rest) = rest.split_once(" name: /")?;
    let (name, rest) = rest.split_once(" message: /")?;
    let item = Item {
        resource: resource.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    Some((item, rest))
}

fn cut(text: &str) -> &str {
    if text.len() <= MAX_TEXT {
        return text;
    }
    let end = (0..=MAX_TEXT)
        .rev()
        .find(|index| text.is_char_boundary(*index))
        .unwrap_or(0);
    &text[..end]
}

/// Reads `RestoreResults` or `BackupResults`.
pub fn read_results<R: Read>(reader: R) -> serde_json::Result<Results> {
    let mut results = Results::default();
    let mut parser = parser(reader);
    parser.deserialize_any(Node {
        results: &mut results,
        place: Place::Top,
    })?;
    parser.end()?;
    Ok(results)
}

/// Where in the document a value stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Top,
    /// Below `errors` (true) or `warnings`.
    Section(bool),
    /// Below `namespaces`.
    Namespaces(bool),
    /// A list of texts, of this namespace if any.
    Texts(bool, Option<&'a str>),
}

struct Node<'a> {
    results: &'a mut Results,
    place: Place<'a>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.place {
            Place::Top => "an object with errors and warnings",
            Place::Section(_) | Place::Namespaces(_) => "an object with lists of texts",
            Place::Texts(..) => "a list of texts",
        })
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let place = match (self.place, key.as_str()) {
                (Place::Top, "errors") => Place::Section(true),
                (Place::Top, "warnings") => Place::Section(false),
                (Place::Top, _) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Place::Section(errors), "namespaces") => Place::Namespaces(errors),
                (Place::Section(errors), _) => Place::Texts(errors, None),
                (Place::Namespaces(errors), namespace) => Place::Texts(errors, Some(namespace)),
                (Place::Texts(..), _) => return Err(A::Error::custom("an object where texts should be")),
            };
            map.next_value_seed(Node {
                results: self.results,
                place,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Place::Texts(errors, namespace) = self.place else {
            return Err(A::Error::custom("a list where an object should be"));
        };
        while list
            .next_element_seed(Text {
                results: self.results,
                errors,
                namespace,
            })?
            .is_some()
        {}
        Ok(())
    }
}

struct Text<'a> {
    results: &'a mut Results,
    errors: bool,
    namespace: Option<&'a str>,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.errors {
            self.results.errors.add(self.namespace, text);
        } else {
            self.results.warnings.add(self.namespace, text);
        }
        Ok(())
    }
}
