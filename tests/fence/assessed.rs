//! Every field that reaches a node, the provider or the fence was assessed by somebody (`tests/fence/assessed`): what the API
//! server serves is compared with the committed lists, both ways, and so are the kinds of its own that it serves in namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::support::root;

/// What somebody found out about a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Whatever its value, nothing outside the sandbox changes or is reached.
    Harmless,
    /// The policy permits some values.
    Limited(String),
    /// The policy permits none.
    Refused(String),
    /// The policy sets the value.
    Changed(String),
    /// The API server does not take it from whoever writes the object.
    Ignored,
    /// An object, whose fields are assessed one by one.
    Parts,
    /// An object with a file of its own.
    See(String),
}

/// One file of `tests/fence/assessed`.
pub(crate) struct List {
    pub(crate) file: String,
    /// Path of the `OpenAPI` document below `/openapi/v3`.
    document: String,
    /// The kind that the walk begins with.
    kind: String,
    /// By type and field.
    pub(crate) fields: BTreeMap<(String, String), Verdict>,
}

/// Reads one file; a line that cannot be read, or says nothing, is an error.
fn parse(file: &str, text: &str) -> Result<List, String> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, first) = lines.next().ok_or_else(|| format!("{file} is empty"))?;
    let (document, kind) = first.split_once(' ').unwrap_or((first, ""));
    let mut list = List {
        file: file.to_owned(),
        document: document.to_owned(),
        kind: kind.to_owned(),
        fields: BTreeMap::new(),
    };
    let mut section = String::new();
    for (at, line) in lines {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let words: Vec<&str> = columns
            .get(1)
            .map(|column| column.split(' ').collect())
            .unwrap_or_default();
        let reason = columns.get(2).is_some_and(|reason| !reason.is_empty()) && columns.len() == 3;
        let verdict = match words.as_slice() {
            ["harmless"] if reason => Verdict::Harmless,
            ["limited", policy] if reason => Verdict::Limited((*policy).to_owned()),
            ["refused", policy] if reason => Verdict::Refused((*policy).to_owned()),
            ["changed", policy] if reason => Verdict::Changed((*policy).to_owned()),
            ["ignored"] if columns.len() == 2 => Verdict::Ignored,
            ["parts"] if columns.len() == 2 => Verdict::Parts,
            ["see", other] if columns.len() == 2 => Verdict::See((*other).to_owned()),
            _ => return Err(format!("{file}:{at}: not an assessment with its reason: {line}")),
        };
        for field in columns[0].split_whitespace() {
            let key = (section.clone(), field.to_owned());
            if list.fields.insert(key, verdict.clone()).is_some() {
                return Err(format!("{file}:{at}: {section} {field} is assessed twice"));
            }
        }
    }
    Ok(list)
}

/// One of the committed lists.
pub(crate) fn list(file: &str) -> List {
    let path = root().join("tests/fence/assessed").join(file);
    let text = fs::read_to_string(path).expect("a list of that name");
    parse(file, &text).expect("a list that can be read")
}

/// All of them.
fn lists() -> Vec<List> {
    let mut files: Vec<String> = fs::read_dir(root().join("tests/fence/assessed"))
        .expect("the folder of the lists")
        .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
        .filter(|name| name.strip_suffix(".txt").is_some())
        .collect();
    files.sort();
    files.iter().map(|file| list(file)).collect()
}

/// The part of a type's name by which the lists call it.
fn short(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or(name)
}

/// What a property is made of: the type that it refers to, or an object described in place; through lists and maps.
fn inside<'a>(schemas: &'a Value, property: &'a Value) -> Option<(Option<&'a str>, &'a Value)> {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let schema = &schemas[name];
        return schema["properties"].is_object().then_some((Some(name), schema));
    }
    if property["properties"].is_object() {
        return Some((None, property));
    }
    let all = property["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .chain([&property["items"], &property["additionalProperties"]])
        .filter(|next| next.is_object())
        .find_map(|next| inside(schemas, next))
}

