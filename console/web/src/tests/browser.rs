//! A browser for tests: cookies, forms and redirects.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use tower::ServiceExt;
use url::form_urlencoded;

use super::{Console, PASSWORD};
use crate::router;

pub(super) struct Browser<'a> {
    console: &'a Console,
    pub(super) cookies: BTreeMap<String, String>,
    pub(super) address: Ipv4Addr,
    /// The token in the forms of the last page.
    pub(super) csrf: String,
}

pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Page {
    /// The target of the redirect.
    pub(super) fn leads_to(&self) -> &str {
        self.headers.get(header::LOCATION).map_or("", |to| to.to_str().unwrap())
    }
}

impl<'a> Browser<'a> {
    pub(super) fn new(console: &'a Console) -> Self {
        let address = Ipv4Addr::LOCALHOST;
        Self { console, cookies: BTreeMap::new(), address, csrf: String::new() }
    }

    /// A browser that has opened the address that a console without users prints.
    pub(super) async fn local(console: &'a Console) -> Self {
        let mut browser = Self::new(console);
        let word = console.web.door.local_tokens().unwrap().borrow().clone();
        let page = browser.get(&format!("/?token={word}")).await;
        assert_eq!((page.status, page.leads_to()), (StatusCode::SEE_OTHER, "/"), "{}", page.body);
        browser
    }

    /// A browser that is logged in.
    pub(super) async fn signed_in(console: &'a Console, name: &str) -> Self {
        let mut browser = Self::new(console);
        let page = browser.log_in(name, PASSWORD).await;
        assert_eq!((page.status, page.leads_to()), (StatusCode::SEE_OTHER, "/"), "{}", page.body);
        browser.get("/workers").await;
        browser
    }

    pub(super) async fn log_in(&mut self, name: &str, password: &str) -> Page {
        if self.csrf.is_empty() {
            self.get("/login").await;
        }
        self.post("/login", &[("name", name), ("password", password)]).await
    }

    pub(super) async fn get(&mut self, path: &str) -> Page {
        self.send(self.request(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form with the token of the last page's forms.
    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf.clone();
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf.as_str())]).collect();
        self.post_exactly(path, &fields).await
    }

    pub(super) async fn post_exactly(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request =
            self.request(path).method("POST").header(header::ORIGIN, "http://localhost:8480");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// A stream's events, as they arrive.
    pub(super) async fn open(&self, path: &str) -> axum::body::BodyDataStream {
        let request = self.request(path).body(Body::empty()).unwrap();
        let response = router(self.console.web.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.into_body().into_data_stream()
    }

    fn request(&self, path: &str) -> axum::http::request::Builder {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Request::builder()
            .uri(path)
            .header(header::HOST, "localhost:8480")
            .header(header::COOKIE, cookies.join("; "))
            .extension(ConnectInfo(SocketAddr::from((self.address, 50_000))))
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Page {
        let response = router(self.console.web.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.to_str().unwrap().starts_with("text/event-stream"));
        let body = if is_stream {
            use futures::StreamExt;
            // The first event: a stream has no end.
            let first = response.into_body().into_data_stream().next().await;
            first.map(|bytes| bytes.unwrap().to_vec()).unwrap_or_default()
        } else {
            to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
        };
        for cookie in headers.get_all(header::SET_COOKIE) {
            let cookie = cookie::Cookie::parse(cookie.to_str().unwrap().to_owned()).unwrap();
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                self.cookies.remove(cookie.name());
            } else {
                self.cookies.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
        let body = String::from_utf8(body).unwrap();
        if let Some((_, rest)) = body.split_once("name=\"csrf\" value=\"") {
            self.csrf = rest.split('"').next().unwrap_or_default().to_owned();
        }
        Page { status, headers, body }
    }
}
