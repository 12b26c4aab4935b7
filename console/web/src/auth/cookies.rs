//! The console's cookies. Each is signed together with its purpose, so that one cannot be used as
//! another.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, CookieJar, Key, SameSite};

use super::oidc::{FLOW_TTL, Flow};
use super::users::{PasswordMark, UserName};

/// The id of a browser.
const SESSION: &str = "session";
/// The user who has used this browser before.
const DEVICE: &str = "device";
/// A message for the next page.
const FLASH: &str = "flash";
/// A login that is under way at the OpenID provider.
const FLOW: &str = "flow";
/// Light or dark, if chosen.
const THEME: &str = "theme";

/// How long a browser counts as known to a user who has logged in there.
const DEVICE_TTL: Duration = Duration::from_secs(90 * 86_400);
/// How long a theme is kept.
const THEME_TTL: Duration = Duration::from_secs(365 * 86_400);
/// A cookie has to fit into a header.
const FLASH_MAX: usize = 1_000;

/// The cookies of a request, and those of its answer.
pub(crate) struct Cookies<'a> {
    key: &'a Key,
    /// Whether they are for TLS only.
    secure: bool,
    jar: CookieJar,
}

impl<'a> Cookies<'a> {
    /// The cookies of a request; those without our signature are ignored.
    pub(super) fn new(key: &'a Key, secure: bool, headers: &HeaderMap) -> Self {
        let mut jar = CookieJar::new();
        for header in headers.get_all(header::COOKIE) {
            let Ok(text) = header.to_str() else { continue };
            for cookie in Cookie::split_parse_encoded(text).flatten() {
                jar.add_original(cookie.into_owned());
            }
        }
        Self { key, secure, jar }
    }

    /// The browser's id.
    pub(crate) fn id(&self) -> Option<String> {
        self.signed(SESSION)
    }

    pub(crate) fn set_id(&mut self, id: &str) {
        self.sign(SESSION, id, None);
    }

    /// Whether `user` has logged in with this browser before, with the present password.
    pub(crate) fn is_device_of(&self, user: &UserName, mark: &PasswordMark) -> bool {
        let Some(value) = self.signed(DEVICE) else { return false };
        value == device_of(user, mark)
    }

    pub(crate) fn set_device(&mut self, user: &UserName, mark: &PasswordMark) {
        self.sign(DEVICE, &device_of(user, mark), Some(DEVICE_TTL));
    }

    /// The message for this page, once.
    pub(crate) fn take_flash(&mut self) -> Option<String> {
        let flash = self.signed(FLASH)?;
        self.jar.remove(self.cookie(FLASH, String::new(), None));
        Some(flash)
    }

    pub(crate) fn set_flash(&mut self, text: &str) {
        let mut end = text.len().min(FLASH_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.sign(FLASH, &text[..end], None);
    }

    /// The login that is under way at the OpenID provider.
    pub(crate) fn flow(&self) -> Option<Flow> {
        Flow::of_text(&self.signed(FLOW)?)
    }

    pub(crate) fn set_flow(&mut self, flow: &Flow) {
        self.sign(FLOW, &flow.to_text(), Some(FLOW_TTL));
    }

    pub(crate) fn end_flow(&mut self) {
        if self.signed(FLOW).is_some() {
            self.jar.remove(self.cookie(FLOW, String::new(), None));
        }
    }

    /// Light or dark, if chosen.
    pub(crate) fn theme(&self) -> Option<String> {
        self.jar.get(&self.name(THEME)).map(|cookie| cookie.value().to_owned())
    }

    pub(crate) fn set_theme(&mut self, theme: &str) {
        let cookie = self.cookie(THEME, theme.to_owned(), Some(THEME_TTL));
        self.jar.add(cookie);
    }

    /// Writes the changed cookies.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for cookie in self.jar.delta() {
            if let Ok(value) = HeaderValue::from_str(&cookie.encoded().to_string()) {
                headers.append(header::SET_COOKIE, value);
            }
        }
    }

    /// With TLS, a browser accepts a name with this prefix from this host only, and over TLS only.
    fn name(&self, what_for: &str) -> String {
        format!("{}evergrant_{what_for}", if self.secure { "__Host-" } else { "" })
    }

    fn signed(&self, what_for: &str) -> Option<String> {
        let cookie = self.jar.signed(self.key).get(&self.name(what_for))?;
        let value = cookie.value().strip_prefix(what_for)?.strip_prefix(':')?;
        Some(value.to_owned())
    }

    fn sign(&mut self, what_for: &str, value: &str, lasts: Option<Duration>) {
        let cookie = self.cookie(what_for, format!("{what_for}:{value}"), lasts);
        self.jar.signed_mut(self.key).add(cookie);
    }

    fn cookie(&self, what_for: &str, value: String, lasts: Option<Duration>) -> Cookie<'static> {
        let mut cookie = Cookie::build((self.name(what_for), value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .build();
        if let Some(lasts) = lasts {
            let seconds = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
            cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        }
        cookie
    }
}

fn device_of(user: &UserName, mark: &PasswordMark) -> String {
    format!("{mark} {user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cookies of a browser after an answer: name and value.
    fn kept(cookies: &Cookies<'_>) -> Vec<(String, String)> {
        let mut answer = HeaderMap::new();
        cookies.write(&mut answer);
        let set = answer.get_all(header::SET_COOKIE).iter();
        let pairs = set.map(|set| {
            let set = set.to_str().unwrap();
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        pairs.collect()
    }

    fn with(name: &str, value: &str) -> HeaderMap {
        let pair = format!("{name}={value}").parse().unwrap();
        [(header::COOKIE, pair)].into_iter().collect()
    }

    #[test]
    fn a_forged_cookie_is_ignored() {
        let (ours, theirs) = (Key::generate(), Key::generate());
        let mut cookies = Cookies::new(&theirs, false, &HeaderMap::new());
        cookies.set_id("an id");
        let [(name, value)] = &kept(&cookies)[..] else { panic!("one cookie") };
        let headers = with(name, value);
        assert_eq!(Cookies::new(&theirs, false, &headers).id().as_deref(), Some("an id"));
        assert_eq!(Cookies::new(&ours, false, &headers).id(), None);
        assert_eq!(Cookies::new(&ours, false, &with(name, "session:an id")).id(), None);
    }

    #[test]
    fn a_cookie_is_valid_for_its_purpose_only() {
        let key = Key::generate();
        let mut cookies = Cookies::new(&key, false, &HeaderMap::new());
        cookies.set_flash("what is said");
        let [(_, flash)] = &kept(&cookies)[..] else { panic!("one cookie") };
        assert_eq!(Cookies::new(&key, false, &with("evergrant_session", flash)).id(), None);
        let mut again = Cookies::new(&key, false, &with("evergrant_flash", flash));
        assert_eq!(again.take_flash().as_deref(), Some("what is said"));
    }

    #[test]
    fn with_tls_cookies_are_bound_to_the_host() {
        let key = Key::generate();
        let mut cookies = Cookies::new(&key, true, &HeaderMap::new());
        cookies.set_id("an id");
        cookies.set_theme("dark");
        let all = kept(&cookies);
        assert!(all.iter().all(|(name, _)| name.starts_with("__Host-evergrant_")), "{all:?}");
        let mut answer = HeaderMap::new();
        cookies.write(&mut answer);
        for set in answer.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            let fits = set.contains("Secure") && set.contains("Path=/") && !set.contains("Domain");
            assert!(fits, "{set}");
        }
    }
}
