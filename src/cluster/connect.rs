//! Connections to the API server. kube's own are the same but for what is set here: a peer that is gone without a word, as when a node
//! of the control plane loses its power, must show within seconds, or every connection of the pool costs one attempt.

use std::time::Duration;

use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};

use super::calls;

/// Before the first probe on a silent connection, and between probes.
const KEEPALIVE: Duration = Duration::from_secs(10);
const BETWEEN_PROBES: Duration = Duration::from_secs(5);
/// So many probes without an answer end it.
const PROBES: u32 = 3;
/// What was sent must be acknowledged within this.
const ACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A connection is made within this, or tried again.
const CONNECT: Duration = Duration::from_secs(5);

/// A client that waits for the head of an answer no longer than `timeout`.
pub(super) fn client(config: Config, timeout: Duration) -> kube::Result<Client> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(BETWEEN_PROBES));
    connector.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(ACKNOWLEDGED));
    let https = config.rustls_https_connector_with_connector(connector)?;
    let hyper: hyper_util::client::legacy::Client<_, Body> = Builder::new(TokioExecutor::new()).build(https);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::server_retry()))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper);
    Ok(ClientBuilder::new(service, config.default_namespace)
        .with_layer(&calls::RecorderLayer)
        .with_layer(&TimeoutLayer::new(timeout))
        .build())
}
