//! The forms of names, labels and amounts, as Kubernetes demands them.
//!
//! Each function answers with what is wrong, for a person, or with nothing. The schema of the kinds says the same; it is said
//! again here because the definitions installed in a cluster may be older than this program.

use super::network::Network;

/// Nothing wrong, or what is.
pub(super) type Checked = Result<(), String>;

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|byte| is_alphanumeric(byte) || byte == b'-');
    inner && !text.is_empty() && !text.starts_with('-') && !text.ends_with('-')
}

/// Between `min` and `max` characters.
pub(super) fn length(text: &str, min: usize, max: usize) -> Checked {
    let length = text.chars().count();
    if length < min {
        return Err("must not be empty".to_owned());
    }
    if length > max {
        return Err(format!("must be at most {max} characters, has {length}"));
    }
    Ok(())
}

/// A DNS label: the name of a namespace, a Service, a container.
pub(super) fn label(text: &str, max: usize) -> Checked {
    length(text, 1, max)?;
    if is_label(text) {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be lower-case letters, digits and '-', beginning and ending with a letter or digit"
    ))
}

/// A DNS subdomain: the name of most other objects.
pub(super) fn subdomain(text: &str) -> Checked {
    length(text, 1, 253)?;
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
    ))
}

/// A key of a label, `name` or `prefix/name`.
pub(super) fn label_key(text: &str) -> Checked {
    let (prefix, name) = text
        .rsplit_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let named = !name.is_empty() && name.len() <= 63 && is_word(name);
    if named && prefix.is_none_or(|prefix| subdomain(prefix).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} is no key of a label"))
}

/// A value of a label.
pub(super) fn label_value(text: &str) -> Checked {
    if text.is_empty() || (text.len() <= 63 && is_word(text)) {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
    ))
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A kind, such as `ConfigMap`.
pub(super) fn kind(text: &str) -> Checked {
    length(text, 1, 63)?;
    if text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(format!("{text:?} must be a kind, such as ConfigMap"))
}

/// A group and version, such as `apps/v1`, or the version alone.
pub(super) fn api_version(text: &str) -> Checked {
    length(text, 1, 317)?;
    let (group, version) = text
        .rsplit_once('/')
        .map_or((None, text), |(group, version)| (Some(group), version));
    let versioned = version.len() > 1 && version.starts_with('v') && version.bytes().all(is_alphanumeric);
    if versioned && group.is_none_or(|group| subdomain(group).is_ok()) {
        return Ok(());
    }
    Err(format!("{text:?} must be a group and version such as apps/v1, or v1"))
}

/// A kind of object as the API's addresses spell it: `secrets` or `deployments.apps`.
pub(super) fn resource(text: &str) -> Checked {
    length(text, 1, 317)?;
    if text.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be a resource such as secrets or deployments.apps"
    ))
}

/// A range of addresses.
pub(super) fn cidr(text: &str) -> Checked {
    if Network::parse(text).is_some() {
        return Ok(());
    }
    Err(format!("{text:?} must be an address range such as 169.254.20.10/32"))
}

/// A name of a port.
pub(super) fn port_name(text: &str) -> Checked {
    let letters = text.bytes().any(|byte| byte.is_ascii_lowercase());
    if is_label(text) && letters && text.len() <= 15 && !text.contains("--") {
        return Ok(());
    }
    Err(format!(
        "{text:?} must be a port number from 1 to 65535, without quotes, or the name of a port of the Service"
    ))
}

/// A positive amount in Kubernetes' notation: `2`, `500m`, `4Gi`, `1e3`.
pub(super) fn quantity(text: &str) -> Checked {
    let number_ends = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_ends);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && number.len() - digits <= 1;
    let exponent = |unit: &str| {
        let digits = unit
            .strip_prefix(['e', 'E'])
            .map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        digits.is_some_and(|digits| {
            !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let units = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let positive = number.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if text.len() <= 32 && is_number && positive && (units.contains(&unit) || exponent(unit)) {
        return Ok(());
    }
    Err(format!("{text:?} must be a positive quantity such as 2, 500m or 4Gi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(check: impl Fn(&str) -> Checked, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn labels() {
        let max = "a".repeat(63);
        let long = "a".repeat(64);
        all(
            |text| label(text, 63),
            &["a", "a-1", "0", &max],
            &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long],
        );
    }

    #[test]
    fn subdomains() {
        let long = "a".repeat(254);
        all(
            subdomain,
            &["a", "a.b-c.d", "nightly-20260801030000"],
            &["", ".a", "a.", "a..b", "a.-b", "A.b", &long],
        );
    }

    #[test]
    fn label_keys_and_values() {
        let long = "a".repeat(64);
        all(
            label_key,
            &["app", "App_1.x", "app.kubernetes.io/name", "a/b"],
            &["", "/a", "a/", "a/b/c", "-a", "a-", "A.b/c", "a b", &long],
        );
        all(
            label_value,
            &["", "a", "A_b.c-1", "1"],
            &["-a", "a-", "a b", "ä", "a/b", &long],
        );
    }

    #[test]
    fn kinds_and_versions() {
        all(
            kind,
            &["Pod", "ConfigMap", "V1Beta"],
            &["", "pod", "Config-Map", "1Pod"],
        );
        all(
            api_version,
            &["v1", "apps/v1", "a.b/v1beta1"],
            &["", "apps", "apps/", "/v1", "a/b/v1", "apps/v", "apps/1", "A/v1"],
        );
        all(
            resource,
            &["secrets", "deployments.apps", "a.b.c"],
            &["", "*", "apps/deployments", "Secrets", "a."],
        );
    }

    #[test]
    fn ranges() {
        all(
            cidr,
            &["169.254.20.10/32", "10.0.0.0/8", "0.0.0.0/0", "fd00::10/128", "::/0"],
            &[
                "",
                "10.0.0.0",
                "10.0.0.0/33",
                "10.0.0/8",
                "256.0.0.0/8",
                "fd00::/129",
                "10.0.0.0/",
                "10.0.0.0/+8",
                "x/8",
            ],
        );
    }

    #[test]
    fn port_names() {
        all(
            port_name,
            &["http", "web-1", "1a"],
            &["", "80", "HTTP", "a--b", "-a", "a-", "sixteen-letters-"],
        );
    }

    #[test]
    fn quantities() {
        all(
            quantity,
            &[
                "2", "500m", "4Gi", "1e3", "1E-2", "1.5", ".5Gi", "5.", "100k", "1Ei", "007",
            ],
            &[
                "", "0", "0Gi", "-1", "+1", "4GB", "4 Gi", "1.2.3", "Gi", ".", "1e", "1e1.5", "1e333", "0.0", "1K",
                "1mi",
            ],
        );
    }
}
