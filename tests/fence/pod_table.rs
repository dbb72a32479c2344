//! The pods of `pod_fields`, as changes of one that is accepted.

use serde_json::Value;

/// A change, written as JSON.
pub(crate) fn objects(text: &str) -> Value {
    if text.is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    serde_json::from_str(text).expect(text)
}

const PODS_POLICY: &str = "sandbox-pods";

/// Type and field, who refuses it, whether an installation may loosen it, and the change of the pod.
pub(crate) const PODS: &[(&str, &str, bool, &str)] = &[
    (
        "PodSpec hostNetwork",
        PODS_POLICY,
        false,
        r#"{"spec": {"hostNetwork": true}}"#,
    ),
    ("PodSpec hostPID", PODS_POLICY, false, r#"{"spec": {"hostPID": true}}"#),
    ("PodSpec hostIPC", PODS_POLICY, false, r#"{"spec": {"hostIPC": true}}"#),
    (
        "ObjectMeta labels",
        PODS_POLICY,
        false,
        r#"{"metadata": {"labels": {"kymaros.io/probe": "kymaros-names"}}}"#,
    ),
    (
        "ObjectMeta labels",
        PODS_POLICY,
        false,
        r#"{"metadata": {"labels": {"kymaros.io/x": ""}}}"#,
    ),
    (
        "SeccompProfile type",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}"#,
    ),
    (
        "AppArmorProfile type",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}}"#,
    ),
    (
        "AppArmorProfile type",
        PODS_POLICY,
        true,
        r#"{"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}}"#,
    ),
    (
        "SELinuxOptions type",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}}"#,
    ),
    (
        "SELinuxOptions user",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"seLinuxOptions": {"user": "system_u"}}}}"#,
    ),
    (
        "SELinuxOptions role",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"seLinuxOptions": {"role": "system_r"}}}}"#,
    ),
    (
        "Sysctl name",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}}}"#,
    ),
    (
        "Sysctl name",
        PODS_POLICY,
        true,
        r#"{"spec": {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]}}}"#,
    ),
    (
        "WindowsSecurityContextOptions gmsaCredentialSpecName",
        PODS_POLICY,
        false,
        r#"{"spec": {"securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "production"}}}}"#,
    ),
    (
        "WindowsSecurityContextOptions gmsaCredentialSpec",
        PODS_POLICY,
        false,
        r#"{"spec": {"securityContext": {"windowsOptions": {"gmsaCredentialSpec": "production"}}}}"#,
    ),
    // The API server lets a process of the node's in only with the node's network.
    (
        "WindowsSecurityContextOptions hostProcess",
        PODS_POLICY,
        false,
        r#"{"spec": {"hostNetwork": true, "securityContext": {"windowsOptions": {"hostProcess": true}}}}"#,
    ),
];

/// Type and field, who refuses it, whether an installation may loosen it, the change of a container, and what the pod around it
/// has to be for the API server.
pub(crate) const CONTAINERS: &[(&str, &str, bool, &str, &str)] = &[
    (
        "SecurityContext privileged",
        PODS_POLICY,
        false,
        r#"{"securityContext": {"privileged": true}}"#,
        "",
    ),
    (
        "SecurityContext procMount",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"procMount": "Unmasked"}}"#,
        r#"{"spec": {"hostUsers": false}}"#,
    ),
    (
        "SeccompProfile type",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"seccompProfile": {"type": "Unconfined"}}}"#,
        "",
    ),
    (
        "AppArmorProfile type",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}"#,
        "",
    ),
    (
        "SELinuxOptions type",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}"#,
        "",
    ),
    (
        "SELinuxOptions user",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"seLinuxOptions": {"user": "system_u"}}}"#,
        "",
    ),
    (
        "SELinuxOptions role",
        PODS_POLICY,
        true,
        r#"{"securityContext": {"seLinuxOptions": {"role": "system_r"}}}"#,
        "",
    ),
    (
        "WindowsSecurityContextOptions gmsaCredentialSpecName",
        PODS_POLICY,
        false,
        r#"{"securityContext": {"windowsOptions": {"gmsaCredentialSpecName": "production"}}}"#,
        "",
    ),
    (
        "WindowsSecurityContextOptions gmsaCredentialSpec",
        PODS_POLICY,
        false,
        r#"{"securityContext": {"windowsOptions": {"gmsaCredentialSpec": "production"}}}"#,
        "",
    ),
    (
        "HTTPGetAction host",
        PODS_POLICY,
        false,
        r#"{"readinessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}}"#,
        "",
    ),
    (
        "HTTPGetAction host",
        PODS_POLICY,
        false,
        r#"{"livenessProbe": {"httpGet": {"host": "127.0.0.1", "port": 80}}}"#,
        "",
    ),
    (
        "HTTPGetAction host",
        PODS_POLICY,
        false,
        r#"{"startupProbe": {"httpGet": {"host": "web.shop", "port": "http"}}}"#,
        "",
    ),
    (
        "HTTPGetAction host",
        PODS_POLICY,
        false,
        r#"{"lifecycle": {"postStart": {"httpGet": {"host": "10.0.0.1", "port": 80}}}}"#,
        "",
    ),
    (
        "HTTPGetAction host",
        PODS_POLICY,
        false,
        r#"{"lifecycle": {"preStop": {"httpGet": {"host": "10.0.0.1", "port": 80}}}}"#,
        "",
    ),
    (
        "TCPSocketAction host",
        PODS_POLICY,
        false,
        r#"{"readinessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}"#,
        "",
    ),
    (
        "TCPSocketAction host",
        PODS_POLICY,
        false,
        r#"{"livenessProbe": {"tcpSocket": {"host": "::1", "port": 80}}}"#,
        "",
    ),
    (
        "TCPSocketAction host",
        PODS_POLICY,
        false,
        r#"{"startupProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}"#,
        "",
    ),
    (
        "TCPSocketAction host",
        PODS_POLICY,
        false,
        r#"{"lifecycle": {"postStart": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}}"#,
        "",
    ),
    (
        "TCPSocketAction host",
        PODS_POLICY,
        false,
        r#"{"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}}"#,
        "",
    ),
];

