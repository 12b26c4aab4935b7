//! Bodies that report when a connection waits for its peer: until the request has arrived in full,
//! and after the whole response was handed over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connections::Connection;

/// The body of a request.
pub(super) struct RequestBody {
    incoming: Incoming,
    connection: Arc<Connection>,
}

impl RequestBody {
    pub(super) const fn new(incoming: Incoming, connection: Arc<Connection>) -> Self {
        Self { incoming, connection }
    }
}

impl Body for RequestBody {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if self.incoming.is_end_stream() || matches!(frame, Poll::Ready(None)) {
            self.connection.works();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The body of a response. It is dropped when nothing more is taken from it.
pub(super) struct ResponseBody {
    body: axum::body::Body,
    connection: Arc<Connection>,
}

impl ResponseBody {
    pub(super) const fn new(body: axum::body::Body, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl Body for ResponseBody {
    type Data = <axum::body::Body as Body>::Data;
    type Error = <axum::body::Body as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.connection.waits();
    }
}
