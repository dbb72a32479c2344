//! What becomes of restored objects in a sandbox: made inert where that is possible, refused where it is not, whoever writes
//! them. The provider is asked here, for it is who will.
//!
//! An expression of a mutating policy is only found wrong when it runs, so there is one object of each kind here.

use serde_json::{Value, json};

use crate::support::cases::{Expect, Outcome, Verb, case, failures, make, send, with};
use crate::support::scene::Scene;

/// An object that is written, and what has to stand in what is stored: JSON pointers, null for "not there".
pub(crate) struct Change {
    pub(crate) about: &'static str,
    pub(crate) verb: Verb,
    pub(crate) object: Value,
    pub(crate) stored: Value,
}

pub(crate) async fn differences(scene: &Scene, changes: &[Change]) -> Vec<String> {
    let mut found = Vec::new();
    for change in changes {
        match send(&scene.provider, change.verb, &change.object).await {
            Outcome::Accepted(stored) => {
                for (pointer, expected) in change.stored.as_object().expect("pointers") {
                    let actual = stored.pointer(pointer).unwrap_or(&Value::Null);
                    if actual != expected {
                        found.push(format!("{}: {pointer} is {actual}, not {expected}", change.about));
                    }
                }
            }
            outcome => found.push(format!("{}: {outcome}", change.about)),
        }
    }
    found
}

pub(crate) fn object(scene: &Scene, api_version: &str, kind: &str, body: Value) -> Value {
    let bare = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "restored", "namespace": scene.sandbox},
    });
    with(&bare, body)
}

pub(crate) fn pod_spec() -> Value {
    json!({"containers": [{"name": "c", "image": "shop", "ports": [{"name": "web", "containerPort": 80}]}]})
}

pub(crate) fn pod(scene: &Scene, spec: Value) -> Value {
    object(scene, "v1", "Pod", json!({"spec": with(&pod_spec(), spec)}))
}