/// Compares one document with a list. Each line names a field and says what is wrong with it.
fn compare(list: &List, document: &Value) -> Vec<String> {
    let schemas = &document["components"]["schemas"];
    let mut types: BTreeSet<&str> = BTreeSet::new();
    let mut todo: Vec<&str> = schemas
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys())
        .map(String::as_str)
        .filter(|name| short(name) == list.kind)
        .collect();
    let mut complaints = Vec::new();
    if todo.len() != 1 {
        complaints.push(format!(
            "{}: {} is described {} times",
            list.file,
            list.kind,
            todo.len()
        ));
    }
    let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if !types.insert(name) {
            continue;
        }
        // Objects that are described in place, with the path that leads to them.
        let mut places = vec![(String::new(), &schemas[name])];
        while let Some((path, schema)) = places.pop() {
            for (field, property) in schema["properties"].as_object().into_iter().flatten() {
                let path = if path.is_empty() {
                    field.clone()
                } else {
                    format!("{path}.{field}")
                };
                let found = inside(schemas, property);
                let key = (short(name).to_owned(), path.clone());
                let verdict = list.fields.get(&key);
                let said = match (verdict, found) {
                    (None, _) => Some("is served, and nobody assessed it"),
                    (Some(Verdict::Parts), None) => Some("is no object with fields, so assess it itself"),
                    (Some(Verdict::Harmless | Verdict::Limited(_) | Verdict::Changed(_)), Some(_)) => {
                        Some("is an object with fields: assess these, and call it parts")
                    }
                    _ => None,
                };
                if let Some(said) = said {
                    complaints.push(format!("{}: {} {path} {said}", list.file, short(name)));
                }
                if let (Some(Verdict::Parts), Some((other, schema))) = (verdict, found) {
                    match other {
                        Some(other) => todo.push(other),
                        None => places.push((path, schema)),
                    }
                }
                seen.insert(key);
            }
        }
    }
    for (section, field) in list.fields.keys() {
        if !seen.contains(&(section.clone(), field.clone())) {
            complaints.push(format!(
                "{}: {section} {field} is assessed, but not served (any more)",
                list.file
            ));
        }
    }
    complaints
}

/// What to do about complaints.
const UPDATE: &str = "assess each field (tests/fence/assessed/README.md), change its line in that folder, and run \
                      `cargo test --test fence assessed -- --ignored` again";

