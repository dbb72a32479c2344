//! Which storage classes may give a sandbox the very storage of production.
//!
//! Most classes make a new place for every claim. Some are told by a parameter how to name it, and where neither the
//! namespace nor the volume is part of the name, a claim of the same name in another namespace gets the same place. A
//! restored claim has its name, labels and annotations from production.

use std::collections::BTreeMap;

/// A parameter that names the place, and which variables of it differ between production and a sandbox.
struct Naming {
    parameter: &'static str,
    own: &'static [&'static str],
}

/// By what provisioners really read. Their own names are set at installation, so the parameter alone decides.
const NAMINGS: [Naming; 5] = [
    // local-path-provisioner (a template of Go) and nfs-subdir-external-provisioner.
    Naming {
        parameter: "pathPattern",
        own: &["{{.PVC.Namespace}}", "{{.PVC.UID}}", "{{.PVName}}", "${.PVC.namespace}"],
    },
    // aws-efs-csi-driver.
    Naming {
        parameter: SUB_PATH,
        own: &["${.PVC.namespace}", "${.PV.name}"],
    },
    // csi-driver-nfs, csi-driver-smb.
    Naming {
        parameter: "subDir",
        own: OF_CSI,
    },
    // azurefile-csi-driver.
    Naming {
        parameter: "shareName",
        own: OF_CSI,
    },
    // blob-csi-driver.
    Naming {
        parameter: "containerName",
        own: OF_CSI,
    },
];
const SUB_PATH: &str = "subPathPattern";
const OF_CSI: &[&str] = &["${pvc.metadata.namespace}", "${pv.metadata.name}"];
/// Unless this is `false`, what [`SUB_PATH`] names has a random end.
const UNIQUE: &str = "ensureUniqueDirectory";
/// The one annotation that may stand in a pattern: a claim with it is refused in a sandbox. The value of any other is the
/// backup's and may lead out of the folder (`../..`), as those of labels and names cannot.
const REFUSED_ANNOTATION: &str = "${.PVC.annotations.nfs.io/storage-path}";

/// May a class with these parameters give a claim in a sandbox the storage of a claim in production? What cannot be read
/// counts as yes.
pub fn may_share_storage(parameters: &BTreeMap<String, String>) -> bool {
    // Drivers read their parameters in any case of letters.
    let value = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let unique = value(UNIQUE).is_none_or(|text| text.eq_ignore_ascii_case("true"));
    NAMINGS
        .iter()
        .filter(|naming| naming.parameter != SUB_PATH || !unique)
        .any(|naming| value(naming.parameter).is_some_and(|pattern| !is_own(pattern, naming.own)))
}

/// Does the place that this pattern names differ for every namespace?
fn is_own(pattern: &str, own: &[&str]) -> bool {
    let Some(variables) = variables(pattern) else {
        return false;
    };
    let wild =
        |variable: &String| variable != REFUSED_ANNOTATION && variable.to_ascii_lowercase().contains(".annotations");
    !pattern.contains("..")
        && !variables.iter().any(wild)
        && variables.iter().any(|variable| own.contains(&variable.as_str()))
}

