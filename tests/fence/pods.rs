//! What the runner may start, ask and run inside a sandbox, and which network it may give it.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Verb, case, failures, make, send, with};
use crate::support::scene::Scene;
use crate::support::{apply_file, kubectl_in_cluster, root};

fn probe(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "probe", "namespace": namespace, "labels": {"kymaros.io/probe": "probe"}},
        "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never", "enableServiceLinks": false,
            "activeDeadlineSeconds": 120, "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "probe", "image": "kymaros-runner:0.1.0", "args": ["probe", "listen"],
                "ports": [{"containerPort": 8080}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

/// A probe pod whose one container is changed.
fn probe_with(namespace: &str, change: Value) -> Value {
    let mut pod = probe(namespace);
    let container = with(&pod["spec"]["containers"][0], change);
    pod["spec"]["containers"] = json!([container]);
    pod
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn pods_secrets_and_commands() {
    let scene = Scene::open().await;
    let there =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "there", "namespace": scene.sandbox}});
    let other = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": scene.sandbox}});
    make(&scene.admin, &[there.clone(), other]).await;
    let own = &scene.sandbox;
    let pod = probe(own);
    let refused = |piece| Expect::Refused("pods", piece);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "asked", "namespace": own}});
    let labelled = |args: &[&str], label: &str| {
        let pod = probe_with(own, json!({ "args": args }));
        with(
            &pod,
            json!({"metadata": {"name": label, "labels": {"kymaros.io/probe": label}}}),
        )
    };
    let context = |change: Value| probe_with(own, json!({"securityContext": change}));
    let cases = [
        case("a probe", Verb::Create, pod.clone(), Expect::Accepted),
        case(
            "a pod that is no probe",
            Verb::Create,
            with(&pod, json!({"metadata": {"labels": null}})),
            refused("labelled kymaros.io/probe"),
        ),
        case(
            "a name server",
            Verb::Create,
            labelled(&["dns", "--domain=x"], "kymaros-names"),
            Expect::Accepted,
        ),
        case(
            "a name server under another name",
            Verb::Create,
            labelled(&["dns", "--domain=x"], "probe"),
            refused("runs the probe and nothing else"),
        ),
        case(
            "a probe that may ask the cluster's DNS",
            Verb::Create,
            labelled(&["probe", "listen"], "kymaros-names"),
            refused("runs the probe and nothing else"),
        ),
        case(
            "a probe with a Secret mounted",
            Verb::Create,
            with(
                &pod,
                json!({"spec": {"volumes": [{"name": "s", "secret": {"secretName": "there"}}]}}),
            ),
            refused("without volumes"),
        ),
        case(
            "a probe with a Secret in its environment",
            Verb::Create,
            probe_with(own, json!({"envFrom": [{"secretRef": {"name": "there"}}]})),
            refused("a probe pod has no envFrom"),
        ),
        case(
            "a probe with an environment",
            Verb::Create,
            probe_with(own, json!({"env": [{"name": "A", "value": "b"}]})),
            refused("without volumes or environment"),
        ),
        case(
            "a probe with a hook",
            Verb::Create,
            probe_with(own, json!({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}})),
            refused("a probe pod has no lifecycle"),
        ),
        case(
            "a probe with an init container",
            Verb::Create,
            with(&pod, json!({"spec": {"initContainers": [{"name": "i", "image": "i"}]}})),
            Expect::Held("a probe pod has no initContainers"),
        ),
        case(
            "another command",
            Verb::Create,
            probe_with(own, json!({"command": ["sh"]})),
            refused("a probe pod has no command"),
        ),
        case(
            "another subcommand",
            Verb::Create,
            probe_with(own, json!({"args": ["sweep"]})),
            refused("runs the probe and nothing else"),
        ),
        case(
            "a probe with a token",
            Verb::Create,
            with(&pod, json!({"spec": {"automountServiceAccountToken": true}})),
            refused("a probe pod"),
        ),
        case(
            "a probe with another account",
            Verb::Create,
            with(&pod, json!({"spec": {"serviceAccountName": "other"}})),
            refused("no service account of its own"),
        ),
        case(
            "a probe in the node's network",
            Verb::Create,
            with(&pod, json!({"spec": {"hostNetwork": true}})),
            Expect::Held("host"),
        ),
        case(
            "a privileged probe",
            Verb::Create,
            context(json!({"privileged": true, "allowPrivilegeEscalation": null})),
            Expect::Held("host"),
        ),
        case(
            "a probe as root",
            Verb::Create,
            with(&pod, json!({"spec": {"securityContext": {"runAsNonRoot": false}}})),
            refused("non-root"),
        ),
        case(
            "a probe with a capability",
            Verb::Create,
            context(json!({"capabilities": {"add": ["CHOWN"]}})),
            refused("no capabilities"),
        ),
        case(
            "a probe on a node of its choice",
            Verb::Create,
            with(&pod, json!({"spec": {"nodeName": "node1"}})),
            refused("a probe pod has no nodeName"),
        ),
        // What a stolen token would make of a probe: a command in a health check, somebody's pull secret, another image, a long life.
        case(
            "a probe with a health check",
            Verb::Create,
            probe_with(
                own,
                json!({"livenessProbe": {"exec": {"command": ["/httpd", "get", "http://x"]}}}),
            ),
            refused("a probe pod has no livenessProbe"),
        ),
        case(
            "a probe with a pull secret",
            Verb::Create,
            with(&pod, json!({"spec": {"imagePullSecrets": [{"name": "there"}]}})),
            refused("a probe pod has no pull secrets"),
        ),
        case(
            "a probe of another image",
            Verb::Create,
            probe_with(own, json!({"image": "registry.local/busybox:1"})),
            Expect::Refused(
                "probe-image",
                "may only start its own image, kymaros-runner:0.1.0, not registry.local/busybox:1",
            ),
        ),
        case(
            "a probe that goes on for hours",
            Verb::Create,
            with(&pod, json!({"spec": {"activeDeadlineSeconds": 86400}})),
            refused("for two minutes at most"),
        ),
        case(
            "a probe that starts again",
            Verb::Create,
            with(&pod, json!({"spec": {"restartPolicy": "Always"}})),
            refused("runs once"),
        ),
        case(
            "a probe that takes years to end",
            Verb::Create,
            with(&pod, json!({"spec": {"terminationGracePeriodSeconds": 94_608_000}})),
            refused("ends within 30 seconds"),
        ),
        case(
            "a probe with another seccomp profile for its container",
            Verb::Create,
            context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}})),
            refused("a probe pod is restricted"),
        ),
        case(
            "a probe with sysctls",
            Verb::Create,
            with(
                &pod,
                json!({"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]}}}),
            ),
            refused("a probe pod is restricted"),
        ),
        case(
            "a probe with a host name",
            Verb::Create,
            with(&pod, json!({"spec": {"hostname": "x"}})),
            refused("a probe pod has no hostname"),
        ),
        case(
            "a probe with a finalizer",
            Verb::Create,
            with(
                &pod,
                json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}}),
            ),
            refused("no finalizers or owners"),
        ),
        case(
            "a probe that may write",
            Verb::Create,
            context(json!({"readOnlyRootFilesystem": false})),
            refused("read-only root"),
        ),
        case(
            "a probe in production",
            Verb::Create,
            probe(&scene.production),
            Expect::NoRight,
        ),
        case(
            "whether a Secret exists",
            Verb::Create,
            secret.clone(),
            Expect::Accepted,
        ),
        case(
            "a Secret for good",
            Verb::Make,
            secret.clone(),
            Expect::Refused("secrets", "dry run"),
        ),
        case(
            "a Secret outside",
            Verb::Create,
            with(&secret, json!({"metadata": {"namespace": scene.production}})),
            Expect::NoRight,
        ),
    ];
    let mut failed = failures(&scene.runner, &cases).await;
    let taken = send(&scene.runner, Verb::Create, &there).await.to_string();
    if !taken.contains("already exists") {
        failed.push(format!("a Secret that exists: {taken}"));
    }
    failed.extend(commands(&scene));
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Exec is an opt-in part; what it lets through is asked by the URL, because a connection cannot be a dry run.
fn commands(scene: &Scene) -> Vec<String> {
    let ask = |namespace: &str, what: &str| {
        let url = format!("/api/v1/namespaces/{namespace}/pods/none/{what}");
        kubectl_in_cluster(&["--as", crate::support::RUNNER, "get", "--raw", &url], None)
            .expect_err("there is no such pod")
    };
    let mut failed = Vec::new();
    let mut expect = |about: &str, answer: String, piece: &str| {
        if !answer.contains(piece) {
            failed.push(format!("{about}: expected {piece:?}, got {answer}"));
        }
    };
    // Not `can-i`: another test of this process may have opted in already, but production is never bound.
    expect(
        "a command in production",
        ask(&scene.production, "exec?command=ls&stdout=true"),
        "cannot get resource \"pods/exec\"",
    );
    apply_file(&root().join("kustomize/components/sandbox-exec/clusterrole.yaml"));
    let mut answer = String::new();
    for _ in 0..50 {
        // The aggregated role and the authorizer need a moment.
        answer = ask(&scene.sandbox, "exec?command=ls&stdout=true");
        if !answer.contains("cannot get resource") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    expect("a command", answer, "pods \"none\" not found");
    expect(
        "a terminal",
        ask(&scene.sandbox, "exec?command=sh&stdin=true&tty=true"),
        "interactive terminal",
    );
    expect(
        "a port",
        ask(&scene.sandbox, "portforward?ports=80"),
        "cannot get resource \"pods/portforward\"",
    );
    kubectl_in_cluster(&["delete", "clusterrole", "kymaros-sandbox-exec"], None)
        .expect("the opt-in part is gone again");
    failed
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn network_policies() {
    let scene = Scene::open().await;
    let named = |name: &str, spec: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": scene.sandbox, "labels": {"kymaros.io/managed-by": "kymaros"}},
            "spec": with(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}), spec),
        })
    };
    let policy = |spec: Value| named("kymaros-neighbours", spec);
    let ask = |peers: Value, ports: Value| named("kymaros-dns", json!({"egress": [{"to": peers, "ports": ports}]}));
    let proof = |spec: Value| {
        let open = json!({
            "podSelector": {"matchLabels": {"kymaros.io/probe": "kymaros-probe-open"}}, "policyTypes": ["Egress"], "egress": [{}],
        });
        with(&named("kymaros-proof", json!({})), json!({"spec": with(&open, spec)}))
    };
    let to = |peers: Value, ports: Value| policy(json!({"egress": [{"to": peers, "ports": ports}]}));
    let from = |peers: Value| policy(json!({"ingress": [{"from": peers}]}));
    let in_namespace = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let run = |id: &str| json!([{"namespaceSelector": {"matchLabels": {"kymaros.io/run": id}}}]);
    let dns_pods = json!({"matchLabels": {"k8s-app": "kube-dns"}});
    let dns_ports = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
    let dns = |namespace: &str| json!([{"namespaceSelector": in_namespace(namespace), "podSelector": dns_pods}]);
    let runners = json!([{"namespaceSelector": in_namespace("kymaros-system"), "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kymaros-runner"}}}]);
    let everybody = json!([{"namespaceSelector": {}}]);
    let block = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]);
    let refused = |piece| Expect::Refused("networkpolicies", piece);
    let cases = [
        case("nothing at all", Verb::Create, policy(json!({})), Expect::Accepted),
        case(
            "the same sandbox",
            Verb::Create,
            policy(json!({"ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]})),
            Expect::Accepted,
        ),
        case(
            "from the same run",
            Verb::Create,
            from(run(&scene.run)),
            Expect::Accepted,
        ),
        case(
            "to the same run",
            Verb::Create,
            to(run(&scene.run), json!([])),
            Expect::Accepted,
        ),
        case(
            "the cluster's DNS",
            Verb::Create,
            ask(dns("kube-system"), dns_ports.clone()),
            Expect::Accepted,
        ),
        case(
            "OpenShift's DNS",
            Verb::Create,
            ask(dns("openshift-dns"), json!([{"protocol": "UDP", "port": 5353}])),
            Expect::Accepted,
        ),
        case("from the runner", Verb::Create, from(runners.clone()), Expect::Accepted),
        case(
            "to anybody",
            Verb::Create,
            policy(json!({"egress": [{}]})),
            refused("must name its peers"),
        ),
        case(
            "from anybody",
            Verb::Create,
            policy(json!({"ingress": [{}]})),
            refused("must name its peers"),
        ),
        case(
            "to every namespace",
            Verb::Create,
            to(everybody.clone(), dns_ports.clone()),
            refused("reach only sandboxes of the same run"),
        ),
        case(
            "from every namespace",
            Verb::Create,
            from(everybody),
            refused("admit traffic into a sandbox only from"),
        ),
        case(
            "to another run",
            Verb::Create,
            to(run("zzzzzz"), json!([])),
            refused("reach only sandboxes of the same run"),
        ),
        case(
            "from another run",
            Verb::Create,
            from(run("zzzzzz")),
            refused("admit traffic into a sandbox only from"),
        ),
        case(
            "to the runner",
            Verb::Create,
            to(runners, json!([])),
            refused("reach only sandboxes of the same run"),
        ),
        case(
            "from the namespace of DNS",
            Verb::Create,
            from(dns("kube-system")),
            refused("admit traffic into a sandbox only from"),
        ),
        case(
            "to all of kube-system",
            Verb::Create,
            ask(
                json!([{"namespaceSelector": in_namespace("kube-system")}]),
                dns_ports.clone(),
            ),
            refused("must select pods of the cluster's DNS by one of these labels: k8s-app=kube-dns"),
        ),
        case(
            "every port of DNS",
            Verb::Create,
            ask(dns("kube-system"), json!([])),
            refused("may only open ports of DNS: 53, 5353"),
        ),
        case(
            "the cluster's DNS under another name",
            Verb::Create,
            to(dns("kube-system"), dns_ports.clone()),
            refused("by kymaros-dns, the cluster's DNS"),
        ),
        case(
            "without the label that keeps it",
            Verb::Create,
            with(&policy(json!({})), json!({"metadata": {"labels": null}})),
            refused("must be labelled kymaros.io/managed-by=kymaros"),
        ),
        case(
            "another name",
            Verb::Create,
            named("mine", json!({})),
            refused("makes no NetworkPolicy named mine"),
        ),
        case(
            "nothing denied by the one that denies",
            Verb::Create,
            named("kymaros-deny-all", json!({"egress": [{"to": [{"podSelector": {}}]}]})),
            refused("kymaros-deny-all allows nothing"),
        ),
        case(
            "every pod of kube-system that lacks a label",
            Verb::Create,
            ask(
                json!([{
                    "namespaceSelector": in_namespace("kube-system"),
                    "podSelector": {"matchExpressions": [{"key": "no", "operator": "DoesNotExist"}]},
                }]),
                dns_ports.clone(),
            ),
            refused("must select pods of the cluster's DNS by one of these labels"),
        ),
        case(
            "pods of kube-system by another label",
            Verb::Create,
            ask(
                json!([{"namespaceSelector": in_namespace("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "metrics-server"}}}]),
                dns_ports,
            ),
            refused("must select pods of the cluster's DNS by one of these labels"),
        ),
        case(
            "other ports of DNS",
            Verb::Create,
            ask(dns("kube-system"), json!([{"protocol": "TCP", "port": 9153}])),
            refused("may only open ports of DNS"),
        ),
        case(
            "a port of DNS by name",
            Verb::Create,
            ask(dns("kube-system"), json!([{"protocol": "TCP", "port": "metrics"}])),
            refused("may only open ports of DNS"),
        ),
        case(
            "the probe of the proof",
            Verb::Create,
            proof(json!({})),
            Expect::Accepted,
        ),
        case(
            "everybody instead of that probe",
            Verb::Create,
            proof(json!({"podSelector": {"matchLabels": null}})),
            refused("lets out the probe kymaros-probe-open and nothing else"),
        ),
        case(
            "another probe instead of that one",
            Verb::Create,
            proof(json!({"podSelector": {"matchLabels": {"kymaros.io/probe": "kymaros-names"}}})),
            refused("lets out the probe kymaros-probe-open and nothing else"),
        ),
        case(
            "that probe in both directions",
            Verb::Create,
            proof(json!({"policyTypes": ["Ingress", "Egress"], "ingress": [{}]})),
            refused("lets out the probe kymaros-probe-open and nothing else"),
        ),
        case(
            "to addresses",
            Verb::Create,
            to(block.clone(), json!([])),
            refused("does not name 10.0.0.0/8"),
        ),
        case(
            "from addresses",
            Verb::Create,
            from(block),
            refused("does not name 10.0.0.0/8"),
        ),
        case(
            "in production",
            Verb::Create,
            with(&policy(json!({})), json!({"metadata": {"namespace": scene.production}})),
            Expect::NoRight,
        ),
    ];
    let failed = failures(&scene.runner, &cases).await;
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
