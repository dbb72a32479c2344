//! What a proxy in trouble answers by itself. Word for word what API servers and load balancers say.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::json;

use crate::draw::{Fault, Kind};
use crate::forward::Body;

/// The answer of a fault that needs no API server; `None` for the others.
pub(crate) fn of(fault: Fault) -> Option<Response<Body>> {
    let coin = fault.coin();
    Some(match fault.kind {
        Kind::Conflict => status(
            StatusCode::CONFLICT,
            "Conflict",
            "Operation cannot be fulfilled on objects \"x\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        Kind::Busy => {
            let mut answer = if coin {
                status(
                    StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequests",
                    "The server has received too many requests and has asked us to try again later",
                )
            } else {
                text(
                    StatusCode::TOO_MANY_REQUESTS,
                    "text/plain; charset=utf-8",
                    "Too many requests, please try again later.\n",
                )
            };
            if fault.between(0, 1).as_millis() == 1 {
                answer
                    .headers_mut()
                    .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            answer
        }
        Kind::Error => status(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "Internal error occurred: etcdserver: leader changed",
        ),
        Kind::Unavailable => status(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            "apiserver not ready",
        ),
        Kind::Garbage if coin => text(StatusCode::OK, "text/plain", "OK\n"),
        Kind::Garbage => text(
            StatusCode::OK,
            "text/html",
            "<html><body>Please sign in to use this network.</body></html>\n",
        ),
        Kind::Html => text(
            StatusCode::BAD_GATEWAY,
            "text/html",
            "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>\r\n",
        ),
        Kind::Close
        | Kind::Lost
        | Kind::Delay
        | Kind::Cut
        | Kind::Stall
        | Kind::Dead
        | Kind::Hang
        | Kind::Truncated => return None,
    })
}

fn status(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16()});
    text(code, "application/json", &body.to_string())
}

fn text(code: StatusCode, kind: &'static str, body: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    answer
}
