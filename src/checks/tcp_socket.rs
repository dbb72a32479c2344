//! `tcpSocket`: a TCP connection to a Service of the sandbox opens.

use super::service::{self, Trouble};
use super::{Context, Verdict, dial, locate, retry};
use crate::api::{Check, TcpSocketCheck};

/// Runs the check.
pub(super) async fn run(context: &Context<'_>, check: &Check, spec: &TcpSocketCheck) -> Verdict {
    let sandbox = locate::by_service(context, check.namespace.as_deref(), &spec.service).await?;
    let to = format!("{}:{}", spec.service, service::show(&spec.port));
    retry(context, spec.retries, async || {
        let addresses = service::find(context, &sandbox.name, &spec.service, &spec.port).await?;
        match dial::connect(&addresses, spec.timeout.0).await {
            Ok(()) => Ok(format!("TCP connection to {to} opened")),
            Err(error) => Err(Trouble::Passing(format!("{to}: {error}"))),
        }
    })
    .await
}
