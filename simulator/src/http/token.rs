//! `POST /token`: the provider's answer, or the lack of one, on the wire.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures::StreamExt;
use futures::stream;

use super::{App, Connection};
use crate::oauth::{Refusal, Reply, refused};
use crate::provider::{Delivery, RawRequest};
use crate::stats::AnswerKind;

/// The largest request, in bytes: room for a token of a megabyte, every byte of it escaped.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Answers a request for new tokens.
pub(crate) async fn token(
    State(app): State<App>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let provider = &app.handle.provider;
    let in_flight = provider.counters.begin();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        provider.counters.answered(AnswerKind::InvalidRequest);
        in_flight.finish();
        return respond(refused(Refusal::InvalidRequest("the body cannot be read")));
    };
    let headers: Vec<_> = parts.headers.iter().map(text).collect();
    let answer = provider.answer(RawRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &body,
    });
    if answer.latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(answer.latency_ms)).await;
    }
    let response = match answer.delivery {
        Delivery::Reply(reply) => {
            provider.replied(answer.grant);
            respond(reply)
        }
        Delivery::Truncated(reply) => truncated(reply),
        Delivery::Reset => reset(&connection),
        Delivery::Silence { hold_s } => {
            // Ends early when the client goes away: then this future is dropped.
            let hold = tokio::time::sleep(Duration::from_secs(hold_s));
            tokio::select! {
                () = hold => {}
                () = app.stop.cancelled() => {}
            }
            reset(&connection)
        }
    };
    in_flight.finish();
    response
}

/// A header as text. One that is not text is as good as a wrong one.
fn text<'a>((name, value): (&'a HeaderName, &'a HeaderValue)) -> (&'a str, &'a str) {
    (name.as_str(), value.to_str().unwrap_or(""))
}

pub(super) fn respond(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::try_from(reply.content_type.as_ref()) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if reply.challenge {
        let challenge = HeaderValue::from_static("Basic realm=\"evergrant-simulator\"");
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(value) = reply.retry_after.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(RETRY_AFTER, value);
    }
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

/// All of the headers and half of the body, then the end of the connection.
fn truncated(mut reply: Reply) -> Response {
    let promised = reply.body.len();
    let half = Bytes::from(reply.body.drain(..promised / 2).collect::<Vec<_>>());
    let mut response = respond(reply);
    let failure = stream::once(async {
        // What was written is flushed while this is pending.
        tokio::task::yield_now().await;
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
    });
    let body = stream::once(async { Ok(half) }).chain(failure);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(promised));
    *response.body_mut() = Body::from_stream(body);
    response
}

/// Breaks the connection. The response is what makes hyper write, and so fail.
fn reset(connection: &Connection) -> Response {
    connection.reset();
    Response::new(Body::empty())
}