mod unit {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({"components": {"schemas": {
            "io.example.v1.Thing": {"properties": {
                "kind": {"type": "string"},
                "spec": {"allOf": [{"$ref": "#/components/schemas/io.example.v1.ThingSpec"}], "default": {}},
                "status": {"properties": {"phase": {"type": "string"}}},
            }},
            "io.example.v1.ThingSpec": {"properties": {
                "parts": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/io.example.v1.Part"}]}},
                "where": {"type": "object", "additionalProperties": {"properties": {"host": {"type": "string"}}}},
                "size": {"$ref": "#/components/schemas/io.example.Quantity"},
            }},
            "io.example.v1.Part": {"properties": {"name": {"type": "string"}}},
            "io.example.Quantity": {"type": "string"},
        }}})
    }

    const ASSESSED: &str = "
        /apis/example.io/v1 Thing
        [Thing]
        kind | harmless | a word of no consequence
        spec | parts
        status | ignored
        [ThingSpec]
        parts where | parts
        where.host | refused restores | leads somewhere else
        size | harmless | a number of no consequence
        [Part]
        name | limited pods | some names only";

    fn complaints(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut served = document();
        change(&mut served["components"]["schemas"]);
        compare(&parse("made-up.txt", ASSESSED).expect("a list"), &served)
    }

    #[test]
    fn a_list_that_says_all_is_complete() {
        assert_eq!(complaints(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn a_field_that_nobody_assessed_is_named() {
        let new = json!({"type": "boolean"});
        for (pointer, named) in [
            ("/io.example.v1.Thing/properties", "Thing hostAccess"),
            ("/io.example.v1.Part/properties", "Part hostAccess"),
            (
                "/io.example.v1.ThingSpec/properties/where/additionalProperties/properties",
                "ThingSpec where.hostAccess",
            ),
        ] {
            let said = complaints(|schemas| schemas.pointer_mut(pointer).expect("a type")["hostAccess"] = new.clone());
            assert_eq!(
                said,
                [format!("made-up.txt: {named} is served, and nobody assessed it")]
            );
        }
        // What the API server ignores may have new fields.
        assert!(
            complaints(|schemas| schemas["io.example.v1.Thing"]["properties"]["status"]["properties"]["new"] = new)
                .is_empty()
        );
    }

    #[test]
    fn a_field_that_became_an_object_is_named() {
        let said = complaints(|schemas| schemas["io.example.Quantity"] = json!({"properties": {"of": {}}}));
        assert_eq!(
            said,
            ["made-up.txt: ThingSpec size is an object with fields: assess these, and call it parts"]
        );
    }

    #[test]
    fn a_field_that_is_gone_is_named() {
        let gone = |schemas: &mut Value| {
            schemas["io.example.v1.ThingSpec"]["properties"]
                .as_object_mut()
                .expect("fields")
                .remove("parts");
        };
        assert_eq!(
            complaints(gone),
            [
                "made-up.txt: Part name is assessed, but not served (any more)",
                "made-up.txt: ThingSpec parts is assessed, but not served (any more)"
            ]
        );
    }

    #[test]
    fn an_assessment_needs_its_reason_and_stands_once() {
        for line in [
            "kind | harmless",
            "kind | harmless | ",
            "kind | limited | somehow, by something",
            "kind",
        ] {
            let text = format!("/api/v1 Thing\n[Thing]\n{line}\n");
            assert!(parse("made-up.txt", &text).is_err(), "{line}");
        }
        assert!(parse("made-up.txt", &format!("{ASSESSED}\nname | ignored\n")).is_err());
    }

    /// A line that names a policy which is not shipped would call something held that is not.
    #[test]
    fn the_policies_and_files_that_the_lists_name_are_there() {
        let shipped: BTreeSet<String> = fs::read_dir(root().join("manifests/fence"))
            .expect("the fence")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        let all = lists();
        let files: BTreeSet<&String> = all.iter().map(|list| &list.file).collect();
        let mut unknown = Vec::new();
        for list in &all {
            for ((section, field), verdict) in &list.fields {
                let there = match verdict {
                    Verdict::Limited(policy) | Verdict::Refused(policy) | Verdict::Changed(policy) => {
                        shipped.contains(&format!("{policy}.yaml"))
                    }
                    Verdict::See(other) => files.contains(other),
                    Verdict::Harmless | Verdict::Ignored | Verdict::Parts => true,
                };
                if !there {
                    unknown.push(format!("{}: {section} {field}: {verdict:?}", list.file));
                }
            }
        }
        assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    }
}

mod served {
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
    use kube::Client;
    use kube::api::{Api, ListParams};

    use super::*;
    use crate::support::{client, kubectl_in_cluster};

    /// The file that is about kinds, not fields.
    const KINDS: &str = "resources.txt";

    async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        client.request(request).await
    }

    #[tokio::test]
    #[ignore = "needs a cluster with the provider's own kinds"]
    async fn every_field_that_is_served_was_assessed() {
        kubectl_in_cluster(
            &[
                "get",
                "crd",
                "restores.velero.io",
                "-o",
                "jsonpath={.metadata.labels.component}",
            ],
            None,
        )
        .ok()
        .filter(|component| component == "velero")
        .expect("Velero's own kinds are served: a bed by `tests/cluster/up velero`, not stand-ins without its fields");
        let client = client(None).await;
        let mut failed = Vec::new();
        let mut fields = 0;
        for list in lists().into_iter().filter(|list| list.file != KINDS) {
            let path = format!("/openapi/v3{}", list.document);
            // Documents of custom resources are put together a moment after these were made.
            let mut complaints = Vec::new();
            for _ in 0..10 {
                complaints = match get(&client, &path).await {
                    Ok(document) => compare(&list, &document),
                    Err(error) => vec![format!("{path}: {error}")],
                };
                if complaints.is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            fields += list.fields.len();
            failed.extend(complaints);
        }
        assert!(failed.is_empty(), "{}\n{UPDATE}", failed.join("\n"));
        assert!(fields > 600, "only {fields} fields were compared");
    }

    /// Names of the groups that the API server serves by itself, the core group as `core`.
    pub(crate) async fn built_in_groups(client: &Client) -> BTreeSet<String> {
        let services: Api<APIService> = Api::all(client.clone());
        let own = ListParams::default().labels("kube-aggregator.kubernetes.io/automanaged=onstart");
        let list = services.list(&own).await.expect("what is served");
        let groups = list
            .items
            .into_iter()
            .filter_map(|service| Some(service.spec?.group.unwrap_or_default()));
        groups
            .map(|group| if group.is_empty() { "core".to_owned() } else { group })
            .collect()
    }

    /// Every resource and subresource that is served: group (the core group as `core`), version, name, and whether it is
    /// namespaced.
    pub(crate) async fn resources(client: &Client) -> Vec<(String, String, String, bool)> {
        let groups: APIGroupList = serde_json::from_value(get(client, "/apis").await.expect("groups")).expect("groups");
        let mut places = vec![("core".to_owned(), "v1".to_owned(), "/api/v1".to_owned())];
        for group in groups.groups {
            for version in group.versions {
                let path = format!("/apis/{}", version.group_version);
                places.push((group.name.clone(), version.version, path));
            }
        }
        let mut resources = Vec::new();
        for (group, version, path) in places {
            let list: APIResourceList =
                serde_json::from_value(get(client, &path).await.expect("resources")).expect("resources");
            resources.extend(
                list.resources
                    .into_iter()
                    .map(|resource| (group.clone(), version.clone(), resource.name, resource.namespaced)),
            );
        }
        resources
    }

    #[tokio::test]
    #[ignore = "needs a cluster"]
    async fn every_namespaced_kind_of_the_api_server_was_assessed() {
        let client = client(None).await;
        let own = built_in_groups(&client).await;
        let served: BTreeSet<(String, String)> = resources(&client)
            .await
            .into_iter()
            .filter(|(group, _, _, namespaced)| *namespaced && own.contains(group))
            .map(|(group, _, name, _)| (group, name))
            .collect();
        let assessed: BTreeSet<(String, String)> = list(KINDS).fields.into_keys().collect();
        let say = |set: Vec<&(String, String)>, what: &str| -> Vec<String> {
            set.iter()
                .map(|(group, name)| format!("{KINDS}: {group} {name} {what}"))
                .collect()
        };
        let mut failed = say(
            served.difference(&assessed).collect(),
            "is served, and nobody assessed it",
        );
        failed.extend(say(
            assessed.difference(&served).collect(),
            "is assessed, but not served (any more)",
        ));
        assert!(failed.is_empty(), "{}\n{UPDATE}", failed.join("\n"));
    }
}
pub(crate) use served::resources;
