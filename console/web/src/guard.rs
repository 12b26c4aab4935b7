//! The middleware of all requests: it identifies the sender, decides whether the request is
//! admitted, and sets the security headers. No page can skip it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::address::sent_from;
use super::auth::oidc::{BEGIN as OIDC_BEGIN, CALLBACK as OIDC_CALLBACK};
use super::auth::{AccessRefusal, Account, Activity, Cookies, RequestOrigin, UserRole, random};
use super::fields::Fields;
use super::page_context::{CSRF, Effect, Form, PageContext, Theme};
use super::pages;
use super::problem::Problem;

/// The largest form: a selection of a page's dead letters is far smaller.
const FORM_BYTES_MAX: usize = 1 << 20;
/// The largest form of an anonymous visitor.
const LOGIN_BYTES_MAX: usize = 16 * 1_024;
/// The longest return address of a login, which is part of the form.
const NEXT_BYTES_MAX: usize = 4 * 1_024;
/// The most fields of a form.
const FORM_FIELDS_MAX: usize = 1_000;
/// The timeout of a form.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// Paths for everybody.
const PUBLIC: [&str; 4] = ["/login", OIDC_BEGIN, OIDC_CALLBACK, HEALTH];
const HEALTH: &str = "/healthz";
const PUBLIC_FOLDER: &str = "/assets/";
/// Paths that change only the browser's own state, so that every visitor may use them.
const FOR_EVERYBODY: [&str; 3] = ["/login", "/logout", "/theme"];
/// The field in the address that a console without users prints.
pub(super) const LOCAL_TOKEN: &str = "token";
/// Live parts: requested by a script, not by a person.
const LIVE: &str = "/live/";

/// Admits requests of authorized senders, and refuses the others.
pub(super) async fn guard(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let peer = peer.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    let by_person = is_by_person(request.uri().path());
    let activity = if by_person { Activity::Click } else { Activity::Background };
    let mut cookies = web.door.cookies(request.headers());
    let (version, headers) = (request.version(), request.headers());
    let arrival = RequestOrigin { peer, version, headers, activity };
    let mut response = match web.door.visit(arrival, &cookies) {
        Err(refusal) => turned_away(&refusal),
        Ok(visit) => {
            let shows_flash = by_person && is_safe(request.method());
            let seen = PageContext {
                flash: if shows_flash { cookies.take_flash() } else { None },
                theme: cookies.theme().map_or(Theme::System, |name| Theme::from_name(&name)),
                here: here(&request),
                visit,
            };
            let response = let_through(&web, &seen, request, next).await;
            if by_person && seen.visit.is_new {
                cookies.set_id(&seen.visit.id);
            }
            affect(&web, &seen, &mut cookies, response)
        }
    };
    cookies.write(response.headers_mut());
    protect(response.headers_mut(), web.door.is_https());
    response
}

async fn let_through(web: &Arc<Web>, seen: &PageContext, request: Request, next: Next) -> Response {
    let response = match admit(web, seen, request).await {
        Ok(request) => next.run(request).await,
        Err(response) => response,
    };
    match response.extensions().get::<Problem>() {
        Some(problem) if !is_live(&seen.here) => pages::problem(web, seen, problem),
        _ => response,
    }
}

/// The request for the page, or why it is refused.
async fn admit(web: &Arc<Web>, seen: &PageContext, request: Request) -> Result<Request, Response> {
    let path = request.uri().path().to_owned();
    if let Some(response) = by_printed_address(web, seen, &request) {
        return Err(response);
    }
    if is_public(&path) && is_safe(request.method()) {
        return Ok(with(request, seen));
    }
    let Some(who) = &seen.visit.identity else {
        return if path == "/login" {
            with_form(web, seen, request).await
        } else {
            Err(ask_to_log_in(web, seen, request.method(), &path))
        };
    };
    if is_safe(request.method()) {
        return Ok(with(request, seen));
    }
    let request = with_form(web, seen, request).await?;
    if who.role < UserRole::Operator && !FOR_EVERYBODY.contains(&path.as_str()) {
        web.record.refuse_action(&who.name, seen.visit.address, &path);
        let text = format!(
            "{} is a viewer. Nothing was done. An operator may do this; whoever runs the console \
             makes operators.",
            who.name
        );
        return Err(Problem::forbidden(text).or_go("Back", seen.here.clone()).into_response());
    }
    Ok(request)
}

/// The answer to the address that a console without users has printed: a redirect to the same page
/// without the token, which may then be kept and shared.
fn by_printed_address(web: &Web, seen: &PageContext, request: &Request) -> Option<Response> {
    if !web.door.is_local() || request.method() != Method::GET || request.uri().path() != "/" {
        return None;
    }
    let query = Fields::parse(request.uri().query().unwrap_or_default().as_bytes());
    let token = query.get(LOCAL_TOKEN)?;
    if seen.visit.identity.is_some() {
        return Some(Redirect::to("/").into_response());
    }
    let account = web.door.redeem(token)?;
    tracing::info!("logged in by the printed address");
    Some(Effect::LogIn(account).and_go("/"))
}

fn with(mut request: Request, seen: &PageContext) -> Request {
    request.extensions_mut().insert(seen.clone());
    request
}

/// The request with the fields of its form, if it is one of ours.
async fn with_form(web: &Web, seen: &PageContext, request: Request) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    let refused = |refusal| turned_away_from(&refusal, seen);
    web.door.check_sender(&seen.visit, &parts.headers).map_err(refused)?;
    let bytes_max = if seen.visit.identity.is_some() { FORM_BYTES_MAX } else { LOGIN_BYTES_MAX };
    let fields = fields_of(body, bytes_max).await?;
    web.door.check_csrf(&seen.visit, fields.get(CSRF)).map_err(refused)?;
    let mut request = with(Request::from_parts(parts, Body::empty()), seen);
    request.extensions_mut().insert(Form(fields));
    Ok(request)
}