/// All `${…}` and `{{…}}` of a pattern, the latter without blanks and trim marks. `None` if one does not end, or is more
/// than a variable: a condition may leave the namespace out.
fn variables(pattern: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = pattern;
    while let Some(start) = ["${", "{{"].iter().filter_map(|open| rest.find(open)).min() {
        rest = &rest[start..];
        let template = rest.starts_with("{{");
        let close = if template { "}}" } else { "}" };
        let end = rest.find(close)?;
        let name = rest[2..end].to_owned();
        rest = &rest[end + close.len()..];
        if !template {
            found.push(format!("${{{name}}}"));
            continue;
        }
        let name = name.trim_start_matches("- ").trim_end_matches(" -").trim();
        let plain = name.starts_with('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        if !plain {
            return None;
        }
        found.push(format!("{{{{{name}}}}}"));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(parameters: &[(&str, &str)]) -> bool {
        let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        may_share_storage(&parameters.collect())
    }

    #[test]
    fn a_pattern_must_say_for_which_namespace_or_volume_it_is() {
        for (parameter, pattern, expected) in [
            ("pathPattern", "{{ .PVC.Name }}", true),
            ("pathPattern", "{{ .PVC.Namespace }}/{{ .PVC.Name }}", false),
            ("pathPattern", "{{.PVC.Name}}-{{- .PVC.Namespace -}}", false),
            ("pathPattern", "{{ .PVName }}", false),
            ("pathPattern", "{{ .PVC.UID }}", false),
            ("pathPattern", "{{ .PVC.namespace }}", true),
            ("pathPattern", "{{ .PVC.Labels.folder }}/{{ .PVC.Namespace }}", false),
            (
                "pathPattern",
                "{{ .PVC.Annotations.folder }}/{{ .PVC.Namespace }}",
                true,
            ),
            (
                "pathPattern",
                "{{ if .PVC.Labels.x }}x{{ else }}{{ .PVC.Namespace }}{{ end }}",
                true,
            ),
            (
                "pathPattern",
                "{{ index .PVC.Labels \"x\" }}/{{ .PVC.Namespace }}",
                true,
            ),
            ("pathPattern", "{{ .PVC.Namespace }}/../{{ .PVC.Name }}", true),
            ("pathPattern", "{{ .PVC.Namespace", true),
            ("pathPattern", "shared", true),
            ("pathPattern", "", true),
            ("pathPattern", "${.PVC.name}", true),
            ("pathPattern", "${.PVC.namespace}-${.PVC.name}", false),
            ("pathPattern", "${.PVC.Namespace}", true),
            ("pathPattern", "${ .PVC.namespace }", true),
            ("pathPattern", "${.PVC.labels.namespace}", true),
            ("pathPattern", "${.PVC.annotations.nfs.io/storage-path}", true),
            (
                "pathPattern",
                "${.PVC.namespace}/${.PVC.annotations.nfs.io/storage-path}",
                false,
            ),
            (
                "pathPattern",
                "${.PVC.namespace}/${.PVC.annotations.example.com/folder}",
                true,
            ),
            ("pathpattern", "${.PVC.name}", true),
            ("subDir", "${pvc.metadata.name}", true),
            ("subdir", "${pvc.metadata.namespace}/${pvc.metadata.name}", false),
            ("subDir", "${pv.metadata.name}", false),
            ("subDir", "${.PVC.namespace}", true),
            ("shareName", "files", true),
            ("shareName", "${pvc.metadata.namespace}", false),
            ("containerName", "${pvc.metadata.name}", true),
        ] {
            assert_eq!(shares(&[(parameter, pattern)]), expected, "{parameter}: {pattern:?}");
        }
    }

    #[test]
    fn classes_that_make_a_place_for_each_claim_are_let_be() {
        for parameters in [
            &[][..],
            &[("archiveOnDelete", "false"), ("onDelete", "retain")],
            &[("type", "gp3"), ("encrypted", "true")],
            &[("server", "nas"), ("share", "/")],
        ] {
            assert!(!shares(parameters), "{parameters:?}");
        }
    }

    #[test]
    fn a_directory_is_unique_unless_the_class_says_otherwise() {
        let by_name = ("subPathPattern", "${.PVC.name}");
        for (unique, expected) in [
            (None, false),
            (Some("true"), false),
            (Some("false"), true),
            (Some("0"), true),
        ] {
            let mut parameters = vec![by_name];
            parameters.extend(unique.map(|text| ("ensureUniqueDirectory", text)));
            assert_eq!(shares(&parameters), expected, "{unique:?}");
        }
        let own = ("subPathPattern", "${.PVC.namespace}/${.PVC.name}");
        assert!(!shares(&[own, ("ensureUniqueDirectory", "false")]));
    }
}
