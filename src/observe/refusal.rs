//! Why the API server let no pod be made, and whose fault that is.
//!
//! Such a refusal leaves no pod to look at: it stands in an Event of the workload or in its `ReplicaFailure` condition.
//!
//! | words | fault | certain | because |
//! |---|---|---|---|
//! | a policy of ours | fence | yes | held on purpose |
//! | `violates PodSecurity`, of what gets at the node | fence | yes | our policies let none in either |
//! | `violates PodSecurity`, of anything else | Pod Security | yes | the level of a sandbox never changes |
//! | `exceeded quota`, `failed quota` | sandbox | yes | restored pods keep running, so no room comes back |
//! | service account not found | backup | yes | what the provider did not restore by now does not come |
//! | any other refusal by admission, an invalid pod | backup | yes | the same template is refused the same way |
//! | the namespace is being deleted | sandbox | no | the run has a bigger problem, and finds it by itself |
//! | a webhook or the API server that cannot be reached | backup | no | it may come back |

use super::text;
use crate::facts::Fault;
use crate::names;

/// A refused pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    /// The words that matter.
    pub(super) text: String,
    /// Whose fault it is.
    pub(super) fault: Fault,
    /// Trying again cannot help.
    pub(super) certain: bool,
}

/// Reads the words of a refusal, `Error creating: pods "web-" is forbidden: …` or the like.
pub(super) fn read(message: &str) -> Refusal {
    let has = |words: &str| message.contains(words);
    let refused = |fault, marks: &[&str]| Refusal {
        text: text::clip(text::behind(message, marks)),
        fault,
        certain: true,
    };
    let passing = |fault| Refusal {
        text: text::clip(message),
        fault,
        certain: false,
    };
    if names::refusing_policy(message).is_some() {
        return refused(Fault::Fence, &["denied request: "]);
    }
    if has("because it is being terminated") {
        return passing(Fault::Sandbox);
    }
    if has("violates PodSecurity") {
        if names::HOST_ACCESS.iter().any(|words| has(words)) {
            return refused(Fault::Fence, &[" is forbidden: "]);
        }
        return refused(Fault::PodSecurity, &[" is forbidden: "]);
    }
    if has("exceeded quota: ") || has("failed quota: ") {
        return refused(Fault::Sandbox, &[" is forbidden: "]);
    }
    if has("failed calling webhook") || has("failed to call webhook") {
        return passing(Fault::Backup);
    }
    let by_admission = has("denied the request") || has("denied request") || has(" is forbidden: ");
    let missing_account = has("error looking up service account") && has("not found");
    if missing_account || has(" is invalid: ") || (by_admission && !has("error looking up service account")) {
        return refused(
            Fault::Backup,
            &[" is forbidden: ", " is invalid: ", "service account: "],
        );
    }
    passing(Fault::Backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read() {
        let table = [
            (
                "Error creating: pods \"web-7d-x\" is forbidden: exceeded quota: kymaros-quota, requested: requests.memory=4Gi, used: requests.memory=3Gi, limited: requests.memory=4Gi",
                "exceeded quota: kymaros-quota, requested: requests.memory=4Gi, used: requests.memory=3Gi, limited: requests.memory=4Gi",
                Fault::Sandbox,
                true,
            ),
            (
                "Error creating: pods \"a\" is forbidden: failed quota: kymaros-quota: must specify requests.cpu for: main",
                "failed quota: kymaros-quota: must specify requests.cpu for: main",
                Fault::Sandbox,
                true,
            ),
            (
                "create Claim data-db-0 for Pod db-0 in StatefulSet db failed error: persistentvolumeclaims \"data-db-0\" is forbidden: exceeded quota: kymaros-classes, requested: nfs.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "exceeded quota: kymaros-classes, requested: nfs.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                Fault::Sandbox,
                true,
            ),
            (
                "Error creating: pods \"agent-\" is forbidden: ValidatingAdmissionPolicy 'kymaros-fence-sandbox-objects' with binding 'kymaros-fence-sandbox-objects' denied request: a pod in a kymaros sandbox may not use host namespaces",
                "a pod in a kymaros sandbox may not use host namespaces",
                Fault::Fence,
                true,
            ),
            (
                "Error creating: pods \"agent-\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)",
                "violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)",
                Fault::Fence,
                true,
            ),
            (
                "Error creating: pods \"vpn-\" is forbidden: violates PodSecurity \"baseline:latest\": non-default capabilities (container \"m\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
                "violates PodSecurity \"baseline:latest\": non-default capabilities (container \"m\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
                Fault::Fence,
                true,
            ),
            (
                "Error creating: pods \"a-\" is forbidden: violates PodSecurity \"baseline:latest\": seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
                "violates PodSecurity \"baseline:latest\": seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
                Fault::PodSecurity,
                true,
            ),
            (
                "Error creating: pods \"a-\" is forbidden: error looking up service account sb/app: serviceaccount \"app\" not found",
                "error looking up service account sb/app: serviceaccount \"app\" not found",
                Fault::Backup,
                true,
            ),
            (
                "Error creating: admission webhook \"validate.kyverno.svc\" denied the request: label team is required",
                "Error creating: admission webhook \"validate.kyverno.svc\" denied the request: label team is required",
                Fault::Backup,
                true,
            ),
            (
                "Error creating: Internal error occurred: failed calling webhook \"inject.example.com\": connection refused",
                "Error creating: Internal error occurred: failed calling webhook \"inject.example.com\": connection refused",
                Fault::Backup,
                false,
            ),
            (
                "Error creating: pods \"a\" is forbidden: unable to create new content in namespace sb because it is being terminated",
                "Error creating: pods \"a\" is forbidden: unable to create new content in namespace sb because it is being terminated",
                Fault::Sandbox,
                false,
            ),
            (
                "Error creating: Pod \"a\" is invalid: spec.containers[0].image: Required value",
                "spec.containers[0].image: Required value",
                Fault::Backup,
                true,
            ),
            (
                "Error creating: Timeout: request did not complete within requested timeout",
                "Error creating: Timeout: request did not complete within requested timeout",
                Fault::Backup,
                false,
            ),
        ];
        for (message, text, fault, certain) in table {
            let refusal = read(message);
            assert_eq!(
                (refusal.text.as_str(), refusal.fault, refusal.certain),
                (text, fault, certain),
                "{message}"
            );
        }
    }

    #[test]
    fn an_object_cannot_pose_as_the_fence() {
        let refusal = read("Error creating: pods \"kymaros-fence-x\" is forbidden: exceeded quota: mine");
        assert_eq!(refusal.fault, Fault::Sandbox);
        let foreign = read("pods \"a\" is forbidden: ValidatingAdmissionPolicy 'other' denied request: no");
        assert_eq!(foreign.fault, Fault::Backup);
    }
}
