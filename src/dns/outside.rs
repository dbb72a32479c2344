//! The outside names that were asked for.

use std::collections::BTreeSet;

use hickory_proto::rr::Name;

/// So many names are kept. An application that asks for more, such as a crawler, has made its point by then.
const MOST: usize = 200;

/// A bounded set of names, lower case, without the dot at the end.
#[derive(Debug, Default)]
pub(super) struct Outside {
    names: BTreeSet<String>,
}

impl Outside {
    /// Adds a name. The resolver asks for `api.payments` with every end of its search path before or after it asks for the
    /// name itself; only the latter is kept. `searched` is the end that may stand for another namespace.
    pub(super) fn add(&mut self, name: &Name, searched: &Name) {
        let text = text(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        // Anything may be asked for; a report holds names.
        if !text.chars().all(plain) {
            return;
        }
        let end = format!(".{}", self::text(searched));
        self.names.remove(&format!("{text}{end}"));
        let is_known = text.strip_suffix(&end).is_some_and(|short| self.names.contains(short));
        if !is_known && self.names.len() < MOST {
            self.names.insert(text);
        }
    }

    /// The names in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

fn text(name: &Name) -> String {
    name.to_lowercase().to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(asked: &[&str]) -> Vec<String> {
        let searched = Name::from_ascii("svc.cluster.local.").unwrap();
        let mut outside = Outside::default();
        for name in asked {
            outside.add(&Name::from_ascii(format!("{name}.")).unwrap(), &searched);
        }
        outside.names().map(str::to_owned).collect()
    }

    #[test]
    fn each_name_is_kept_once_as_it_was_meant() {
        assert_eq!(after(&["API.Payments", "api.payments"]), ["api.payments"]);
        for asked in [
            ["api.payments.svc.cluster.local", "api.payments"],
            ["api.payments", "api.payments.svc.cluster.local"],
        ] {
            assert_eq!(after(&asked), ["api.payments"]);
        }
        assert_eq!(
            after(&["api.payments.svc.cluster.local", "api.other"]),
            ["api.other", "api.payments.svc.cluster.local"]
        );
    }

    #[test]
    fn what_is_no_name_of_a_host_is_not_kept() {
        let mut outside = Outside::default();
        let odd = Name::from_labels([&b"two words\n"[..], b"example"]).unwrap();
        outside.add(&odd, &Name::root());
        assert!(outside.names().next().is_none());
    }

    #[test]
    fn it_is_bounded() {
        let many: Vec<String> = (0..MOST + 50).map(|n| format!("n{n}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(after(&many).len(), MOST);
    }
}