#[tokio::test]
#[ignore = "needs a cluster (installs the base, makes and deletes namespaces)"]
async fn made_inert() {
    let scene = Scene::open().await;
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "fence-production"}, "value": 1000,
    });
    make(&scene.admin, std::slice::from_ref(&class)).await;
    let mut changes = services(&scene);
    changes.extend(workloads(&scene));
    changes.extend(metadata(&scene));
    let mut failed = differences(&scene, &changes).await;
    failed.extend(changed_later(&scene).await);
    failed.extend(
        failures(
            &scene.admin,
            &[case("cleaning up", Verb::Remove, class, Expect::Accepted)],
        )
        .await,
    );
    scene.close().await;
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn services(scene: &Scene) -> Vec<Change> {
    let service = |spec: Value| {
        object(
            scene,
            "v1",
            "Service",
            json!({"spec": with(&json!({"selector": {"app": "web"}}), spec)}),
        )
    };
    let balancer = with(
        &service(json!({
            "type": "LoadBalancer", "loadBalancerIP": "192.0.2.1", "loadBalancerClass": "example.com/lb",
            "loadBalancerSourceRanges": ["192.0.2.0/24"], "externalIPs": ["192.0.2.2"],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 32100, "allocateLoadBalancerNodePorts": true,
            "ports": [{"name": "a", "port": 80, "nodePort": 32101}, {"name": "b", "port": 81}, {"name": "c", "port": 82, "nodePort": 32102}],
        })),
        json!({"metadata": {
            "annotations": {"load-balancer.example.com/name": "shop", "external-dns.alpha.kubernetes.io/hostname": "shop.example.com"},
            "finalizers": ["service.kubernetes.io/load-balancer-cleanup"],
            "labels": {"app": "web", "argocd.argoproj.io/instance": "shop"},
        }}),
    );
    vec![
        Change {
            about: "a load balancer with everything fixed",
            verb: Verb::Create,
            object: balancer,
            stored: json!({
                "/spec/type": "ClusterIP", "/spec/loadBalancerIP": null, "/spec/loadBalancerClass": null,
                "/spec/loadBalancerSourceRanges": null, "/spec/externalIPs": null, "/spec/externalTrafficPolicy": null,
                "/spec/healthCheckNodePort": null, "/spec/allocateLoadBalancerNodePorts": null,
                "/spec/ports/0/nodePort": null, "/spec/ports/0/port": 80, "/spec/ports/1/port": 81, "/spec/ports/2/nodePort": null,
                "/spec/ports/2/name": "c", "/metadata/annotations": null, "/metadata/finalizers": null,
                "/metadata/labels": {"app": "web"}, "/spec/selector": {"app": "web"},
            }),
        },
        Change {
            about: "a node port",
            verb: Verb::Create,
            object: service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 32103}]})),
            stored: json!({"/spec/type": "ClusterIP", "/spec/ports/0/nodePort": null, "/spec/ports/0/port": 80}),
        },
        Change {
            about: "a plain Service",
            verb: Verb::Create,
            object: service(json!({"ports": [{"port": 80, "targetPort": "web"}]})),
            stored: json!({"/spec/type": "ClusterIP", "/spec/ports/0/targetPort": "web"}),
        },
        Change {
            about: "a headless Service with a published name",
            verb: Verb::Create,
            object: with(
                &service(json!({"clusterIP": "None", "ports": [{"port": 80}]})),
                json!({"metadata": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "db.example.com"}}}),
            ),
            stored: json!({"/spec/clusterIP": "None", "/metadata/annotations": null}),
        },
        Change {
            about: "an external name",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "Service",
                json!({"spec": {"type": "ExternalName", "externalName": "db.example.com"}}),
            ),
            stored: json!({"/spec/type": "ExternalName", "/spec/externalName": "db.example.com"}),
        },
        Change {
            about: "an Ingress",
            verb: Verb::Create,
            object: object(
                scene,
                "networking.k8s.io/v1",
                "Ingress",
                json!({
                    "metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx", "cert-manager.io/cluster-issuer": "le"}},
                    "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
                }),
            ),
            stored: json!({
                "/spec/ingressClassName": "kymaros-none", "/metadata/annotations": null,
                "/spec/defaultBackend/service/name": "web",
            }),
        },
        Change {
            about: "an Ingress with a class",
            verb: Verb::Create,
            object: object(
                scene,
                "networking.k8s.io/v1",
                "Ingress",
                json!({
                    "spec": {"ingressClassName": "nginx", "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
                }),
            ),
            stored: json!({"/spec/ingressClassName": "kymaros-none"}),
        },
        Change {
            about: "a NetworkPolicy",
            verb: Verb::Create,
            object: object(
                scene,
                "networking.k8s.io/v1",
                "NetworkPolicy",
                json!({
                    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}], "egress": [{}], "policyTypes": ["Egress"]},
                }),
            ),
            stored: json!({
                "/spec/ingress": null, "/spec/egress": null, "/spec/policyTypes": ["Ingress", "Egress"],
                "/spec/podSelector/matchLabels/app": "web",
            }),
        },
    ]
}

