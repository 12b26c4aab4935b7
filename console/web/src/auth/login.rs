//! The login page, logging in and logging out.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::SecretString;

use super::oidc;
use super::password_queue::QueueFull;
use super::session::Account;
use super::users::{ConsoleUser, PASSWORD_MAX, UserName};
use crate::Web;
use crate::address::local;
use crate::fields::{Fields, Query};
use crate::page_context::{Effect, Form, PageContext};
use crate::page_layout::{Nav, PageLayout, html};
use crate::problem::Problem;

/// What is said after as many attempts as there may be.
pub(super) const TOO_MANY: &str = "Too many attempts.";

/// The page.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct Login {
    frame: PageLayout,
    /// Where to go after the login.
    next: String,
    /// Whether there are users with passwords.
    has_passwords: bool,
    /// Where a login with the OpenID provider begins, and its label.
    oidc: Option<(String, String)>,
    name: String,
    error: Option<String>,
    /// Whether the password can be read on its way.
    overheard: bool,
}

impl Login {
    pub(super) fn new(web: &Web, seen: &PageContext, headers: &HeaderMap, next: &str) -> Self {
        let frame = PageLayout::new(web, seen, "Log in", Nav::None);
        let next = local(next).unwrap_or("/").to_owned();
        let overheard = web.door.is_overheard(headers);
        let has_passwords = web.door.users().is_some();
        let begin = || Fields::default().address(oidc::BEGIN, &[("next", &next)]);
        let oidc = web.door.oidc().map(|oidc| (begin(), oidc.label().to_owned()));
        Self { frame, next, has_passwords, oidc, name: String::new(), error: None, overheard }
    }

    /// The page again, with the reason for the refusal.
    pub(super) fn refused(mut self, status: StatusCode, why: &str) -> Result<Response, Problem> {
        self.error = Some(why.to_owned());
        Ok((status, html(&self)?).into_response())
    }

    /// The page again, after too many attempts.
    pub(super) fn too_many(self, wait: Duration) -> Result<Response, Problem> {
        self.later(StatusCode::TOO_MANY_REQUESTS, TOO_MANY, wait)
    }

    /// The page again, with the time of the next attempt.
    fn later(self, status: StatusCode, why: &str, wait: Duration) -> Result<Response, Problem> {
        let seconds = wait.as_secs() + 1;
        let page = self.refused(status, &format!("{why} Try again in {seconds} s."))?;
        Ok(([(header::RETRY_AFTER, seconds.to_string())], page).into_response())
    }
}

pub(crate) async fn page(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    headers: HeaderMap,
    Query(query): Query,
) -> Result<Response, Problem> {
    let next = query.get("next").unwrap_or("/");
    if !web.door.has_login() || seen.visit.identity.is_some() {
        return Ok(Redirect::to(local(next).unwrap_or("/")).into_response());
    }
    html(&Login::new(&web, &seen, &headers, next))
}

pub(crate) async fn log_in(
    State(web): State<Arc<Web>>,
    seen: PageContext,
    headers: HeaderMap,
    Form(form): Form,
) -> Result<Response, Problem> {
    let Some(file) = web.door.users() else {
        return Err(Problem::not_found("This console has no logins."));
    };
    let name = form.get("name").unwrap_or_default().trim().to_owned();
    let password = SecretString::from(form.get("password").unwrap_or_default());
    let mut page = Login::new(&web, &seen, &headers, form.get("next").unwrap_or("/"));
    page.name.clone_from(&name);
    let all = file.users().map_err(|error| {
        tracing::error!(%error, "logins are impossible: the users file cannot be used");
        Problem::new(StatusCode::FORBIDDEN, "Logins are impossible", "The console's log says why.")
    })?;
    let known: Option<UserName> = name.parse().ok().filter(|name| all.contains_key(name));
    let user: Option<ConsoleUser> = known.as_ref().and_then(|name| all.get(name)).cloned();
    let mark = user.as_ref().map(ConsoleUser::password_mark);
    let account = known.zip(mark);
    let is_known_device = account
        .as_ref()
        .is_some_and(|(name, mark)| web.door.cookies(&headers).is_device_of(name, mark));
    let known_name = account.as_ref().map(|(name, _)| name.as_str());
    if let Err(wait) = web.door.limits.check(seen.visit.address, &name, is_known_device) {
        web.record.refuse_login(known_name, seen.visit.address, TOO_MANY);
        return page.too_many(wait);
    }
    let fits = form.get("password").is_some_and(|password| password.len() <= PASSWORD_MAX);
    let right = if fits {
        match web.door.passwords.is_right(user, password, is_known_device).await {
            Ok(right) => right,
            Err(QueueFull) => {
                let words = "Too many logins right now.";
                return page.later(StatusCode::SERVICE_UNAVAILABLE, words, QueueFull::RETRY_AFTER);
            }
        }
    } else {
        false
    };
    let address = seen.visit.address;
    match &account {
        Some((user, mark)) if right => {
            tracing::info!(%user, %address, "logged in");
            let account = Account::User { name: user.clone(), mark: mark.clone() };
            Ok(Effect::LogIn(account).and_go(&page.next))
        }
        _ => {
            // An unknown name may be a password.
            tracing::warn!(user = known_name.unwrap_or("unknown"), %address, "a login failed");
            let wrong = "The name or the password is wrong.";
            web.record.refuse_login(known_name, address, wrong);
            page.refused(StatusCode::UNAUTHORIZED, wrong)
        }
    }
}

pub(crate) async fn log_out(Form(_): Form) -> Response {
    Effect::LogOut.and_go("/login")
}
