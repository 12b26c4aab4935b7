//! The live parts: what a page shows of itself, sent anew whenever it changes.
//!
//! A stream ends when its reader's login does, when the console stops, and after a while in any case:
//! the browser then asks again, and is looked at again. It keeps no login alive.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::Web;
use super::auth::BrowserVisit;
use super::page_context::PageContext;
use super::pages;

/// Streams at once.
pub(super) const STREAMS_MAX: usize = 100;
/// How long a stream lasts.
const STREAM_TTL: Duration = Duration::from_secs(60);
/// How often a part is sent at most.
const EVENT_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a stream ends after its reader's login.
const LOGIN_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How old the count of dead letters may be on a page that is looked at.
const LETTERS_TIMEOUT: Duration = Duration::from_secs(10);

/// The overview's.
pub(super) async fn overview(State(web): State<Arc<Web>>, seen: PageContext) -> Response {
    let changes = web.watcher.changes();
    answer(&web, seen.visit, changes, |web, _| {
        web.letters.keep_within(LETTERS_TIMEOUT);
        Some(pages::overview::part(web))
    })
}

/// The bulk action's. It ends with the action.
pub(super) async fn bulk(State(web): State<Arc<Web>>, seen: PageContext) -> Response {
    let changes = web.bulk.changes();
    answer(&web, seen.visit, changes, |_, running| {
        running.as_ref().filter(|running| running.is_running()).map(pages::bulk::part)
    })
}

/// What to do when a part is at its end.
fn answer<T: Clone + Send + Sync + 'static>(
    web: &Arc<Web>,
    visit: BrowserVisit,
    changes: watch::Receiver<T>,
    part: impl Fn(&Web, &T) -> Option<String> + Send + Sync + Clone + 'static,
) -> Response {
    let Ok(turn) = Arc::clone(&web.streams).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let reader = Reader {
        web: Arc::clone(web),
        visit,
        changes,
        part,
        until: Instant::now() + STREAM_TTL,
        first: true,
        ended: false,
        _turn: turn,
    };
    Sse::new(events(reader))
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

struct Reader<T, F> {
    web: Arc<Web>,
    /// Whose it is.
    visit: BrowserVisit,
    changes: watch::Receiver<T>,
    part: F,
    until: Instant,
    first: bool,
    ended: bool,
    _turn: OwnedSemaphorePermit,
}

impl<T, F> Reader<T, F> {
    /// Waits until there is something new. None at the end of the stream.
    async fn changed(&mut self) -> Option<()> {
        let shutdown = self.web.shutdown.clone().wait();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                changed = self.changes.changed() => {
                    changed.ok()?;
                    break;
                }
                () = tokio::time::sleep(LOGIN_CHECK_INTERVAL) => {}
                () = tokio::time::sleep_until(self.until) => return None,
                () = &mut shutdown => return None,
            }
            if !self.web.door.is_still_in(&self.visit) {
                return None;
            }
        }
        tokio::time::sleep(EVENT_INTERVAL).await;
        self.web.door.is_still_in(&self.visit).then_some(())
    }
}

fn events<T, F>(reader: Reader<T, F>) -> impl Stream<Item = Result<Event, Infallible>>
where
    T: Clone + Send + Sync + 'static,
    F: Fn(&Web, &T) -> Option<String> + Send + 'static,
{
    stream::unfold(reader, |mut reader| async move {
        if reader.ended {
            return None;
        }
        if !reader.first {
            reader.changed().await?;
        }
        reader.first = false;
        let value = reader.changes.borrow_and_update().clone();
        let event = match (reader.part)(&reader.web, &value) {
            Some(html) => Event::default().event("part").data(html),
            None => {
                reader.ended = true;
                // One without data is not told of.
                Event::default().event("end").data("end")
            }
        };
        Some((Ok(event), reader))
    })
}
