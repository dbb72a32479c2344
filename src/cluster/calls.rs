//! Records every request to the API server, so that a test can hold the calls that are made against the rights that are
//! granted, and a person can see at debug level what a run asks for.

use std::task::{Context, Poll};

use http::{Method, Request, Uri};
use tower::{Layer, Service};

/// The target under which every request is recorded.
pub const TARGET: &str = "kymaros_runner::api_call";

/// A request in the words of RBAC.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ApiCall {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`.
    pub verb: &'static str,
    /// API group, empty for core. For a URL that is no resource: the path.
    pub group: String,
    /// Plural of the resource; empty for a URL that is no resource.
    pub resource: String,
    /// E.g. `status`; empty if none.
    pub subresource: String,
    /// Empty for cluster-wide ones.
    pub namespace: String,
    /// Empty when the request is for many, or for one that has no name yet.
    pub name: String,
}

impl ApiCall {
    /// Reads a request's method and URL the way the API server does.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
        let group = match (parts.next(), parts.next()) {
            (Some("api"), Some(_version)) => String::new(),
            (Some("apis"), Some(group)) if parts.next().is_some() => group.to_owned(),
            _ => return Self::plain(method, uri),
        };
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = "";
        // `namespaces/<name>` alone is the namespace itself; with a resource behind it, its contents. Its own subresources
        // are the exception.
        if rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize") {
            namespace = rest[1];
            rest.drain(..2);
        }
        let Some(resource) = rest.first() else {
            return Self::plain(method, uri);
        };
        let name = rest.get(1).copied().unwrap_or_default();
        let watch = uri
            .query()
            .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ if watch => "watch",
            _ if name.is_empty() => "list",
            _ => "get",
        };
        Self {
            verb,
            group,
            resource: (*resource).to_owned(),
            subresource: rest.get(2).copied().unwrap_or_default().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn plain(method: &Method, uri: &Uri) -> Self {
        Self {
            verb: if *method == Method::GET { "get" } else { "post" },
            group: uri.path().to_owned(),
            ..Self::default()
        }
    }
}

/// Puts [`Recorder`] around a service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecorderLayer;

impl<S> Layer<S> for RecorderLayer {
    type Service = Recorder<S>;

    fn layer(&self, inner: S) -> Recorder<S> {
        Recorder { inner }
    }
}

/// Records each request before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Recorder<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Recorder<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        if tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            let call = ApiCall::of(request.method(), request.uri());
            tracing::debug!(
                target: TARGET,
                verb = call.verb,
                group = call.group,
                resource = call.resource,
                subresource = call.subresource,
                namespace = call.namespace,
                name = call.name,
                "API call"
            );
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &Method, uri: &str) -> [String; 6] {
        let call = ApiCall::of(method, &uri.parse().unwrap());
        [
            call.verb.to_owned(),
            call.group,
            call.resource,
            call.subresource,
            call.namespace,
            call.name,
        ]
    }

    #[test]
    fn requests_are_read_as_the_server_reads_them() {
        let cases = [
            (
                Method::GET,
                "/api/v1/namespaces/a/pods?limit=500",
                ["list", "", "pods", "", "a", ""],
            ),
            (
                Method::GET,
                "/api/v1/pods?watch=true&x=y",
                ["watch", "", "pods", "", "", ""],
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/p/log?tailLines=1",
                ["get", "", "pods", "log", "a", "p"],
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a",
                ["get", "", "namespaces", "", "", "a"],
            ),
            (
                Method::PATCH,
                "/api/v1/namespaces/a/status",
                ["patch", "", "namespaces", "status", "", "a"],
            ),
            (
                Method::GET,
                "/api/v1/namespaces",
                ["list", "", "namespaces", "", "", ""],
            ),
            (
                Method::POST,
                "/apis/velero.io/v1/namespaces/velero/restores",
                ["create", "velero.io", "restores", "", "velero", ""],
            ),
            (
                Method::PATCH,
                "/apis/restore.kymaros.io/v1alpha1/namespaces/k/restorereports/r/status?force=true",
                ["patch", "restore.kymaros.io", "restorereports", "status", "k", "r"],
            ),
            (
                Method::DELETE,
                "/api/v1/persistentvolumes/pv",
                ["delete", "", "persistentvolumes", "", "", "pv"],
            ),
            (
                Method::DELETE,
                "/api/v1/namespaces/sb/pods",
                ["deletecollection", "", "pods", "", "sb", ""],
            ),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/k/leases/l",
                ["update", "coordination.k8s.io", "leases", "", "k", "l"],
            ),
            (Method::GET, "/apis", ["get", "/apis", "", "", "", ""]),
            (Method::GET, "/api/v1", ["get", "/api/v1", "", "", "", ""]),
            (Method::GET, "/version", ["get", "/version", "", "", "", ""]),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(call(&method, uri), expected.map(str::to_owned), "{method} {uri}");
        }
    }
}
