//! The admission policies: bound, worded, of one mind with the program.

use std::collections::BTreeSet;

use kymaros_runner::names::{self, annotation, label};
use kymaros_runner::plan::rules;
use serde_json::{Value, json};

use crate::support::root;
use crate::{build, of_kind, one, read, text};

#[test]
fn every_policy_is_bound_and_refuses_in_words() {
    let base = build(&root().join("kustomize/base"));
    let mut policies = 0;
    for kind in ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"] {
        for policy in of_kind(&base, kind) {
            policies += 1;
            let name = text(policy, "/metadata/name");
            assert!(name.starts_with(names::FENCE_PREFIX), "{name}");
            assert_eq!(text(policy, "/spec/failurePolicy"), "Fail", "{name}");
            assert!(
                ["runner", "sandbox", "cluster", "provider"]
                    .contains(&text(policy, "/metadata/labels/kymaros.io~1fence")),
                "{name}"
            );
            let binding = one(&base, &format!("{kind}Binding"), name);
            assert_eq!(text(binding, "/spec/policyName"), name);
            if kind.starts_with('V') {
                assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]), "{name}");
            }
            for validation in policy["spec"]["validations"].as_array().into_iter().flatten() {
                // With another reason the API server's text begins with "is invalid", and its code is not 403.
                assert_eq!(text(validation, "/reason"), "Forbidden", "{name}: {validation}");
                let message = validation.get("message").or(validation.get("messageExpression"));
                assert!(message.is_some(), "{name}: {validation}");
            }
            let sandbox_only = policy.pointer("/spec/matchConstraints/namespaceSelector/matchLabels");
            let marked = json!({label::MANAGED_BY: names::MANAGED_BY});
            assert_eq!(
                text(policy, "/metadata/labels/kymaros.io~1fence") == "sandbox",
                sandbox_only == Some(&marked),
                "{name}"
            );
        }
    }
    assert_eq!(policies, 44);
    let bindings = of_kind(&base, "ValidatingAdmissionPolicyBinding").len()
        + of_kind(&base, "MutatingAdmissionPolicyBinding").len();
    assert_eq!(bindings, policies, "a binding without a policy");
}