async fn fields_of(body: Body, bytes_max: usize) -> Result<Fields, Response> {
    let too_much = || {
        let text = "The form is too large. Nothing was done.";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Too much at once", text).into_response()
    };
    let read = tokio::time::timeout(FORM_TIMEOUT, to_bytes(body, bytes_max)).await;
    let body = read.map_err(|_| {
        let text = "The form did not come in time. Nothing was done.";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "Too slow", text).into_response()
    })?;
    let body = body.map_err(|_| too_much())?;
    if body.iter().filter(|byte| **byte == b'&').count() >= FORM_FIELDS_MAX {
        return Err(too_much());
    }
    Ok(Fields::parse(&body))
}

fn ask_to_log_in(web: &Web, seen: &PageContext, method: &Method, path: &str) -> Response {
    if is_live(path) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if web.door.is_local() {
        let text = "This console admits whoever opens the address that it has printed in its terminal. \
                    Each of them is good for one browser; then another one is printed.";
        let title = "Open the address that the console has printed";
        return Problem::new(StatusCode::FORBIDDEN, title, text).into_response();
    }
    if !web.door.has_login() {
        let text = "The proxy in front of this console did not identify you. Log in there, or ask \
                    whoever runs it.";
        return Problem::forbidden(text).into_response();
    }
    let next = if seen.here.len() <= NEXT_BYTES_MAX { seen.here.as_str() } else { path };
    let query = Fields::default().address("/login", &[("next", next)]);
    if is_safe(method) {
        return Redirect::to(&query).into_response();
    }
    let text = "Your session has ended, so nothing was done. Log in and try again.";
    Effect::Flash(text.to_owned()).and_go(&query)
}

/// Applies an answer's effects to the cookies.
fn affect(
    web: &Web,
    seen: &PageContext,
    cookies: &mut Cookies<'_>,
    mut response: Response,
) -> Response {
    match response.extensions_mut().remove::<Effect>() {
        None => {}
        Some(Effect::Flash(text)) => cookies.set_flash(&text),
        Some(Effect::Theme(theme)) => cookies.set_theme(theme.as_str()),
        Some(Effect::AskProvider(flow)) => cookies.set_flow(&flow),
        Some(Effect::LogIn(account)) => {
            // A new id, so that an injected one is worthless.
            web.door.log_out(&seen.visit.id);
            if let Account::User { name, mark } = &account {
                cookies.set_device(name, mark);
            }
            web.record.log_in(&account, seen.visit.address);
            cookies.end_flow();
            cookies.set_id(&web.door.log_in(account));
        }
        Some(Effect::LogOut) => {
            if let Some(who) = &seen.visit.identity {
                web.record.log_out(&who.name, seen.visit.address);
            }
            web.door.log_out(&seen.visit.id);
            cookies.set_id(&random());
        }
    }
    response
}

/// The page of a person: the requested one, or the one with the form.
fn here(request: &Request) -> String {
    if is_safe(request.method()) {
        return request.uri().to_string();
    }
    sent_from(request.headers())
}

/// Whether a method changes nothing. Pages have these two; `Method::is_safe` includes others.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path) || path.starts_with(PUBLIC_FOLDER)
}

/// Whether a person makes the request: for a page, or by a form. Other requests come from scripts,
/// pages and health checks; they get no cookie and keep no login alive.
fn is_by_person(path: &str) -> bool {
    !is_live(path) && path != HEALTH && !path.starts_with(PUBLIC_FOLDER)
}

fn is_live(path: &str) -> bool {
    path.starts_with(LIVE)
}

fn turned_away(refusal: &AccessRefusal) -> Response {
    let text = match refusal {
        AccessRefusal::Host => {
            "This console answers on this machine's own names only (localhost, 127.0.0.1). If a proxy \
             stands before it, give its address as console.public_url.\n"
        }
        AccessRefusal::Forwarded => {
            "This console is for the one who has started it, and a proxy sent this request. For others, \
             make users (evergrant console user add NAME) and give the address that they type as \
             console.public_url.\n"
        }
        AccessRefusal::Users(error) => {
            tracing::error!(%error, "logins are impossible: the users file cannot be used");
            "Logins are impossible: the users file cannot be used. The console's log says why.\n"
        }
        AccessRefusal::Origin | AccessRefusal::Csrf => "This form comes from another site.\n",
    };
    (StatusCode::FORBIDDEN, text).into_response()
}

fn turned_away_from(refusal: &AccessRefusal, seen: &PageContext) -> Response {
    let (title, text) = match refusal {
        AccessRefusal::Origin => (
            "This form comes from another site",
            "Nothing was done. If that was you, open the console itself. If a proxy stands before it, \
             set console.public_url to its address.",
        ),
        _ => (
            "This form is out of date",
            "Nothing was done. The page is older than your login or than the console's process, or the \
             browser keeps no cookies. Load the page again and repeat what you did.",
        ),
    };
    let problem = Problem::new(StatusCode::FORBIDDEN, title, text);
    problem.or_go("Load the page again", seen.here.clone()).into_response()
}

/// Security headers that protect the reader of a page.
fn protect(headers: &mut HeaderMap, is_https: bool) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                          connect-src 'self'; form-action 'self'; base-uri 'none'; \
                          frame-ancestors 'none'";
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_https {
        let a_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, a_year);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
