//! The layout of all pages.

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Web;
use super::auth::UserIdentity;
use super::format;
use super::page_context::{PageContext, Theme};
use super::problem::Problem;

/// A page's place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    Overview,
    DeadLetters,
    Tokens,
    Providers,
    Workers,
    Audit,
    None,
}

impl Nav {
    /// All places, in order.
    pub(super) const ALL: [Self; 6] = [
        Self::Overview,
        Self::DeadLetters,
        Self::Tokens,
        Self::Providers,
        Self::Workers,
        Self::Audit,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::DeadLetters => "Dead letters",
            Self::Tokens => "Tokens",
            Self::Providers => "Providers",
            Self::Workers => "Workers",
            Self::Audit => "Audit",
            Self::None => "",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Overview | Self::None => "/",
            Self::DeadLetters => "/dead-letters",
            Self::Tokens => "/tokens",
            Self::Providers => "/providers",
            Self::Workers => "/workers",
            Self::Audit => "/audit",
        }
    }
}

/// An item of the navigation.
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// The key for it, after a `g`.
    pub(super) key: char,
    pub(super) current: bool,
    pub(super) count: Option<String>,
}

/// The layout of all pages.
pub(super) struct PageLayout {
    pub(super) title: String,
    pub(super) nav: Nav,
    pub(super) who: Option<UserIdentity>,
    /// Whether action buttons are shown.
    pub(super) may_act: bool,
    pub(super) csrf: String,
    pub(super) theme: Theme,
    pub(super) flash: Option<String>,
    /// What is unavailable, since when, and what that means for the page.
    pub(super) alerts: Vec<String>,
    /// The number of dead letters, for the navigation.
    pub(super) dead: Option<u64>,
}

impl PageLayout {
    pub(super) fn new(web: &Web, seen: &PageContext, title: &str, nav: Nav) -> Self {
        let who = seen.visit.identity.clone();
        // A public page reveals nothing.
        let inside = who.is_some();
        Self {
            title: title.to_owned(),
            nav,
            may_act: seen.may_act(),
            csrf: seen.visit.csrf.clone(),
            theme: seen.theme,
            flash: seen.flash.clone(),
            alerts: if inside { web.alerts() } else { Vec::new() },
            dead: web.letters.seen().taken.as_ref().map(|taken| taken.total).filter(|_| inside),
            who,
        }
    }

    /// The navigation.
    pub(super) fn items(&self) -> Vec<Item> {
        let dead = self.dead.filter(|dead| *dead > 0).map(format::number);
        Nav::ALL
            .into_iter()
            .map(|nav| Item {
                name: nav.name(),
                path: nav.path(),
                key: nav.name().chars().next().unwrap_or_default().to_ascii_lowercase(),
                current: nav == self.nav,
                count: dead.clone().filter(|_| nav == Nav::DeadLetters),
            })
            .collect()
    }

    pub(super) const fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The theme that the toggle selects.
    pub(super) const fn next_theme(&self) -> Theme {
        match self.theme {
            Theme::System => Theme::Dark,
            Theme::Dark => Theme::Light,
            Theme::Light => Theme::System,
        }
    }
}

/// Renders a page.
pub(super) fn html(page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        let status = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        Problem::new(status, "The page cannot be shown", "The console's log says why.")
    })?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}
