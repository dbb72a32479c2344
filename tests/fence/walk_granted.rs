//! What RBAC grants the runner, in every way that it may be written and on every object that is not its own: there the
//! policies have to answer. `walk` holds the table of what is granted; nothing of it may be left out here.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::{Value, json};

use crate::ask::{Answer, Target, Way, ask};
use crate::support::cases::{Verb, make, send};
use crate::support::scene::Scene;
use crate::walk::GRANTED;
use crate::walk_props::props;
use crate::walk_rows::{Row, Wanted, rows};

/// The version that a replacement has to name, if there is something to replace.
async fn stored_version(admin: &kube::Client, object: &Value) -> Option<String> {
    let place = &object["metadata"];
    let leases: Api<Lease> = Api::namespaced(admin.clone(), place["namespace"].as_str()?);
    let found = leases.get_opt(place["name"].as_str()?).await.expect("an answer");
    found?.metadata.resource_version
}

/// What is wrong with the answer, if anything; and how many requests it took.
async fn asked(scene: &Scene, row: &Row, way: Way) -> (usize, Option<String>) {
    let api_version = row.object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let name = row.object["metadata"]["name"].as_str().unwrap_or_default();
    let target = Target {
        group,
        version,
        resource: row.resource,
        namespace: row.object["metadata"]["namespace"].as_str(),
        name,
    };
    let mut body = row.object.clone();
    if way == Way::Generate {
        body["metadata"]["generateName"] = json!(name);
        body["metadata"]["name"] = Value::Null;
    }
    if way == Way::Replace
        && let Some(version) = stored_version(&scene.admin, &row.object).await
    {
        body["metadata"]["resourceVersion"] = json!(version);
    }
    let by = |policy: &str| Answer::Policy(policy.to_owned());
    let (trial, good) = match row.wanted {
        Wanted::Accepted => (Answer::Accepted, None),
        Wanted::NoRight => (Answer::NoRight, Some(Answer::NoRight)),
        Wanted::By(policy) => (by(policy), Some(by(policy))),
        Wanted::Asks(policy) => (Answer::Accepted, Some(by(policy))),
    };
    let complain = |dry_run: bool, wanted: &Answer, answer: &Answer| {
        (wanted != answer)
            .then(|| format!("{way:?} {target:?}, dry run {dry_run}: wanted {wanted:?}, got {answer:?}; {body}"))
    };
    let answer = ask(&scene.runner, way, &target, &body, true).await;
    let complaint = complain(true, &trial, &answer);
    match good {
        Some(good) if complaint.is_none() => {
            let answer = ask(&scene.runner, way, &target, &body, false).await;
            (2, complain(false, &good, &answer))
        }
        _ => (1, complaint),
    }
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes small objects here and there)"]
async fn what_rbac_grants_is_refused_by_the_fence_but_for_its_own() {
    let scene = Scene::open().await;
    let props = props(&scene);
    let made: Vec<Value> = props
        .volumes
        .iter()
        .chain(&props.contents)
        .chain(&props.objects)
        .cloned()
        .collect();
    make(&scene.admin, &made).await;
    make(&scene.runner, std::slice::from_ref(&props.report)).await;
    let rows = rows(&scene, &props);
    let tries: Vec<(&Row, Way)> = rows
        .iter()
        .flat_map(|row| row.ways.iter().map(move |way| (row, *way)))
        .collect();
    let covered: BTreeSet<(&str, Way)> = tries.iter().map(|(row, way)| (row.resource, *way)).collect();
    let answers: Vec<(usize, Option<String>)> = futures::stream::iter(tries)
        .map(|(row, way)| asked(&scene, row, way))
        .buffer_unordered(8)
        .collect()
        .await;
    let requests: usize = answers.iter().map(|(sent, _)| sent).sum();
    let mut failed: Vec<String> = answers.into_iter().filter_map(|(_, complaint)| complaint).collect();
    for (group, resource, _, ways) in GRANTED {
        for way in *ways {
            // The API server has no such patch of custom resources, and stores no reviews, by whatever name.
            let served = match way {
                Way::StrategicPatch => !["velero.io", "restore.kymaros.io"].contains(group),
                Way::Generate => !resource.starts_with("selfsubject"),
                _ => true,
            };
            if served && !covered.contains(&(*resource, *way)) {
                failed.push(format!("{way:?} {resource} is granted, and no row tries it"));
            }
        }
    }
    for object in made.iter().chain([&props.report]) {
        send(&scene.admin, Verb::Remove, object).await;
    }
    scene.close().await;
    assert!(
        failed.is_empty(),
        "{} of {requests}:\n{}",
        failed.len(),
        failed.join("\n")
    );
}
