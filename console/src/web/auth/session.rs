//! Cookies, and who is logged in.
//!
//! Every browser gets an id of its own in a signed cookie. Who logs in gets a new one. The key of the
//! signatures lives as long as the process, so that a restart ends every login.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, CookieJar, Key, SameSite};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::time::Instant;

use super::users::UserName;

/// Holds the id of a browser.
const SESSION: &str = "evergrant_session";
/// Says whose browser this was.
const DEVICE: &str = "evergrant_device";
/// What is said on the next page.
const FLASH: &str = "evergrant_flash";
/// Light or dark, if somebody has chosen.
const THEME: &str = "evergrant_theme";

/// Logins that are remembered; beyond that the one that was used least lately ends.
const MOST_LOGINS: usize = 10_000;
/// How long a browser is known by a user who has logged in there.
const DEVICE_FOR: Duration = Duration::from_secs(90 * 86_400);
/// How long a theme is kept.
const THEME_FOR: Duration = Duration::from_secs(365 * 86_400);
/// A cookie has to fit into a header.
const LONGEST_FLASH: usize = 1_000;

/// Who is logged in, and the key of all signatures.
pub(super) struct Sessions {
    key: Key,
    logins: Mutex<HashMap<String, Login>>,
    lifetime: Duration,
    idle: Duration,
    /// Whether cookies are for TLS only.
    secure: bool,
}