fn workloads(scene: &Scene) -> Vec<Change> {
    let job = json!({"template": {"spec": with(&pod_spec(), json!({"restartPolicy": "Never"}))}});
    let ports = json!([{"name": "web", "containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"}, {"containerPort": 53, "protocol": "UDP"}]);
    let host_ports = json!({
        "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i", "ports": ports}],
        "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always", "ports": ports}],
    });
    let drill = json!({
        "/spec/priorityClassName": "kymaros-drill", "/spec/priority": -10, "/spec/preemptionPolicy": "Never",
        "/spec/containers/0/ports/0/containerPort": 80,
    });
    vec![
        Change {
            about: "a CronJob",
            verb: Verb::Create,
            object: object(
                scene,
                "batch/v1",
                "CronJob",
                json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}}),
            ),
            stored: json!({"/spec/suspend": true, "/spec/schedule": "* * * * *"}),
        },
        Change {
            about: "a Job",
            verb: Verb::Create,
            object: object(scene, "batch/v1", "Job", json!({"spec": job})),
            stored: json!({"/spec/suspend": true}),
        },
        Change {
            about: "a pod",
            verb: Verb::Create,
            object: pod(scene, json!({})),
            stored: drill.clone(),
        },
        Change {
            about: "a pod of a production class",
            verb: Verb::Create,
            object: pod(scene, json!({"priorityClassName": "fence-production"})),
            stored: drill,
        },
        Change {
            about: "a pod with ports of its node",
            verb: Verb::Create,
            object: object(scene, "v1", "Pod", json!({"spec": host_ports})),
            stored: json!({
                "/spec/containers/0/ports": null,
                "/spec/containers/1/ports": [{"name": "web", "containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}],
                "/spec/initContainers/0/ports/0": {"name": "web", "containerPort": 80, "protocol": "TCP"},
            }),
        },
        Change {
            about: "a pod with a second network, a published name and metrics for production's monitoring",
            verb: Verb::Create,
            object: with(
                &pod(scene, json!({})),
                json!({"metadata": {"annotations": {
                    "k8s.v1.cni.cncf.io/networks": "prod/vlan", "dns.alpha.kubernetes.io/external": "shop.example.com",
                    "prometheus.io/scrape": "true", "ad.datadoghq.com/c.checks": "{}", "k8s.grafana.com/scrape": "true", "app": "web",
                }}}),
            ),
            stored: json!({"/metadata/annotations": {"app": "web"}}),
        },
    ]
}

fn metadata(scene: &Scene) -> Vec<Change> {
    let tracked = json!({
        "labels": {"app": "web", "argocd.argoproj.io/instance": "shop", "kustomize.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/name": "shop"},
        "annotations": {"note": "x", "argocd.argoproj.io/tracking-id": "shop:/ConfigMap:shop/x", "kustomize.toolkit.fluxcd.io/checksum": "1", "helm.toolkit.fluxcd.io/x": "1"},
        "finalizers": ["example.com/stay"],
    });
    let clean = json!({"/metadata/labels": {"app": "web"}, "/metadata/annotations": {"note": "x"}, "/metadata/finalizers": null});
    let owned = json!({"labels": {"pod-template-hash": "1", "argocd.argoproj.io/instance": "shop"}, "annotations": {"argocd.argoproj.io/tracking-id": "x"}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    vec![
        Change {
            about: "a tracked ConfigMap",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "ConfigMap",
                json!({"metadata": tracked, "data": {"a": "b"}}),
            ),
            stored: clean.clone(),
        },
        Change {
            about: "a tracked custom resource",
            verb: Verb::Create,
            object: object(
                scene,
                "fence.example.com/v1",
                "Widget",
                json!({"metadata": tracked, "spec": {"a": "b"}}),
            ),
            stored: clean,
        },
        Change {
            about: "a custom resource without any metadata of interest",
            verb: Verb::Create,
            object: object(scene, "fence.example.com/v1", "Widget", json!({})),
            stored: json!({"/metadata/name": "restored"}),
        },
        Change {
            about: "a pod of a controller keeps the label that may select it",
            verb: Verb::Create,
            object: with(&pod(scene, json!({})), json!({"metadata": owned})),
            stored: json!({"/metadata/labels": {"pod-template-hash": "1", "argocd.argoproj.io/instance": "shop"}, "/metadata/annotations": null}),
        },
        Change {
            about: "a dashboard",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "ConfigMap",
                json!({"metadata": {"labels": {"grafana_dashboard": "1", "grafana_datasource": "1", "app": "web"}}}),
            ),
            stored: json!({"/metadata/labels": {"app": "web"}}),
        },
        Change {
            about: "a Secret that is copied to other namespaces",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "Secret",
                json!({"metadata": {"annotations": {"replicator.v1.mittwald.de/replicate-to": ".*", "note": "x"}}}),
            ),
            stored: json!({"/metadata/annotations": {"note": "x"}}),
        },
        Change {
            about: "a claim keeps the finalizer that Kubernetes serves",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "PersistentVolumeClaim",
                json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection", "example.com/stay"]}, "spec": claim}),
            ),
            stored: json!({"/metadata/finalizers": ["kubernetes.io/pvc-protection"]}),
        },
        Change {
            about: "a ServiceAccount with identities in three clouds",
            verb: Verb::Create,
            object: object(
                scene,
                "v1",
                "ServiceAccount",
                json!({"metadata": {
                    "annotations": {"eks.amazonaws.com/role-arn": "a", "iam.gke.io/gcp-service-account": "b", "azure.workload.identity/client-id": "c", "note": "x"},
                    "labels": {"azure.workload.identity/use": "true", "app": "web"},
                }}),
            ),
            stored: json!({"/metadata/annotations": {"note": "x"}, "/metadata/labels": {"app": "web"}}),
        },
    ]
}

