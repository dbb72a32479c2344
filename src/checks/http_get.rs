//! `httpGet`: a Service of the sandbox answers as expected.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use regex::bytes::Regex;
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use super::http::{self, Answer, End, Request, Want};
use super::service::{self, Trouble};
use super::{Context, Verdict, locate, pattern, retry, text};
use crate::api::{Check, Header, HttpGetCheck, Scheme, SecretKeyRef};

/// How much of a body is looked at: pages that tell their state tell it early, and the runner is a small pod.
const BODY: usize = 1 << 20;
/// How much of an unexpected answer is read to quote from it, and for how long.
const QUOTE: Want = Want {
    bytes: 4 << 10,
    patience: Duration::from_secs(1),
};
/// Nothing of the body is wanted.
const NOTHING: Want = Want {
    bytes: 0,
    patience: Duration::ZERO,
};
/// The optional part of the installation that lets the runner read Secrets of sandboxes.
const COMPONENT: &str = "sandbox-header-secrets";

/// Runs the check.
pub(super) async fn run(context: &Context<'_>, check: &Check, spec: &HttpGetCheck) -> Verdict {
    let sandbox = locate::by_service(context, check.namespace.as_deref(), &spec.service).await?;
    let expect = Expect::new(spec)?;
    let headers = headers(context, &sandbox.name, &spec.headers).await?;
    let (name, headers) = address(spec, &sandbox.source, headers)?;
    // An application that echoes a request would print the secret; encoded in whatever way, so it cannot be cut out.
    let tell = check.report_output && spec.headers.iter().all(|header| header.value_from.is_none());
    retry(context, spec.retries, async || {
        let addresses = service::find(context, &sandbox.name, &spec.service, &spec.port).await?;
        let request = Request {
            addresses,
            tls: spec.scheme == Scheme::Https,
            any_certificate: spec.insecure_skip_verify,
            name: name.clone(),
            path: spec.path.clone(),
            headers: headers.clone(),
        };
        let answer = http::get(&request, spec.timeout.0, |status| expect.want(status, tell)).await;
        let to = format!("{}:{}", spec.service, service::show(&spec.port));
        let answer = answer.map_err(|error| Trouble::Passing(format!("{to}: {}", advise(error, spec))))?;
        expect.evaluate(&answer, tell).map_err(Trouble::Passing)
    })
    .await
}

/// Adds what to do about a certificate that nobody could trust.
fn advise(error: String, spec: &HttpGetCheck) -> String {
    if error.contains("not publicly trusted") || (error.contains("another name") && spec.host.is_none()) {
        format!("{error}; set host, or insecureSkipVerify if it is meant to be so")
    } else {
        error
    }
}

/// What the answer must be.
struct Expect {
    status: u16,
    body: Option<Regex>,
    /// Without its query, which may hold secrets.
    path: String,
}

impl Expect {
    fn new(spec: &HttpGetCheck) -> Result<Self, String> {
        let body = spec
            .body_matches
            .as_deref()
            .map(|regex| pattern("bodyMatches", regex))
            .transpose()?;
        Ok(Self {
            status: spec.expected_status,
            body,
            path: without_query(&spec.path).to_owned(),
        })
    }

    /// How much of the body has to be read for an answer of this status.
    fn want(&self, status: u16, tell: bool) -> Want {
        if status != self.status {
            if tell { QUOTE } else { NOTHING }
        } else if self.body.is_some() {
            Want {
                bytes: BODY,
                patience: Duration::MAX,
            }
        } else {
            NOTHING
        }
    }

    /// Judges the answer.
    fn evaluate(&self, answer: &Answer, tell: bool) -> Verdict {
        let seen = format!("HTTP {} received from {}", answer.status, self.path);
        if answer.status != self.status {
            let expected = self.status;
            return Err(match &answer.location {
                Some(to) if tell && (300..400).contains(&answer.status) => {
                    let to = text::extract(without_query(to).as_bytes());
                    format!("{seen}, expected {expected}; redirects are not followed, this one points to {to}")
                }
                _ => format!("{seen}, expected {expected}{}", text::tail(&answer.body, tell)),
            });
        }
        let Some(regex) = &self.body else { return Ok(seen) };
        let found = regex.is_match(&answer.body);
        let quoted = text::tail(&answer.body, tell);
        match &answer.end {
            End::Complete | End::Cut if found => Ok(format!("{seen}, its body matches")),
            End::Complete => Err(format!("{seen}, but its body does not match{quoted}")),
            End::Cut => Err(format!(
                "{seen}, but the first 1 MiB of its body does not match{quoted}"
            )),
            End::Late => Err(format!("{seen}, but its body did not end in time{quoted}")),
            End::Broken(error) => Err(format!("{seen}, but its body broke off: {error}")),
        }
    }
}

/// A path or a URL up to its query.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The name for TLS and the URL, and the headers with the Host header that was asked for.
///
/// What is asked for may be no DNS name (an address, a name with a port): then it is the Host header alone.
fn address(spec: &HttpGetCheck, source: &str, mut headers: HeaderMap) -> Result<(String, HeaderMap), String> {
    let usual = format!("{}.{source}.svc", spec.service);
    let Some(host) = &spec.host else {
        return Ok((usual, headers));
    };
    let value = HeaderValue::from_str(host).map_err(|_| "host cannot stand in a Host header".to_owned())?;
    headers.insert(HOST, value);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = if http::is_dns_name(name) {
        name.to_owned()
    } else {
        usual
    };
    Ok((name, headers))
}