struct Login {
    user: UserName,
    began: Instant,
    seen: Instant,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration, idle: Duration, secure: bool) -> Self {
        Self { key: Key::generate(), logins: Mutex::default(), lifetime, idle, secure }
    }

    /// What a request's cookies say; those that are not signed by us say nothing.
    pub(super) fn cookies(&self, headers: &HeaderMap) -> Cookies<'_> {
        let mut jar = CookieJar::new();
        for header in headers.get_all(header::COOKIE) {
            let Ok(text) = header.to_str() else { continue };
            for cookie in Cookie::split_parse_encoded(text).flatten() {
                jar.add_original(cookie.into_owned());
            }
        }
        Cookies { sessions: self, jar }
    }

    /// Who is logged in with this id. Asking counts as a click.
    pub(super) fn user(&self, id: &str) -> Option<UserName> {
        let mut logins = self.lock();
        let login = logins.get_mut(id)?;
        if !self.is_valid(login) {
            logins.remove(id);
            return None;
        }
        login.seen = Instant::now();
        Some(login.user.clone())
    }

    /// Begins a login under a new id.
    pub(super) fn log_in(&self, user: UserName) -> String {
        let (id, now) = (random(), Instant::now());
        let mut logins = self.lock();
        if logins.len() >= MOST_LOGINS {
            logins.retain(|_, login| self.is_valid(login));
        }
        if logins.len() >= MOST_LOGINS
            && let Some(oldest) =
                logins.iter().min_by_key(|(_, login)| login.seen).map(|(id, _)| id.clone())
        {
            logins.remove(&oldest);
        }
        logins.insert(id.clone(), Login { user, began: now, seen: now });
        id
    }

    pub(super) fn log_out(&self, id: &str) {
        self.lock().remove(id);
    }

    /// What a form of the browser with this id has to bring along.
    pub(super) fn csrf(&self, id: &str) -> String {
        let mac = self.mac(id).finalize().into_bytes();
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a form of the browser with this id brought it along.
    pub(super) fn is_csrf(&self, id: &str, token: &str) -> bool {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(byte).collect();
        bytes.is_some_and(|bytes| self.mac(id).verify_slice(&bytes).is_ok())
    }

    fn mac(&self, id: &str) -> Hmac<Sha256> {
        // The key's other half: what signs cookies signs nothing else. Any length is a key.
        #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.encryption()).expect("a key of any length");
        mac.update(b"csrf\0");
        mac.update(id.as_bytes());
        mac
    }

    fn is_valid(&self, login: &Login) -> bool {
        login.began.elapsed() < self.lifetime && login.seen.elapsed() < self.idle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Login>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 244 bits that nobody can guess.
pub(crate) fn random() -> String {
    let part = || uuid::Uuid::new_v4().simple().to_string();
    part() + &part()
}

/// What a request's cookies say, and what the answer's will.
pub(crate) struct Cookies<'a> {
    sessions: &'a Sessions,
    jar: CookieJar,
}

impl Cookies<'_> {
    /// The browser's id.
    pub(crate) fn id(&self) -> Option<String> {
        self.signed(SESSION)
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        let cookie = self.cookie(SESSION, id.to_owned(), None);
        self.jar.signed_mut(&self.sessions.key).add(cookie);
    }

    /// The name of this browser, if `user` has logged in here before.
    pub(crate) fn device(&self, user: &str) -> Option<String> {
        let value = self.signed(DEVICE)?;
        let (device, owner) = value.split_once(' ')?;
        (owner == user).then(|| device.to_owned())
    }

    pub(crate) fn set_device(&mut self, user: &UserName) {
        let cookie = self.cookie(DEVICE, format!("{} {user}", random()), Some(DEVICE_FOR));
        self.jar.signed_mut(&self.sessions.key).add(cookie);
    }

    /// What is to be said, once.
    pub(crate) fn take_flash(&mut self) -> Option<String> {
        let flash = self.signed(FLASH)?;
        self.jar.remove(self.cookie(FLASH, String::new(), None));
        Some(flash)
    }

    pub(crate) fn set_flash(&mut self, text: &str) {
        let mut end = text.len().min(LONGEST_FLASH);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let cookie = self.cookie(FLASH, text[..end].to_owned(), None);
        self.jar.signed_mut(&self.sessions.key).add(cookie);
    }

    /// Light or dark, if somebody has chosen.
    pub(crate) fn theme(&self) -> Option<String> {
        self.jar.get(THEME).map(|cookie| cookie.value().to_owned())
    }

    pub(crate) fn set_theme(&mut self, theme: &str) {
        let cookie = self.cookie(THEME, theme.to_owned(), Some(THEME_FOR));
        self.jar.add(cookie);
    }

    /// Sets what has changed.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for cookie in self.jar.delta() {
            if let Ok(value) = HeaderValue::from_str(&cookie.encoded().to_string()) {
                headers.append(header::SET_COOKIE, value);
            }
        }
    }

    fn signed(&self, name: &str) -> Option<String> {
        self.jar.signed(&self.sessions.key).get(name).map(|cookie| cookie.value().to_owned())
    }

    fn cookie(
        &self,
        name: &'static str,
        value: String,
        lasts: Option<Duration>,
    ) -> Cookie<'static> {
        let mut cookie = Cookie::build((name, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.sessions.secure)
            .build();
        if let Some(lasts) = lasts {
            let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
            cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        }
        cookie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(600), Duration::from_secs(60), false)
    }

    fn alice() -> UserName {
        "alice".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_ends_after_its_time_or_when_nobody_clicks() {
        let sessions = sessions();
        let (idle, busy) = (sessions.log_in(alice()), sessions.log_in(alice()));
        for _ in 0..11 {
            tokio::time::advance(Duration::from_secs(50)).await;
            assert_eq!(sessions.user(&busy), Some(alice()));
        }
        assert_eq!(sessions.user(&idle), None);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(sessions.user(&busy), None);
    }

    #[test]
    fn a_cookie_that_somebody_else_made_says_nothing() {
        let (ours, theirs) = (sessions(), sessions());
        let mut headers = HeaderMap::new();
        let mut cookies = theirs.cookies(&headers);
        cookies.set_id("an id");
        let mut answer = HeaderMap::new();
        cookies.write(&mut answer);
        let set = answer[header::SET_COOKIE].to_str().unwrap();
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
        let pair = set.split(';').next().unwrap();
        headers.insert(header::COOKIE, pair.parse().unwrap());
        assert_eq!(theirs.cookies(&headers).id().as_deref(), Some("an id"));
        assert_eq!(ours.cookies(&headers).id(), None);
        headers.insert(header::COOKIE, "evergrant_session=an id".parse().unwrap());
        assert_eq!(ours.cookies(&headers).id(), None);
    }

    #[test]
    fn a_forms_token_is_that_of_its_browser() {
        let sessions = sessions();
        let token = sessions.csrf("one");
        assert!(sessions.is_csrf("one", &token));
        assert!(!sessions.is_csrf("other", &token));
        for wrong in ["", "zz", &token[1..], &token.replace(['0', '1'], "2")] {
            assert!(!sessions.is_csrf("one", wrong), "{wrong}");
        }
    }

    #[test]
    fn logins_take_so_much_memory_and_no_more() {
        let sessions = sessions();
        let first = sessions.log_in(alice());
        for _ in 0..MOST_LOGINS {
            sessions.log_in(alice());
        }
        assert_eq!(sessions.lock().len(), MOST_LOGINS);
        assert_eq!(sessions.user(&first), None);
    }
}