#[test]
fn the_program_and_the_manifests_use_the_same_names() {
    let base = build(&root().join("kustomize/base"));
    let account = one(&base, "ServiceAccount", names::SERVICE_ACCOUNT);
    assert_eq!(text(account, "/metadata/namespace"), names::RUNNER_NAMESPACE);
    one(&base, "Namespace", names::RUNNER_NAMESPACE);
    one(&base, "ClusterRole", names::SANDBOX_ROLE);
    let class = one(&base, "PriorityClass", names::PRIORITY_CLASS);
    assert_eq!(class["preemptionPolicy"], "Never");
    let value = class["value"].as_i64().expect("a number");
    assert!(value < 0, "{value}");

    let all = |kind: &str, name: &str| one(&base, kind, &format!("{}{name}", names::FENCE_PREFIX)).to_string();
    let pods = all("MutatingAdmissionPolicy", "neutralise-pods");
    assert!(pods.contains(&format!("value: {value}}}")) && pods.contains(names::PRIORITY_CLASS));
    assert!(all("ValidatingAdmissionPolicy", "sandbox-pods").contains(names::PRIORITY_CLASS));
    for policy in [
        all("MutatingAdmissionPolicy", "neutralise-ingresses"),
        all("ValidatingAdmissionPolicy", "sandbox-objects"),
    ] {
        assert!(policy.contains(names::INERT_INGRESS_CLASS));
    }
    let probes = all("ValidatingAdmissionPolicy", "pods");
    for name in [label::PROBE, names::NAME_SERVER, "'dns'", "'probe'"] {
        assert!(probes.contains(name), "{name}");
    }
    let bindings = all("MutatingAdmissionPolicy", "neutralise-rolebindings");
    for name in [label::VELERO_RESTORE, annotation::REMOVED_SUBJECTS] {
        assert!(bindings.contains(name), "{name}");
    }
    let pointing = all("MutatingAdmissionPolicy", "neutralise-names");
    for name in [
        label::PROBE,
        names::NAME_SERVER,
        annotation::NAME_SERVER,
        annotation::CLUSTER_DOMAIN,
    ] {
        assert!(pointing.contains(name), "{name}");
    }
    let services = all("ValidatingAdmissionPolicy", "services");
    assert!(services.contains(&format!("{{'{}': '{}'}}", label::PROBE, names::NAME_SERVER)));
    let namespaces = all("ValidatingAdmissionPolicy", "namespaces");
    for name in [
        label::MANAGED_BY,
        label::RUN,
        label::POD_SECURITY,
        annotation::EXPIRES_AT,
        annotation::NAME_SERVER,
        annotation::CLUSTER_DOMAIN,
    ] {
        assert!(namespaces.contains(name), "{name}");
    }
    let reserved = all("ValidatingAdmissionPolicy", "reserved-names");
    for name in [
        label::MANAGED_BY,
        label::RUN,
        label::TEST,
        label::TEST_UID,
        label::SOURCE_NAMESPACE,
    ] {
        assert!(reserved.contains(name), "{name}");
    }
    let reports = all("ValidatingAdmissionPolicy", "reports-pruning");
    for name in [label::RETAIN, names::condition::COMPLETE, names::GROUP] {
        assert!(reports.contains(name), "{name}");
    }
    let turn = names::PROVIDER_LOCK.starts_with(names::PROVIDER_PREFIX);
    assert!(
        turn && all("ValidatingAdmissionPolicy", "leases")
            .contains(&format!("startsWith('{}')", names::PROVIDER_PREFIX))
    );

    let longest = kymaros_runner::lease::LONGEST.as_secs();
    assert!(all("ValidatingAdmissionPolicy", "leases").contains(&format!("<= {longest})")));
    assert!(kymaros_runner::lease::DURATION <= kymaros_runner::lease::LONGEST);

    // Every policy that speaks of a name's end speaks of the same, and every one that speaks of the runner means it.
    let pattern = format!("{}[a-z0-9]{{6}}$", names::SANDBOX_INFIX);
    let runner = format!(
        "system:serviceaccount:{}:{}",
        names::RUNNER_NAMESPACE,
        names::SERVICE_ACCOUNT
    );
    for policy in base
        .iter()
        .filter(|object| text(object, "/kind").ends_with("AdmissionPolicy"))
    {
        let policy = policy.to_string();
        assert_eq!(
            policy.matches("kymaros-[a-z0-9]{6}").count(),
            policy.matches(&pattern).count() + policy.matches("'^kymaros-[a-z0-9]{6}$'").count(),
            "{policy}"
        );
        assert_eq!(
            policy.matches("system:serviceaccount:kymaros").count(),
            policy.matches(&runner).count(),
            "{policy}"
        );
    }
}

#[test]
fn what_the_net_refuses_the_neutraliser_removes() {
    let quoted = |file: &str| {
        let policy = read(&root().join(format!("manifests/fence/{file}.yaml"))).remove(0);
        let variables = policy["spec"]["variables"].as_array().expect("variables").clone();
        let found = variables
            .into_iter()
            .find(|variable| variable["name"] == "steering")
            .expect("a list");
        let quoted: BTreeSet<String> = text(&found, "/expression")
            .split('\'')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        quoted
    };
    let refused = quoted("sandbox-metadata");
    assert!(
        !refused.is_empty() && refused.is_subset(&quoted("neutralise-metadata")),
        "{refused:?}"
    );
}

#[test]
fn the_net_of_rolebindings_hangs_under_their_neutraliser() {
    let spec = |file: &str| read(&root().join(format!("manifests/fence/{file}.yaml"))).remove(0)["spec"].clone();
    let (net, above) = (spec("sandbox-rbac"), spec("neutralise-rolebindings"));
    // What the one lets through unseen, the other would not see either.
    assert_eq!(net["matchConditions"], above["matchConditions"]);
    let run = |spec: &Value| {
        let variables = spec["variables"].as_array().expect("variables").clone();
        variables
            .into_iter()
            .find(|variable| variable["name"] == "run")
            .expect("run")
    };
    assert_eq!(run(&net), run(&above), "both speak of the same sandboxes");
}

