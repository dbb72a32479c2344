//! Claims that the sandbox refuses because their storage class would give them production's storage.

use std::collections::BTreeSet;

use crate::judge::level::first_few;
use crate::names::{CLASS_CLAIMS, CLASS_QUOTA};

/// The classes whose claims these refusals are about.
fn refused<'t>(texts: &'t [String]) -> BTreeSet<&'t str> {
    let class = |text: &'t str| {
        // "exceeded quota: kymaros-classes, requested: <class>.storageclass.storage.k8s.io/persistentvolumeclaims=1, used: …"
        let (_, rest) = text.split_once(&format!("exceeded quota: {CLASS_QUOTA}, requested: "))?;
        let (class, _) = rest.split_once(CLASS_CLAIMS)?;
        Some(class)
    };
    texts.iter().filter_map(|text| class(text)).collect()
}

/// Why, and what to do; `None` if none of these refusals is of that kind.
pub(super) fn message(texts: &[String]) -> Option<String> {
    let classes = refused(texts);
    if classes.is_empty() {
        return None;
    }
    let names: Vec<String> = classes.iter().map(|class| format!("{class:?}")).collect();
    let lines: Vec<String> = classes
        .iter()
        .map(|class| format!("{class}: <another class>"))
        .collect();
    Some(format!(
        "claims of the storage class {} were refused: by its parameters the class may give the sandbox production's own storage; \
         lead it to another class with restore.storageClassMapping: {{{}}}",
        first_few(&names, 3),
        lines.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_and_the_line_to_add_are_named() {
        let of = |class: &str| {
            let key = format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims");
            format!(
                "PersistentVolumeClaim/data: persistentvolumeclaims \"data\" is forbidden: exceeded quota: kymaros-classes, requested: {key}=1, used: {key}=0, limited: {key}=0"
            )
        };
        let message = message(&[of("nfs.shared"), of("local"), of("local")]).unwrap();
        for words in [
            "storage class \"local\"; \"nfs.shared\" were refused",
            "restore.storageClassMapping: {local: <another class>, nfs.shared: <another class>}",
        ] {
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn want_of_room_is_something_else() {
        let storage = "exceeded quota: kymaros-quota, requested: requests.storage=1Gi, used: requests.storage=1Gi, limited: requests.storage=1Gi";
        assert_eq!(message(&[storage.to_owned()]), None);
        assert_eq!(message(&[]), None);
    }
}
