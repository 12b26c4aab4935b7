//! Problems: why a page or an action is not available.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evergrant_ports::{QueueError, StoreError};

use evergrant_operations::letters::LettersError;
use evergrant_operations::operator::ActionError;

/// Why a page or an action is not available, and what to do. The guard makes a page of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) text: String,
    /// Where to go next: labels and addresses.
    pub(super) next: Vec<(String, String)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &str, text: impl Into<String>) -> Self {
        Self { status, title: title.to_owned(), text: text.into(), next: Vec::new() }
    }

    /// Adds a link.
    pub(super) fn or_go(mut self, words: &str, address: impl Into<String>) -> Self {
        self.next.push((words.to_owned(), address.into()));
        self
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such page", text)
    }

    /// An invalid request; nothing was done.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "That is not possible", text)
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "You are not allowed to do that", text)
    }

    /// Another bulk action runs.
    pub(super) fn busy(running: Option<String>) -> Self {
        let text = format!(
            "{} Wait for its end or cancel it; nothing else was started.",
            running.unwrap_or_else(|| "Another bulk action is under way.".to_owned())
        );
        Self::new(StatusCode::CONFLICT, "One at a time", text)
            .or_go("Show its progress", "/dead-letters/bulk")
    }

    /// The token store does not answer.
    pub(super) fn store_away(why: &str) -> Self {
        Self::away("token store", &why, false)
    }

    /// The token store already handles the maximum of queries.
    pub(super) fn store_busy() -> Self {
        let text = "It is still busy with other requests. Try again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The token store is busy", text)
    }

    fn away(what: &str, error: &impl std::fmt::Display, refuses: bool) -> Self {
        if refuses {
            let title = format!("The {what} refuses");
            return Self::new(StatusCode::BAD_GATEWAY, &title, error.to_string());
        }
        let title = format!("The {what} does not answer");
        let text =
            format!("{error}. Nothing was changed as far as is known; try again in a moment.");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, &title, text)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let refuses = matches!(error, StoreError::Refused { .. });
        Self::away("token store", &error, refuses)
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let refuses = matches!(error, QueueError::Refused { .. } | QueueError::Mismatch { .. });
        Self::away("broker", &error, refuses)
    }
}

impl From<LettersError> for Problem {
    fn from(error: LettersError) -> Self {
        match error {
            LettersError::Store(error) => error.into(),
            LettersError::Queue(error) => error.into(),
            LettersError::UnknownProvider { .. } => Self::bad(error.to_string()),
        }
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Store(error) => error.into(),
            ActionError::Queue(error) => error.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