#[test]
fn the_installations_settings_are_the_policies_variables() {
    let example = read(&root().join("kustomize/example/installation.yaml")).remove(0);
    assert_eq!(text(&example, "/metadata/name"), names::INSTALLATION);
    let settings = example["data"].as_object().expect("settings");
    let mut used = BTreeSet::new();
    let base = build(&root().join("kustomize/base"));
    let policies = base
        .iter()
        .filter(|object| text(object, "/kind").ends_with("AdmissionPolicy"));
    for policy in policies {
        for variable in policy["spec"]["variables"].as_array().into_iter().flatten() {
            let name = text(variable, "/name");
            // Without the component the policies say what the example says.
            if let Some(setting) = settings.get(name) {
                assert_eq!(
                    setting,
                    &variable["expression"],
                    "{name} of {}",
                    text(policy, "/metadata/name")
                );
                used.insert(name.to_owned());
            }
        }
    }
    assert_eq!(used, settings.keys().cloned().collect(), "settings without effect");

    let policy = read(&root().join("manifests/fence/networkpolicies.yaml")).remove(0);
    let variable = |name: &str| {
        let variables = policy["spec"]["variables"].as_array().expect("variables");
        let found = variables.iter().find(|variable| text(variable, "/name") == name);
        text(found.expect(name), "/expression").to_owned()
    };
    assert_eq!(
        variable("list")
            .replace("'egressCidrs'", "variables.egressCidrs")
            .replace("'dnsCidrs'", "variables.dnsCidrs"),
        variable("permitted"),
        "the list that is told is the one that decides"
    );
}

#[test]
fn every_list_of_the_same_thing_is_the_same() {
    let quoted = |file: &str, name: &str| {
        let policy = read(&root().join(format!("manifests/fence/{file}.yaml"))).remove(0);
        let variables = policy["spec"]["variables"].as_array().expect("variables").clone();
        let found = variables
            .into_iter()
            .find(|variable| variable["name"] == name)
            .expect(name);
        let quoted = text(&found, "/expression").split('\'').skip(1).step_by(2);
        quoted.map(str::to_owned).collect::<BTreeSet<String>>()
    };
    // Groups of Kubernetes itself that have objects in namespaces; the one has the core group and the provider's snapshots besides.
    let announced = quoted("namespaces", "builtIn");
    let mut written = quoted("drill-writes", "builtIn");
    assert!(written.remove("") && written.remove("VolumeSnapshot.snapshot.storage.k8s.io"));
    assert_eq!(announced, written);
    for group in announced {
        assert!(!rules::is_custom(&group), "{group}");
    }
}

#[test]
fn what_the_fence_holds_is_left_out_of_restores() {
    let policy = read(&root().join("manifests/fence/foreign-kinds.yaml")).remove(0);
    let variable = |name: &str| {
        let variables = policy["spec"]["variables"].as_array().expect("variables");
        let found = variables
            .iter()
            .find(|variable| text(variable, "/name") == name)
            .expect(name);
        let quoted = text(found, "/expression").split('\'').skip(1).step_by(2);
        quoted.map(str::to_owned).collect::<Vec<_>>()
    };
    let groups = variable("held");
    assert!(groups.len() > 50, "{groups:?}");
    for group in groups {
        // One of the two, for the program knows exactly which groups there are.
        let below = format!("any.{group}");
        assert!(
            rules::never_let_in(&group).or(rules::never_let_in(&below)).is_some(),
            "{group}: a refusal would count as an error"
        );
    }
    for kind in variable("heldKinds") {
        let (kind, group) = kind.split_once('.').expect("a group");
        let rule = rules::of_kind(group, kind, &["*".to_owned()]);
        assert!(matches!(rule, rules::Rule::Held(_)), "{kind}.{group}: {rule:?}");
    }
}

/// A policy nobody has seen refuse is not a control.
#[test]
fn every_policy_is_seen_to_act() {
    let mut tests = String::new();
    for entry in std::fs::read_dir(root().join("tests/fence")).expect("the tests") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            tests.push_str(&std::fs::read_to_string(path).expect("a test"));
        }
    }
    let tests: String = tests.split_whitespace().collect();
    let base = build(&root().join("kustomize/base"));
    for policy in of_kind(&base, "ValidatingAdmissionPolicy") {
        let name = text(policy, "/metadata/name")
            .strip_prefix(names::FENCE_PREFIX)
            .expect("a name");
        // A connection is asked for by its URL, so what the policy for exec says is looked for instead.
        let by_words = if name == "exec" {
            "\"interactiveterminal\""
        } else {
            "\"twin-none\""
        };
        let refusal = [
            format!("Refused(\"{name}\""),
            format!("\"twin-{name}\""),
            by_words.to_owned(),
        ];
        assert!(
            refusal.iter().any(|words| tests.contains(words)),
            "no test in tests/fence expects a refusal of {name}"
        );
    }
}
