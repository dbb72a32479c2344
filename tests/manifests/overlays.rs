//! What an installation builds from: the example, several tests, the opt-in parts, another provider's namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kymaros_runner::names::{self, label};
use kymaros_runner::plan::living::{COMPARED, RIGHTS};
use serde_json::{Value, json};

use crate::support::{kubectl, root};
use crate::{build, of_kind, one, read, text};

/// Why a kustomization does not build.
fn refused(folder: &Path) -> String {
    kubectl(&["kustomize", &folder.to_string_lossy()]).expect_err("it should not build")
}

/// Writes an overlay that only this test has: files by their path, which say KUSTOMIZE for the folder that is shipped.
fn overlay(name: &str, overlay: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // A kustomization may not name an absolute path: up to the file system's root, and down again.
    let up = "../".repeat(folder.components().count() - 1);
    let kustomize = format!(
        "{up}{}",
        root().join("kustomize").to_string_lossy().trim_start_matches('/')
    );
    for (path, text) in overlay {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text.replace("KUSTOMIZE", &kustomize)).expect("written");
    }
    folder
}

#[test]
fn the_sandbox_role_is_made_of_parts_without_any_read_of_secrets() {
    let base = build(&root().join("kustomize/base"));
    let role = one(&base, "ClusterRole", names::SANDBOX_ROLE);
    assert!(
        role.get("rules").is_none(),
        "every apply would take the rights away for a moment"
    );
    let selector = role["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"].clone();
    assert_eq!(selector, json!({"kymaros.io/aggregate-to-sandbox": "true"}));
    let part = one(&base, "ClusterRole", "kymaros-sandbox-base");
    assert_eq!(part["metadata"]["labels"]["kymaros.io/aggregate-to-sandbox"], "true");
    for part in ["sandbox-exec", "sandbox-header-secrets"] {
        let role = read(&root().join(format!("kustomize/components/{part}/clusterrole.yaml"))).remove(0);
        assert_eq!(
            role["metadata"]["labels"]["kymaros.io/aggregate-to-sandbox"], "true",
            "{part}"
        );
        let opted_in = format!("kymaros-{part}");
        assert_eq!(text(&role, "/metadata/name"), opted_in);
        assert!(
            of_kind(&base, "ClusterRole")
                .iter()
                .all(|role| text(role, "/metadata/name") != opted_in)
        );
    }
    for role in of_kind(&base, "ClusterRole").into_iter().chain(of_kind(&base, "Role")) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let core = rule["apiGroups"]
                .as_array()
                .is_some_and(|groups| groups.contains(&json!("")) || groups.contains(&json!("*")));
            let secrets = rule["resources"]
                .as_array()
                .is_some_and(|kinds| kinds.contains(&json!("secrets")) || kinds.contains(&json!("*")));
            assert!(!core || !secrets || rule["verbs"] == json!(["create"]), "{rule}");
        }
    }
}