/// What is inert stays so, whatever somebody writes into it afterwards.
async fn changed_later(scene: &Scene) -> Vec<String> {
    let template = json!({"spec": {"template": {"spec": with(&pod_spec(), json!({"restartPolicy": "Never"}))}}});
    let service = object(
        scene,
        "v1",
        "Service",
        json!({"metadata": {"name": "later"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}),
    );
    let cron = object(
        scene,
        "batch/v1",
        "CronJob",
        json!({"metadata": {"name": "later"}, "spec": {"schedule": "* * * * *", "jobTemplate": template}}),
    );
    let job = object(
        scene,
        "batch/v1",
        "Job",
        with(&template, json!({"metadata": {"name": "later"}})),
    );
    let ingress = object(
        scene,
        "networking.k8s.io/v1",
        "Ingress",
        json!({"metadata": {"name": "later"}, "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
    );
    let account = object(scene, "v1", "ServiceAccount", json!({"metadata": {"name": "later"}}));
    make(&scene.provider, &[service, cron, job, ingress, account]).await;
    let later = |api_version: &str, kind: &str, patch: Value| {
        object(
            scene,
            api_version,
            kind,
            with(&json!({"metadata": {"name": "later"}}), patch),
        )
    };
    let changes = [
        Change {
            about: "a Service, exposed later",
            verb: Verb::Patch,
            object: later(
                "v1",
                "Service",
                json!({"spec": {"type": "NodePort"}, "metadata": {"annotations": {"tailscale.com/expose": "true"}}}),
            ),
            stored: json!({"/spec/type": "ClusterIP", "/metadata/annotations": null}),
        },
        Change {
            about: "a CronJob, resumed later",
            verb: Verb::Patch,
            object: later("batch/v1", "CronJob", json!({"spec": {"suspend": false}})),
            stored: json!({"/spec/suspend": true}),
        },
        Change {
            about: "a Job, resumed later",
            verb: Verb::Patch,
            object: later("batch/v1", "Job", json!({"spec": {"suspend": false}})),
            stored: json!({"/spec/suspend": true}),
        },
        Change {
            about: "an Ingress, served later",
            verb: Verb::Patch,
            object: later(
                "networking.k8s.io/v1",
                "Ingress",
                json!({"spec": {"ingressClassName": "nginx"}}),
            ),
            stored: json!({"/spec/ingressClassName": "kymaros-none"}),
        },
        Change {
            about: "a ServiceAccount, made somebody later",
            verb: Verb::Patch,
            object: later(
                "v1",
                "ServiceAccount",
                json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "a"}}}),
            ),
            stored: json!({"/metadata/annotations": null}),
        },
    ];
    differences(scene, &changes).await
}