/// The headers to send; their Secrets are read only if there are any.
async fn headers(context: &Context<'_>, sandbox: &str, wanted: &[Header]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for header in wanted {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| format!("{:?} is no name of a header", header.name))?;
        let value = match &header.value_from {
            Some(source) => from_secret(context, sandbox, &source.secret_key_ref).await?,
            None => header.value.clone().unwrap_or_default().into_bytes(),
        };
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| format!("the value of header {name} holds characters that no header may hold"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// The value of a key of a Secret in the sandbox, without the line break that editors leave at its end.
async fn from_secret(context: &Context<'_>, sandbox: &str, key: &SecretKeyRef) -> Result<Vec<u8>, String> {
    let secret = context
        .cluster
        .namespaced::<Secret>(sandbox)
        .get_opt(&key.name)
        .await
        .map_err(|error| {
            if error.is_forbidden() {
                format!(
                    "Secret {} may not be read for a header; add the component {COMPONENT}",
                    key.name
                )
            } else {
                let why = context.told(&error);
                format!("Secret {} could not be read for a header: {why}", key.name)
            }
        })?;
    let secret = secret.ok_or_else(|| format!("Secret {} for a header is not in the sandbox", key.name))?;
    let value = secret.data.and_then(|mut data| data.remove(&key.key));
    let mut value = value
        .ok_or_else(|| format!("Secret {} for a header has no key {}", key.name, key.key))?
        .0;
    while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(host: Option<&str>) -> HttpGetCheck {
        let block = serde_json::json!({ "service": "web", "port": 80, "host": host });
        serde_json::from_value(block).unwrap()
    }

    fn expect(status: u16, body: Option<&str>) -> Expect {
        let body = body.map(|regex| Regex::new(regex).unwrap());
        Expect {
            status,
            body,
            path: "/healthz".into(),
        }
    }

    fn answer(status: u16, body: &[u8], end: End) -> Answer {
        Answer {
            status,
            location: None,
            body: body.into(),
            end,
        }
    }

    #[test]
    fn the_status_is_compared_as_it_is() {
        let ok = answer(200, b"", End::Cut);
        assert_eq!(
            expect(200, None).evaluate(&ok, true),
            Ok("HTTP 200 received from /healthz".into())
        );
        let broken = answer(503, b"database\ndown", End::Complete);
        let message = "HTTP 503 received from /healthz, expected 200: database\\ndown";
        assert_eq!(expect(200, None).evaluate(&broken, true), Err(message.into()));
        let quiet = "HTTP 503 received from /healthz, expected 200";
        assert_eq!(expect(200, None).evaluate(&broken, false), Err(quiet.into()));
        assert!(expect(503, None).evaluate(&broken, true).is_ok());
    }

    #[test]
    fn a_redirect_says_where_to_but_not_its_query() {
        let redirect = Answer {
            location: Some("https://login.example/x?ticket=7".into()),
            ..answer(302, b"", End::Complete)
        };
        let message = "HTTP 302 received from /healthz, expected 200; redirects are not followed, this one points to https://login.example/x";
        assert_eq!(expect(200, None).evaluate(&redirect, true), Err(message.into()));
        let quiet = expect(200, None).evaluate(&redirect, false).unwrap_err();
        assert_eq!(quiet, "HTTP 302 received from /healthz, expected 200");
        assert!(expect(302, None).evaluate(&redirect, true).is_ok());
    }

    #[test]
    fn only_a_body_that_ended_can_match() {
        let is_up = expect(200, Some("\"status\":\"UP\""));
        let body = br#"{"status":"UP"}"#;
        let judge = |end: End| is_up.evaluate(&answer(200, body, end), false);
        let passed = Ok("HTTP 200 received from /healthz, its body matches".into());
        assert_eq!((judge(End::Complete), judge(End::Cut)), (passed.clone(), passed));
        assert_eq!(
            judge(End::Late),
            Err("HTTP 200 received from /healthz, but its body did not end in time".into())
        );
        let broken = "HTTP 200 received from /healthz, but its body broke off: connection closed";
        assert_eq!(judge(End::Broken("connection closed".into())), Err(broken.into()));
        let down = answer(200, b"{}", End::Cut);
        let message = "HTTP 200 received from /healthz, but the first 1 MiB of its body does not match: {}";
        assert_eq!(is_up.evaluate(&down, true), Err(message.into()));
    }

    #[test]
    fn only_what_is_needed_is_read() {
        let plain = expect(200, None);
        assert_eq!(
            (
                plain.want(200, true).bytes,
                plain.want(500, true).bytes,
                plain.want(500, false).bytes
            ),
            (0, 4096, 0)
        );
        let matching = expect(200, Some("x"));
        assert_eq!(
            (matching.want(200, false).bytes, matching.want(500, false).bytes),
            (BODY, 0)
        );
    }

    #[test]
    fn a_host_that_is_no_name_is_only_a_header() {
        let names = |host: Option<&str>| {
            let (name, headers) = address(&spec(host), "shop", HeaderMap::new()).unwrap();
            (name, headers.get(HOST).map(|value| value.to_str().unwrap().to_owned()))
        };
        let usual = "web.shop.svc".to_owned();
        assert_eq!(names(None), (usual.clone(), None));
        assert_eq!(
            names(Some("shop.example")),
            ("shop.example".into(), Some("shop.example".into()))
        );
        assert_eq!(
            names(Some("shop.example:8443")),
            ("shop.example".into(), Some("shop.example:8443".into()))
        );
        for host in [
            "192.0.2.1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[2001:db8::1]:80",
            "127.1",
        ] {
            assert_eq!(names(Some(host)), (usual.clone(), Some(host.into())), "{host}");
        }
    }
}