/// The settings that both `CronJobs` share.
fn assert_well_behaved(cron: &Value) {
    let name = text(cron, "/metadata/name");
    assert_eq!(text(cron, "/metadata/namespace"), names::RUNNER_NAMESPACE);
    assert_eq!(text(cron, "/spec/concurrencyPolicy"), "Forbid", "{name}");
    assert!(
        cron["spec"]["startingDeadlineSeconds"].as_u64() > Some(10),
        "{name}: below ten seconds a CronJob may never start"
    );
    assert!(!text(cron, "/spec/timeZone").is_empty(), "{name}");
    let job = &cron["spec"]["jobTemplate"]["spec"];
    assert_eq!(job["backoffLimit"], 0, "{name}");
    assert!(job["ttlSecondsAfterFinished"].as_u64() > Some(3600), "{name}");
    let pod = &job["template"];
    assert_eq!(pod["metadata"]["labels"][label::APP_NAME], names::APP, "{name}");
    assert_eq!(
        pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false",
        "{name}"
    );
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], names::SERVICE_ACCOUNT, "{name}");
    assert_eq!(spec["automountServiceAccountToken"], true, "{name}");
    assert_eq!(spec["restartPolicy"], "Never", "{name}");
    assert_eq!(spec["terminationGracePeriodSeconds"], 120, "{name}");
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{name}");
    assert_eq!(
        spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
        "{name}"
    );
    let containers = spec["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 1, "{name}");
    let context = &containers[0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
    assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{name}");
    let environment = environment(cron);
    for (variable, field) in [
        ("POD_NAME", "metadata.name"),
        ("POD_UID", "metadata.uid"),
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_IP", "status.podIP"),
    ] {
        assert_eq!(
            environment[variable]["valueFrom"]["fieldRef"]["fieldPath"], field,
            "{name}"
        );
    }
}

fn environment(cron: &Value) -> BTreeMap<&str, &Value> {
    let variables = &cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"];
    variables
        .as_array()
        .expect("env")
        .iter()
        .map(|variable| (text(variable, "/name"), variable))
        .collect()
}

fn image(cron: &Value) -> &str {
    text(cron, "/spec/jobTemplate/spec/template/spec/containers/0/image")
}

#[test]
fn the_example_runs_its_test_when_the_test_says() {
    let example = build(&root().join("kustomize/example"));
    let tests = of_kind(&example, "RestoreTest");
    assert_eq!(tests.len(), 1);
    let test = tests[0];
    let name = text(test, "/metadata/name");
    let cron = one(&example, "CronJob", name);
    assert_well_behaved(cron);
    assert_eq!(cron["spec"]["schedule"], test["spec"]["schedule"]["cron"]);
    assert_eq!(cron["spec"]["timeZone"], test["spec"]["schedule"]["timezone"]);
    assert_eq!(environment(cron)["RESTORE_TEST_NAME"]["value"], name);
    // A day of spec.timeout at most, and an hour for the rest.
    assert_eq!(cron["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"], 90_000);
    for pointer in [
        "/metadata",
        "/spec/jobTemplate/metadata",
        "/spec/jobTemplate/spec/template/metadata",
    ] {
        assert_eq!(
            cron.pointer(pointer).expect("metadata")["labels"][label::TEST],
            name,
            "{pointer}"
        );
    }
    let policy = one(
        &example,
        "HealthCheckPolicy",
        text(test, "/spec/healthChecks/policyRef"),
    );
    assert_eq!(policy["metadata"]["namespace"], test["metadata"]["namespace"]);
    assert!(
        !Value::from(example.clone()).to_string().contains("copied-from"),
        "something was not copied"
    );

    assert_compares(&example, name, "shop");

    let sweep = one(&example, "CronJob", "kymaros-sweep");
    assert_well_behaved(sweep);
    assert_eq!(
        sweep["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["sweep"])
    );
    assert_eq!(image(sweep), image(cron));
}

/// The test of this name lets the runner list what is compared in the namespace, that and nothing else.
fn assert_compares(built: &[Value], test: &str, namespace: &str) {
    let name = format!("{RIGHTS}{test}");
    let here = |kind: &str| {
        let found = of_kind(built, kind)
            .into_iter()
            .find(|object| text(object, "/metadata/name") == name && text(object, "/metadata/namespace") == namespace);
        found
            .unwrap_or_else(|| panic!("no {kind} {name} in {namespace}"))
            .clone()
    };
    let (role, binding) = (here("Role"), here("RoleBinding"));
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        assert_eq!(rule["verbs"], json!(["list"]), "{rule}");
        assert!(rule.get("resourceNames").is_none(), "{rule}");
        for group in rule["apiGroups"].as_array().expect("groups") {
            let resources = rule["resources"].as_array().expect("resources");
            granted.extend(resources.iter().map(|resource| (group.as_str(), resource.as_str())));
        }
    }
    let compared = COMPARED.iter().map(|(group, _, plural)| (Some(*group), Some(*plural)));
    assert_eq!(granted, compared.collect());
    assert_eq!(
        binding["roleRef"],
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name})
    );
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": names::SERVICE_ACCOUNT, "namespace": names::RUNNER_NAMESPACE}])
    );
    for object in [&role, &binding] {
        assert_eq!(object["metadata"]["labels"][label::VELERO_EXCLUDE], "true");
    }
}

fn restore_test(name: &str, schedule: &str) -> String {
    format!(
        "apiVersion: restore.kymaros.io/v1alpha1\nkind: RestoreTest\nmetadata: {{name: {name}, namespace: kymaros-system}}\n\
         spec:\n  backupSource: {{provider: velero, namespaces: [{{name: {name}}}]}}\n  schedule: {schedule}\n"
    )
}

const DRILL: &str = "resources: [test.yaml]\ncomponents: [KUSTOMIZE/components/drill]\n";