/// Volumes that the node would mount, each with what the API server asks of it.
pub(crate) const VOLUMES: &[(&str, &str)] = &[
    ("hostPath", r#"{"hostPath": {"path": "/"}}"#),
    ("csi", r#"{"csi": {"driver": "fence.example.com"}}"#),
    ("awsElasticBlockStore", r#"{"awsElasticBlockStore": {"volumeID": "v"}}"#),
    (
        "azureDisk",
        r#"{"azureDisk": {"diskName": "d", "diskURI": "https://blob/d.vhd"}}"#,
    ),
    ("azureFile", r#"{"azureFile": {"secretName": "s", "shareName": "s"}}"#),
    ("cephfs", r#"{"cephfs": {"monitors": ["10.0.0.1"]}}"#),
    ("cinder", r#"{"cinder": {"volumeID": "v"}}"#),
    ("fc", r#"{"fc": {"targetWWNs": ["w"], "lun": 0}}"#),
    ("flexVolume", r#"{"flexVolume": {"driver": "a/b"}}"#),
    ("flocker", r#"{"flocker": {"datasetName": "d"}}"#),
    ("gcePersistentDisk", r#"{"gcePersistentDisk": {"pdName": "d"}}"#),
    ("gitRepo", r#"{"gitRepo": {"repository": "https://git"}}"#),
    ("glusterfs", r#"{"glusterfs": {"endpoints": "e", "path": "p"}}"#),
    (
        "iscsi",
        r#"{"iscsi": {"targetPortal": "10.0.0.1", "iqn": "iqn.2026-01.com.example:storage", "lun": 0}}"#,
    ),
    ("nfs", r#"{"nfs": {"server": "10.0.0.1", "path": "/"}}"#),
    ("photonPersistentDisk", r#"{"photonPersistentDisk": {"pdID": "p"}}"#),
    ("portworxVolume", r#"{"portworxVolume": {"volumeID": "v"}}"#),
    ("quobyte", r#"{"quobyte": {"registry": "r:1", "volume": "v"}}"#),
    ("rbd", r#"{"rbd": {"monitors": ["10.0.0.1"], "image": "i"}}"#),
    (
        "scaleIO",
        r#"{"scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}}}"#,
    ),
    (
        "storageos",
        r#"{"storageos": {"volumeName": "v", "volumeNamespace": "shop"}}"#,
    ),
    ("vsphereVolume", r#"{"vsphereVolume": {"volumePath": "p"}}"#),
];

/// Every capability of Linux that is not on the list of Pod Security's baseline, and other ways to write one.
pub(crate) fn capabilities() -> impl Iterator<Item = &'static str> {
    "ALL AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND BPF CHECKPOINT_RESTORE DAC_READ_SEARCH IPC_OWNER LEASE LINUX_IMMUTABLE \
     MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST NET_RAW PERFMON SYSLOG SYS_ADMIN SYS_BOOT SYS_MODULE SYS_NICE SYS_PACCT \
     SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM CAP_SYS_ADMIN sys_admin all CAP_NET_RAW"
        .split(' ')
}
