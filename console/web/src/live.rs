//! The live parts of pages, sent again whenever they change (server-sent events).
//!
//! A stream ends with its reader's login, with the console, and after a time in any case: the
//! browser then reconnects, and its access is checked again. It keeps no login alive.

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

/// The most concurrent streams.
pub(super) const STREAMS_MAX: usize = 100;
/// The longest duration of a stream.
const STREAM_TTL: Duration = Duration::from_secs(60);
/// The shortest interval between two events.
const EVENT_INTERVAL: Duration = Duration::from_millis(500);
/// How soon a stream ends after its reader's login.
const LOGIN_CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// How old the count of dead letters may be on a page that is viewed.
const LETTERS_TIMEOUT: Duration = Duration::from_secs(10);

/// The live part of the overview.
pub(super) async fn overview(State(web): State<Arc<Web>>, seen: PageContext) -> Response {
    let changes = web.watcher.changes();
    answer(&web, seen.visit, changes, |web, _| {
        web.letters.keep_within(LETTERS_TIMEOUT);
        Some(pages::overview::part(web))
    })
}

/// The live part of the bulk action. It ends with the action.
pub(super) async fn bulk(State(web): State<Arc<Web>>, seen: PageContext) -> Response {
    let changes = web.bulk.changes();
    answer(&web, seen.visit, changes, |_, running| {
        running.as_ref().filter(|running| running.is_running()).map(pages::bulk::part)
    })
}

/// What to do when a part has ended.
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
    /// The visit that it belongs to.
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
                // Browsers ignore an event without data.
                Event::default().event("end").data("end")
            }
        };
        Some((Ok(event), reader))
    })
}