#[test]
fn an_overlay_may_hold_several_tests_and_name_the_image_once() {
    let night = restore_test("shop", "{cron: 0 3 * * *, timezone: Europe/Paris}");
    let weekly = restore_test("blog", "{cron: 30 4 * * 0, timezone: UTC}");
    let drill = DRILL.replace("KUSTOMIZE", "../KUSTOMIZE");
    let built = build(&overlay(
        "several",
        &[
            (
                "kustomization.yaml",
                "resources: [KUSTOMIZE/base, shop, blog]\nimages: [{name: kymaros-runner, newName: example/runner, newTag: '7'}]\n",
            ),
            ("shop/kustomization.yaml", &drill),
            ("shop/test.yaml", &night),
            ("blog/kustomization.yaml", &drill),
            ("blog/test.yaml", &weekly),
        ],
    ));
    for (name, schedule, zone) in [("shop", "0 3 * * *", "Europe/Paris"), ("blog", "30 4 * * 0", "UTC")] {
        let cron = one(&built, "CronJob", name);
        assert_eq!(text(cron, "/spec/schedule"), schedule);
        assert_eq!(text(cron, "/spec/timeZone"), zone);
        assert_eq!(environment(cron)["RESTORE_TEST_NAME"]["value"], name);
    }
    assert_eq!(of_kind(&built, "CronJob").len(), 3);
    for cron in of_kind(&built, "CronJob") {
        assert_eq!(image(cron), "example/runner:7");
    }
}

#[test]
fn tests_compare_each_of_their_namespaces_and_may_share_them() {
    let of = |name: &str, namespaces: &str| {
        restore_test(name, "{cron: 0 3 * * *, timezone: UTC}").replace(&format!("[{{name: {name}}}]"), namespaces)
    };
    let components = |which: &[&str]| {
        let lines = which.iter().map(|name| format!("- ../KUSTOMIZE/components/{name}\n"));
        format!("resources: [test.yaml]\ncomponents:\n{}", lines.collect::<String>())
    };
    let compare = "compare-with-source";
    let (second, third, fourth) = (format!("{compare}/2"), format!("{compare}/3"), format!("{compare}/4"));
    let built = build(&overlay(
        "compared",
        &[
            (
                "kustomization.yaml",
                "resources: [KUSTOMIZE/base, nightly, weekly, blog, provider.yaml]\ncomponents: [KUSTOMIZE/components/provider-namespace]\n",
            ),
            (
                "provider.yaml",
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: kymaros-provider, annotations: {config.kubernetes.io/local-config: 'true'}}, data: {namespace: backup-system}}",
            ),
            ("nightly/kustomization.yaml", &components(&["drill", compare])),
            ("nightly/test.yaml", &of("nightly", "[{name: shop}]")),
            (
                "weekly/kustomization.yaml",
                &components(&["drill", compare, &second, &third, &fourth]),
            ),
            (
                "weekly/test.yaml",
                &of(
                    "weekly",
                    "[{name: shop}, {name: db}, {name: cache}, {name: mail}, {name: more}]",
                ),
            ),
            ("blog/kustomization.yaml", &components(&["drill"])),
            ("blog/test.yaml", &of("blog", "[{name: blog}]")),
        ],
    ));
    assert_compares(&built, "nightly", "shop");
    for namespace in ["shop", "db", "cache", "mail"] {
        assert_compares(&built, "weekly", namespace);
    }
    for kind in ["Role", "RoleBinding"] {
        let all = of_kind(&built, kind);
        let ours = all
            .iter()
            .filter(|object| text(object, "/metadata/name").starts_with(RIGHTS));
        assert_eq!(ours.count(), 5, "{kind}");
    }
    assert!(!Value::from(built).to_string().contains("copied-from"));
}

#[test]
fn a_namespace_that_the_test_does_not_have_is_found_when_building() {
    let second = DRILL.replace(
        "[KUSTOMIZE/components/drill]",
        "[KUSTOMIZE/components/compare-with-source/2]",
    );
    let test = restore_test("shop", "{cron: 0 3 * * *, timezone: UTC}");
    let error = refused(&overlay(
        "no-second",
        &[("kustomization.yaml", &second), ("test.yaml", &test)],
    ));
    assert!(error.contains("spec.backupSource.namespaces.1.name"), "{error}");
}

#[test]
fn a_test_without_a_time_zone_or_a_second_test_in_a_directory_is_found_when_building() {
    let without = restore_test("shop", "{cron: 0 3 * * *}");
    let error = refused(&overlay(
        "without-zone",
        &[("kustomization.yaml", DRILL), ("test.yaml", &without)],
    ));
    assert!(error.contains("spec.schedule.timezone"), "{error}");
    let schedule = "{cron: 0 3 * * *, timezone: UTC}";
    let two = format!(
        "{}---\n{}",
        restore_test("shop", schedule),
        restore_test("blog", schedule)
    );
    let error = refused(&overlay(
        "two-tests",
        &[("kustomization.yaml", DRILL), ("test.yaml", &two)],
    ));
    assert!(error.contains("multiple matches"), "{error}");
}

