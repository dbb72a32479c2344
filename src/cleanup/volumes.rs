//! Which `PersistentVolumes` were made for a sandbox, and whether the storage behind them may go. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::Value;

/// The reclaim policy under which a volume's storage goes with its claim.
pub(super) const DELETE: &str = "Delete";
/// Fields of a volume's spec that say nothing about where its storage is. What remains is the kind of storage.
const NOT_STORAGE: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// The one under which it stays.
pub(super) const RETAIN: &str = "Retain";

/// What becomes of a volume that is claimed from a sandbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// Goes with its claim.
    GoesWithClaim,
    /// Its storage would stay; it was made for the sandbox alone, so it may go: to be patched before its claim goes.
    MakeDeletable,
    /// Its storage would go, but it is not the sandbox's alone: to be patched before its claim goes.
    Protect(&'static str),
    /// Stays, and why.
    Stays(&'static str),
}

/// The volumes of a cluster as far as clean-up has to know them. Of all the others only the place of their storage is kept.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// Those claimed from the run's sandboxes.
    pub own: Vec<PersistentVolume>,
    /// Where the storage of all others is.
    pub foreign: BTreeSet<String>,
}

impl Volumes {
    /// Takes note of one volume.
    pub(super) fn see(&mut self, volume: PersistentVolume, sandboxes: &BTreeSet<&str>) {
        if claimant(&volume).is_some_and(|namespace| sandboxes.contains(namespace)) {
            self.own.push(volume);
        } else {
            self.foreign.extend(storage(&volume));
        }
    }
}

/// The UIDs of the sandboxes' claims, by namespace and name.
pub(super) type Claims = BTreeMap<(String, String), String>;

/// The UIDs of claims.
pub(super) fn claims(list: &[PersistentVolumeClaim]) -> Claims {
    list.iter()
        .filter_map(|claim| {
            let meta = &claim.metadata;
            Some(((meta.namespace.clone()?, meta.name.clone()?), meta.uid.clone()?))
        })
        .collect()
}

/// What may become of `volume`, which is claimed from a sandbox of the run, given the claims there and the storage that
/// others use.
///
/// Nobody but this run may use the sandbox's name, so a volume bound to a claim in it was made for it. A claim that is still
/// there has to agree on the UID; one that is gone cannot be asked any more.
pub(super) fn fate(volume: &PersistentVolume, claims: &Claims, foreign: &BTreeSet<String>) -> Fate {
    let spec = volume.spec.as_ref();
    let deletes = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) == Some(DELETE);
    let spare = |why| if deletes { Fate::Protect(why) } else { Fate::Stays(why) };
    let own = storage(volume);
    if own.iter().any(|place| foreign.contains(place)) {
        return spare("its storage is also that of a volume outside the sandbox");
    }
    let Some(claim) = spec.and_then(|spec| spec.claim_ref.as_ref()) else {
        return Fate::Stays("it is not claimed");
    };
    let live = match (&claim.namespace, &claim.name) {
        (Some(namespace), Some(name)) => claims.get(&(namespace.clone(), name.clone())),
        _ => None,
    };
    match (&claim.uid, live) {
        (None, _) => spare("it was bound in advance, not made for its claim"),
        (Some(bound), Some(live)) if bound != live => Fate::Stays("it belonged to an earlier claim of this name"),
        _ if deletes => Fate::GoesWithClaim,
        _ if own.is_empty() => Fate::Stays("it does not say where its storage is"),
        _ => Fate::MakeDeletable,
    }
}

/// The namespace of the claim that a volume is bound to.
pub(super) fn claimant(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.claim_ref.as_ref()?.namespace.as_deref()
}

