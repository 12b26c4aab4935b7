//! A request as pages see it, and the effects of an answer on cookies. The guard provides the one
//! and carries out the other.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};

use super::auth::{Account, BrowserVisit, Flow, UserIdentity, UserRole};
use super::fields::Fields;
use super::problem::Problem;

/// The name of the field with the token of our forms.
pub(super) const CSRF: &str = "csrf";

/// A request as pages see it.
#[derive(Clone)]
pub(super) struct PageContext {
    pub(super) visit: BrowserVisit,
    pub(super) theme: Theme,
    /// The message of the previous page.
    pub(super) flash: Option<String>,
    /// The page's address, for the way back.
    pub(super) here: String,
}

impl PageContext {
    /// The user. Pages that need one are never called without.
    pub(super) fn who(&self) -> Result<&UserIdentity, Problem> {
        self.visit.identity.as_ref().ok_or_else(|| Problem::forbidden("Nobody is logged in."))
    }

    /// Whether action buttons are shown.
    pub(super) fn may_act(&self) -> bool {
        self.visit.identity.as_ref().is_some_and(|who| who.role == UserRole::Operator)
    }
}

impl<S: Sync> FromRequestParts<S> for PageContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let unseen = || Problem::forbidden("The request did not come through the guard.");
        parts.extensions.get::<Self>().cloned().ok_or_else(unseen)
    }
}

/// The fields of a form.
#[derive(Clone)]
pub(super) struct Form(pub(super) Fields);

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let none = || Problem::bad("There is no form.");
        parts.extensions.get::<Self>().cloned().ok_or_else(none)
    }
}

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Theme {
    /// The system's setting.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// An effect of an answer on the browser's cookies.
#[derive(Clone)]
pub(super) enum Effect {
    /// The next page shows this message.
    Flash(String),
    Theme(Theme),
    /// A login begins at the OpenID provider.
    AskProvider(Flow),
    LogIn(Account),
    LogOut,
}

impl Effect {
    /// An answer that redirects to another page.
    pub(super) fn and_go(self, to: &str) -> Response {
        let mut response = Redirect::to(to).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
