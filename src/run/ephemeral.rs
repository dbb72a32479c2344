//! Claims of generic ephemeral volumes. The provider restores them without their owner, and a pod does not use a claim of that name
//! which it does not own: it would wait for ever. What is in such a volume is nobody's data, so the claim is taken away and the pod
//! gets its own, as when it is made.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::cluster::Cluster;
use crate::facts::{KindFacts, NotTested, SandboxFacts};
use crate::observe::{EphemeralClaim, Startup};

/// Takes away the claims that keep pods from making their own; `done` are those that were looked at before.
pub(super) async fn free(
    cluster: &Cluster,
    sandboxes: &[SandboxFacts],
    startup: &Startup,
    done: &mut BTreeSet<EphemeralClaim>,
) {
    for claim in startup.ephemeral_claims(true) {
        if done.contains(&claim) {
            continue;
        }
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.source == claim.source) else {
            continue;
        };
        let claims = cluster.namespaced::<PersistentVolumeClaim>(&sandbox.name);
        let Ok(Some(found)) = claims.get_opt(&claim.claim).await else {
            continue;
        };
        let mut owners = found.metadata.owner_references.iter().flatten();
        if !owners.any(|owner| owner.uid == claim.pod_uid) {
            let uid = found.metadata.uid.as_deref().unwrap_or_default();
            if let Err(error) = claims.delete(&claim.claim, uid).await {
                tracing::warn!(%error, "the claim of an ephemeral volume could not be taken away");
                continue;
            }
            tracing::info!(
                claim = claim.claim,
                "the pod of an ephemeral volume makes its claim anew"
            );
        }
        done.insert(claim);
    }
}

/// Claims of ephemeral volumes are neither expected nor missed.
pub(super) fn leave_out(startup: &Startup, expected: &mut [KindFacts]) {
    let ephemeral: BTreeSet<(String, String)> = startup
        .ephemeral_claims(false)
        .into_iter()
        .map(|claim| (claim.source, claim.claim))
        .collect();
    let claims = expected
        .iter_mut()
        .filter(|kind| kind.group.is_empty() && kind.kind == "PersistentVolumeClaim");
    for kind in claims {
        let source = kind.source.clone();
        let (own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut kind.expected)
            .into_iter()
            .partition(|name| ephemeral.contains(&(source.clone(), name.clone())));
        kind.expected = rest;
        kind.not_tested.extend(own.into_iter().map(|name| NotTested {
            name,
            reason: "ephemeral: its pod makes it anew, so it holds nobody's data".to_owned(),
        }));
    }
}