#[test]
fn another_provider_namespace_is_named_once() {
    let provider = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kymaros-provider\n  annotations: {config.kubernetes.io/local-config: 'true'}\n\
                    data: {namespace: backup-system}\n";
    let kustomization = "resources: [KUSTOMIZE/base, provider.yaml]\n\
                         components: [KUSTOMIZE/components/location-ca, KUSTOMIZE/components/provider-namespace]\n";
    let built = build(&overlay(
        "provider",
        &[("kustomization.yaml", kustomization), ("provider.yaml", provider)],
    ));
    for kind in ["Role", "RoleBinding"] {
        for name in ["kymaros-runner-provider", "kymaros-runner-location-ca"] {
            assert_eq!(text(one(&built, kind, name), "/metadata/namespace"), "backup-system");
        }
        assert_eq!(
            text(one(&built, kind, "kymaros-runner"), "/metadata/namespace"),
            names::RUNNER_NAMESPACE
        );
    }
    for policy in ["source-volumes", "drill-writes", "provider-servers"] {
        assert_eq!(
            variable(&built, policy, "veleroServiceAccounts"),
            "['system:serviceaccount:backup-system:velero']"
        );
    }
    for object in &built {
        assert_ne!(text(object, "/metadata/namespace"), "velero", "{object}");
        assert!(!object.to_string().contains(":velero:"), "{object}");
    }
    assert!(of_kind(&built, "ConfigMap").is_empty());
}

#[test]
fn the_components_add_what_they_say() {
    let kustomization = "resources: [KUSTOMIZE/base]\ncomponents:\n- KUSTOMIZE/components/sandbox-exec\n\
                         - KUSTOMIZE/components/sandbox-header-secrets\n- KUSTOMIZE/components/location-ca\n- KUSTOMIZE/components/before-1.36\n";
    let built = build(&overlay("components", &[("kustomization.yaml", kustomization)]));
    for part in ["kymaros-sandbox-exec", "kymaros-sandbox-header-secrets"] {
        one(&built, "ClusterRole", part);
    }
    let secrets = one(&built, "Role", "kymaros-runner-location-ca");
    assert_eq!(
        secrets["rules"],
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["velero-ca"], "verbs": ["get"]}])
    );
    assert!(
        built
            .iter()
            .all(|object| !text(object, "/kind").starts_with("MutatingAdmissionPolicy"))
    );
    assert_eq!(of_kind(&built, "ValidatingAdmissionPolicy").len(), 31);
}

/// What a variable of an admission policy says.
fn variable<'a>(built: &'a [Value], policy: &str, name: &str) -> &'a str {
    let policy = one(
        built,
        "ValidatingAdmissionPolicy",
        &format!("{}{policy}", names::FENCE_PREFIX),
    );
    let variables = policy["spec"]["variables"].as_array().expect("variables");
    let found = variables
        .iter()
        .find(|variable| text(variable, "/name") == name)
        .expect("the variable");
    text(found, "/expression")
}

/// The text of the page is what people copy.
#[test]
fn the_installation_allows_what_the_docs_show() {
    let page = fs::read_to_string(root().join("docs/install.md")).expect("the page");
    let section = page
        .split("## What the installation allows")
        .nth(1)
        .expect("the section");
    let shown = section
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the lines");
    let shown: Value = serde_saphyr::from_str(shown).expect("YAML");
    let example = fs::read_to_string(root().join("kustomize/example/installation.yaml")).expect("the example");
    let mut settings: Value = serde_saphyr::from_str(&example).expect("YAML");
    for (name, value) in shown["data"].as_object().expect("settings") {
        let known = settings["data"].get_mut(name);
        *known.unwrap_or_else(|| panic!("the example has no {name}")) = value.clone();
    }
    let kustomization =
        "resources: [KUSTOMIZE/base, installation.yaml]\ncomponents: [KUSTOMIZE/components/installation]\n";
    let built = build(&overlay(
        "installation",
        &[
            ("kustomization.yaml", kustomization),
            ("installation.yaml", &settings.to_string()),
        ],
    ));
    for (name, value) in settings["data"].as_object().expect("settings") {
        let policies = of_kind(&built, "ValidatingAdmissionPolicy");
        let variables = policies
            .iter()
            .flat_map(|policy| policy["spec"]["variables"].as_array().into_iter().flatten());
        let mut found = 0;
        for variable in variables.filter(|variable| text(variable, "/name") == name) {
            assert_eq!(&variable["expression"], value, "{name}");
            found += 1;
        }
        assert!(found > 0, "{name}");
    }
    assert_eq!(
        variable(&built, "networkpolicies", "egressCidrs"),
        "['198.51.100.7/32', '203.0.113.0/24']"
    );
    assert!(of_kind(&built, "ConfigMap").is_empty());
}