/// Where a volume's storage is, in a form that is equal for two volumes on the same storage. How it is mounted is left out;
/// a path on a node counts whatever the node, which errs to the safe side.
fn storage(volume: &PersistentVolume) -> Vec<String> {
    let Some(Ok(Value::Object(spec))) = volume.spec.as_ref().map(serde_json::to_value) else {
        return Vec::new();
    };
    spec.into_iter()
        .filter(|(key, _)| !NOT_STORAGE.contains(&key.as_str()))
        .map(|(kind, mut place)| {
            if let ("csi", Some(handle)) = (kind.as_str(), place.get("volumeHandle")) {
                return format!("csi {} {handle}", place.get("driver").unwrap_or(&Value::Null));
            }
            if let Value::Object(fields) = &mut place {
                for manner in ["fsType", "readOnly", "type", "secretRef", "partition"] {
                    fields.remove(manner);
                }
            }
            format!("{kind} {place}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    const SANDBOX: &str = "shop-kymaros-abc123";

    fn volume(namespace: &str, uid: Option<&str>, policy: &str, storage: impl Serialize) -> PersistentVolume {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "claimRef": {"namespace": namespace, "name": "data"},
            "persistentVolumeReclaimPolicy": policy,
        });
        if let Some(uid) = uid {
            spec["claimRef"]["uid"] = json!(uid);
        }
        let storage = serde_json::to_value(storage).unwrap();
        for (key, value) in storage.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "pv"}, "spec": spec})).unwrap()
    }

    fn csi(handle: &str) -> Value {
        json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle, "fsType": "ext4"}})
    }

    #[test]
    fn only_own_volumes_on_own_storage_are_let_go() {
        let claims: Claims = [((SANDBOX.to_owned(), "data".to_owned()), "c-1".to_owned())].into();
        let mut volumes = Volumes::default();
        let nfs = json!({"nfs": {"server": "nas", "path": "/shop"}});
        for volume in [
            volume("shop", Some("p-1"), "Delete", csi("vol-prod")),
            volume("shop", Some("p-2"), "Retain", nfs),
            volume("shop-kymaros-zzzzzz", Some("c-1"), "Retain", csi("vol-other-run")),
            serde_json::from_value(json!({"metadata": {"name": "free"}, "spec": csi("vol-free")})).unwrap(),
        ] {
            volumes.see(volume, &BTreeSet::from([SANDBOX]));
        }
        assert!(volumes.own.is_empty());
        assert_eq!(volumes.foreign.len(), 4);
        let nfs_read_only = json!({"nfs": {"server": "nas", "path": "/shop", "readOnly": true}});
        for (uid, policy, storage, expected) in [
            (Some("c-1"), "Delete", csi("vol-1"), "GoesWithClaim"),
            (Some("c-1"), "Retain", csi("vol-1"), "MakeDeletable"),
            (Some("c-0"), "Retain", csi("vol-1"), "Stays(\"it belonged"),
            (None, "Retain", csi("vol-1"), "Stays(\"it was bound in advance"),
            (None, "Delete", csi("vol-1"), "Protect(\"it was bound in advance"),
            (Some("c-1"), "Retain", csi("vol-prod"), "Stays(\"its storage is also"),
            (Some("c-1"), "Delete", csi("vol-prod"), "Protect(\"its storage is also"),
            (Some("c-1"), "Delete", csi("vol-free"), "Protect(\"its storage is also"),
            (Some("c-1"), "Retain", nfs_read_only, "Stays(\"its storage is also"),
            (Some("c-1"), "Retain", json!({}), "Stays(\"it does not say"),
        ] {
            let volume = volume(SANDBOX, uid, policy, storage);
            let found = format!("{:?}", fate(&volume, &claims, &volumes.foreign));
            assert!(found.starts_with(expected), "{found}: {volume:?}");
        }
    }

    #[test]
    fn a_released_volume_whose_claim_is_gone_may_go() {
        let released = volume(SANDBOX, Some("c-9"), "Retain", csi("vol-9"));
        assert_eq!(fate(&released, &Claims::new(), &BTreeSet::new()), Fate::MakeDeletable);
    }
}
