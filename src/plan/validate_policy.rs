//! The checks of a `HealthCheckPolicy`, as far as one test uses them.

use super::problems::Problems;
use super::syntax::{self, Checked};
use super::validate::check_labels;
use crate::api::{
    Check, CheckType, ExecCheck, Header, HealthCheckPolicySpec, HttpGetCheck, IntOrString, PodStatusCheck, ResourceRef,
    Scheme, SourceNamespace, TcpSocketCheck, limits,
};

/// Longest DNS label.
const LABEL: usize = 63;
/// Longest timeout of a check, in hours.
const DAY: u64 = 24;
/// Headers that the client writes itself.
const OWN_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// Checks all checks; `sources` are the namespaces of the test that names this policy.
pub(super) fn check(policy: &HealthCheckPolicySpec, name: &str, sources: &[SourceNamespace], problems: &mut Problems) {
    let path = format!("HealthCheckPolicy {name} spec.checks");
    problems.count(&path, policy.checks.len(), 1, limits::CHECKS);
    for (index, check) in policy.checks.iter().enumerate() {
        let path = format!("{path}[{index}]");
        problems.check(format!("{path}.name"), syntax::label(&check.name, LABEL));
        if policy.checks[..index].iter().any(|before| before.name == check.name) {
            problems.add(
                format!("{path}.name"),
                format!("{:?} is the name of another check too", check.name),
            );
        }
        if let Some(namespace) = &check.namespace
            && !sources.iter().any(|source| source.name == *namespace)
        {
            let message = format!("{namespace:?} is not listed in the test's spec.backupSource.namespaces");
            problems.add(format!("{path}.namespace"), message);
        }
        check_blocks(&path, check, problems);
    }
}

/// Exactly the block that the type names, and what is in it.
fn check_blocks(path: &str, check: &Check, problems: &mut Problems) {
    let blocks = [
        (CheckType::PodStatus, check.pod_status.is_some()),
        (CheckType::HttpGet, check.http_get.is_some()),
        (CheckType::TcpSocket, check.tcp_socket.is_some()),
        (CheckType::Exec, check.exec.is_some()),
        (CheckType::ResourceExists, check.resource_exists.is_some()),
    ];
    for (type_, is_set) in blocks {
        if is_set && type_ != check.type_ {
            problems.add(
                format!("{path}.{type_}"),
                format!("does not belong to a check of type {}", check.type_),
            );
        }
        if !is_set && type_ == check.type_ {
            problems.add(
                format!("{path}.{type_}"),
                format!("is missing: a check of type {type_} needs this block"),
            );
        }
    }
    if let Some(block) = &check.pod_status {
        check_pod_status(&format!("{path}.podStatus"), block, problems);
    }
    if let Some(block) = &check.http_get {
        check_http_get(&format!("{path}.httpGet"), block, problems);
    }
    if let Some(block) = &check.tcp_socket {
        check_tcp_socket(&format!("{path}.tcpSocket"), block, problems);
    }
    if let Some(block) = &check.exec {
        check_exec(&format!("{path}.exec"), block, problems);
    }
    if let Some(block) = &check.resource_exists {
        let path = format!("{path}.resourceExists.resources");
        problems.count(&path, block.resources.len(), 1, 100);
        for (index, resource) in block.resources.iter().enumerate() {
            check_resource(&format!("{path}[{index}]"), resource, problems);
        }
    }
}

fn check_pod_status(path: &str, block: &PodStatusCheck, problems: &mut Problems) {
    check_labels(&format!("{path}.labelSelector"), &block.label_selector, problems);
    problems.range(&format!("{path}.minReady"), block.min_ready, 1, 1000);
    problems.time(&format!("{path}.timeout"), block.timeout, DAY);
}

fn check_http_get(path: &str, block: &HttpGetCheck, problems: &mut Problems) {
    problems.check(format!("{path}.service"), syntax::label(&block.service, LABEL));
    problems.check(format!("{path}.port"), port(&block.port));
    problems.check(format!("{path}.path"), http_path(&block.path));
    problems.range(&format!("{path}.expectedStatus"), block.expected_status, 100, 599);
    problems.check_if(&format!("{path}.host"), block.host.as_ref(), host);
    problems.count(&format!("{path}.headers"), block.headers.len(), 0, 20);
    for (index, header) in block.headers.iter().enumerate() {
        check_header(&format!("{path}.headers[{index}]"), header, problems);
    }
    problems.check_if(&format!("{path}.bodyMatches"), block.body_matches.as_ref(), regex);
    problems.time(&format!("{path}.timeout"), block.timeout, DAY);
    problems.range(&format!("{path}.retries"), block.retries, 0, 100);
    if block.insecure_skip_verify && block.scheme != Scheme::Https {
        problems.add(format!("{path}.insecureSkipVerify"), "needs scheme: HTTPS");
    }
}

