//! The API server, and what is reached through it. The only place that names kube's client.
//!
//! [`Cluster`] is the way in: it is bounded in time, tries again what may pass, records every request, and its errors say
//! which call failed on what. [`Objects`] are the objects of one kind in one place; [`Watch`] follows them.
//! [`Velero`] is the backup provider as a whole.

mod calls;
mod cancel;
mod connect;
mod discovery;
mod download;
mod error;
mod exec;
mod objects;
mod provider;
mod wait;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use kube::client::{Body, ClientBuilder};
use kube::core::{ApiResource, DynamicObject, NamespaceResourceScope};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};

pub use calls::{ApiCall, TARGET as API_CALL_TARGET};
pub use cancel::{Canceller, Pass};
pub use discovery::{Discovery, Served};
pub use download::{DownloadError, Downloads, StoreTrust};
pub use error::Error;
pub(crate) use error::none_if_unknown;
pub use exec::{Ended, Output};
pub use objects::{Objects, Pages, Query};
pub use provider::{ProviderError, Velero};
pub use wait::{Waited, Watch};

/// What this program calls itself towards servers.
pub const USER_AGENT: &str = concat!("kymaros-runner/", env!("CARGO_PKG_VERSION"));

/// Makes ring the process's provider of cryptography. Called before anything connects; again is harmless.
pub fn install_crypto() {
    // Fails only when there is one already, which is then as good.
    let _already = rustls::crypto::ring::default_provider().install_default();
}

/// The way to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    timeout: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Finds the API server: the pod's own cluster, or else the kubeconfig. Nothing is sent yet. `timeout` is for one call,
    /// its retries included.
    pub async fn find(in_cluster: bool, timeout: Duration) -> Result<Self, Error> {
        install_crypto();
        let call = error::Call {
            verb: "find",
            kind: "the API server".to_owned(),
            ..error::Call::default()
        };
        // In a pod the environment must not be able to lead us elsewhere, as `infer` would let it.
        let mut config = if in_cluster {
            Config::incluster().map_err(|error| call.refused(error::chain(&error)))?
        } else {
            Config::infer()
                .await
                .map_err(|error| call.refused(error::chain(&error)))?
        };
        // The client itself has no limit for reading: on a connection that went dead it would wait for ever. The layer's is for
        // the head of an answer, so that watches and logs may go on.
        config
            .headers
            .push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
        let client = connect::client(config, timeout).map_err(|error| call.failed(error))?;
        Ok(Self { client, timeout })
    }

    /// Over any service that answers like an API server.
    pub fn over<S>(service: S, namespace: &str, timeout: Duration) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Send + 'static,
        S::Future: Send + 'static,
    {
        let builder = ClientBuilder::new(service, namespace);
        let client = builder
            .with_layer(&calls::RecorderLayer)
            .with_layer(&TimeoutLayer::new(timeout))
            .build();
        Self { client, timeout }
    }

    /// The limit of one call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The objects of a namespaced kind in one namespace.
    pub fn namespaced<K>(&self, namespace: &str) -> Objects<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + fmt::Debug
            + Send
            + 'static,
    {
        Objects::new(
            Api::namespaced(self.client.clone(), namespace),
            K::kind(&()).into_owned(),
            self.timeout,
        )
    }

    /// The objects of a cluster-wide kind, or of a namespaced one in all namespaces (which can only be listed and watched).
    pub fn all<K>(&self) -> Objects<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        Objects::new(Api::all(self.client.clone()), K::kind(&()).into_owned(), self.timeout)
    }

    /// The objects of a kind in one namespace as they are stored, whether or not this program's type can hold them.
    pub fn stored<K: Resource<DynamicType = ()>>(&self, namespace: &str) -> Objects<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        Objects::new(
            Api::namespaced_with(self.client.clone(), namespace, &resource),
            resource.kind,
            self.timeout,
        )
    }

    /// The objects of a kind known only from discovery. `namespace` is ignored for cluster-wide kinds.
    pub fn dynamic(&self, served: &Served, namespace: &str) -> Objects<DynamicObject> {
        let api = if served.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &served.resource)
        } else {
            Api::all_with(self.client.clone(), &served.resource)
        };
        Objects::new(api, served.resource.kind.clone(), self.timeout)
    }

    /// The kinds that the API server serves; two requests.
    pub async fn discover(&self) -> Result<Discovery, Error> {
        Discovery::read(self).await
    }
}