fn check_header(path: &str, header: &Header, problems: &mut Problems) {
    let name = header.name.as_str();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    problems.check(format!("{path}.name"), syntax::length(name, 1, 128));
    if !name.bytes().all(is_token) {
        problems.add(
            format!("{path}.name"),
            format!("{name:?} must be letters, digits, '-' and '_'"),
        );
    }
    if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        problems.add(
            format!("{path}.name"),
            format!("{name:?} is set by the runner; use host for the Host header"),
        );
    }
    if header.value.is_some() == header.value_from.is_some() {
        problems.add(path, "a header needs value or valueFrom, and not both");
    }
    problems.check_if(&format!("{path}.value"), header.value.as_ref(), |value| {
        syntax::length(value, 0, 1024)?;
        let one_line = value.chars().all(|c| c == '\t' || !c.is_ascii_control());
        if one_line {
            Ok(())
        } else {
            Err("must be one line".to_owned())
        }
    });
    if let Some(source) = &header.value_from {
        let path = format!("{path}.valueFrom.secretKeyRef");
        problems.check(format!("{path}.name"), syntax::subdomain(&source.secret_key_ref.name));
        problems.check(format!("{path}.key"), secret_key(&source.secret_key_ref.key));
    }
}

fn check_tcp_socket(path: &str, block: &TcpSocketCheck, problems: &mut Problems) {
    problems.check(format!("{path}.service"), syntax::label(&block.service, LABEL));
    problems.check(format!("{path}.port"), port(&block.port));
    problems.time(&format!("{path}.timeout"), block.timeout, DAY);
    problems.range(&format!("{path}.retries"), block.retries, 0, 100);
}

fn check_exec(path: &str, block: &ExecCheck, problems: &mut Problems) {
    check_labels(&format!("{path}.podSelector"), &block.pod_selector, problems);
    problems.check_if(&format!("{path}.container"), block.container.as_ref(), |name| {
        syntax::label(name, LABEL)
    });
    problems.count(&format!("{path}.command"), block.command.len(), 1, 64);
    for (index, word) in block.command.iter().enumerate() {
        problems.check(format!("{path}.command[{index}]"), syntax::length(word, 0, 4096));
    }
    problems.range(&format!("{path}.successExitCode"), block.success_exit_code, 0, 255);
    problems.check_if(&format!("{path}.outputMatches"), block.output_matches.as_ref(), regex);
    problems.time(&format!("{path}.timeout"), block.timeout, DAY);
}

fn check_resource(path: &str, resource: &ResourceRef, problems: &mut Problems) {
    problems.check(format!("{path}.kind"), syntax::kind(&resource.kind));
    problems.check(format!("{path}.name"), object_name(&resource.name));
    problems.check_if(
        &format!("{path}.apiVersion"),
        resource.api_version.as_ref(),
        syntax::api_version,
    );
}

fn port(port: &IntOrString) -> Checked {
    match port {
        IntOrString::Int(number) if (1..=65535).contains(number) => Ok(()),
        IntOrString::Int(number) => Err(format!("must be from 1 to 65535, is {number}")),
        IntOrString::String(name) => syntax::port_name(name),
    }
}

fn http_path(path: &str) -> Checked {
    syntax::length(path, 1, 2048)?;
    if path.starts_with('/') && !path.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(format!("{path:?} must begin with '/' and hold no spaces"))
}

fn host(host: &str) -> Checked {
    syntax::length(host, 1, 253)?;
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".:_-".contains(&byte))
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .is_some_and(|(address, port)| {
            let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            address.parse::<std::net::Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    if plain(host) || bracketed {
        return Ok(());
    }
    Err(format!("{host:?} must be a host name, with a port if need be"))
}

fn secret_key(key: &str) -> Checked {
    syntax::length(key, 1, 253)?;
    if key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    {
        return Ok(());
    }
    Err(format!("{key:?} must be letters, digits, '-', '_' and '.'"))
}

fn object_name(name: &str) -> Checked {
    syntax::length(name, 1, 253)?;
    if name == "." || name == ".." || name.contains(['/', '%']) {
        return Err(format!("{name:?} must be the name of an object"));
    }
    Ok(())
}

/// A pattern must compile before anything is restored, not when its turn comes.
fn regex(pattern: &str) -> Checked {
    syntax::length(pattern, 1, 1024)?;
    crate::pattern::compile(pattern).map(drop)
}
