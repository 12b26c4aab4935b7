//! Sessions: who is logged in.
//!
//! Every browser has an id in a signed cookie, and gets a new one when it logs in. The signing key
//! lives as long as the process, so a restart ends all logins.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use cookie::Key;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::time::Instant;

use super::cookies::Cookies;
use super::oidc::Person;
use super::users::{PasswordMark, UserName};

/// The most logins; beyond that, the least recently used one ends.
const LOGINS_MAX: usize = 2_000;
/// The most logins of one user.
const LOGINS_OF_USER_MAX: usize = 20;

/// The logins, and the signing key.
pub(super) struct Sessions {
    key: Key,
    logins: Mutex<HashMap<String, Login>>,
    lifetime: Duration,
    idle: Duration,
    /// Whether cookies are for TLS only.
    secure: bool,
}

struct Login {
    account: Account,
    began: Instant,
    clicked: Instant,
}

/// The account of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    /// The user who started the console, by the address that it printed.
    Local,
    /// A user of the users file, by a password.
    User {
        name: UserName,
        /// The mark of the password at the login.
        mark: PasswordMark,
    },
    /// A person known to the OpenID provider.
    OpenId(Person),
}

impl Account {
    /// Whether it is the same user, regardless of password and groups.
    fn is_same_user(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local, Self::Local) => true,
            (Self::User { name, .. }, Self::User { name: other, .. }) => name == other,
            (Self::OpenId(person), Self::OpenId(other)) => person.subject == other.subject,
            _ => false,
        }
    }
}

/// How a request affects the timeout of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// A person's request: the login is in use.
    Click,
    /// A script's request, such as those of the live parts.
    Background,
}

impl Sessions {
    pub(super) fn new(lifetime: Duration, idle: Duration, secure: bool) -> Self {
        Self { key: Key::generate(), logins: Mutex::default(), lifetime, idle, secure }
    }

    /// The cookies of a request; those without our signature are ignored.
    pub(super) fn cookies(&self, headers: &HeaderMap) -> Cookies<'_> {
        Cookies::new(&self.key, self.secure, headers)
    }

    /// The account that is logged in with this id.
    pub(super) fn account(&self, id: &str, activity: Activity) -> Option<Account> {
        let mut logins = self.lock();
        let login = logins.get_mut(id)?;
        if !self.is_valid(login) {
            logins.remove(id);
            return None;
        }
        if activity == Activity::Click {
            login.clicked = Instant::now();
        }
        Some(login.account.clone())
    }

    /// Begins a login with a new id.
    pub(super) fn log_in(&self, account: Account) -> String {
        let (id, now) = (random(), Instant::now());
        let mut logins = self.lock();
        logins.retain(|_, login| self.is_valid(login));
        end_oldest(&mut logins, LOGINS_OF_USER_MAX, |login| login.account.is_same_user(&account));
        end_oldest(&mut logins, LOGINS_MAX, |_| true);
        logins.insert(id.clone(), Login { account, began: now, clicked: now });
        id
    }

    pub(super) fn log_out(&self, id: &str) {
        self.lock().remove(id);
    }

    /// The token that forms of the browser with this id must contain.
    pub(super) fn csrf(&self, id: &str) -> String {
        let mac = self.mac(id).finalize().into_bytes();
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the token for forms of the browser with this id.
    pub(super) fn is_csrf(&self, id: &str, token: &str) -> bool {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(byte).collect();
        bytes.is_some_and(|bytes| self.mac(id).verify_slice(&bytes).is_ok())
    }

    fn mac(&self, id: &str) -> Hmac<Sha256> {
        // The other half of the key: what signs cookies signs nothing else. Any length is a valid
        // key.
        #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.encryption()).expect("a key of any length");
        mac.update(b"csrf\0");
        mac.update(id.as_bytes());
        mac
    }

    fn is_valid(&self, login: &Login) -> bool {
        login.began.elapsed() < self.lifetime && login.clicked.elapsed() < self.idle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Login>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the least recently used login if the maximum is reached.
fn end_oldest(logins: &mut HashMap<String, Login>, max: usize, among: impl Fn(&Login) -> bool) {
    let of = || logins.iter().filter(|(_, login)| among(login));
    if of().count() < max {
        return;
    }
    if let Some(id) = of().min_by_key(|(_, login)| login.clicked).map(|(id, _)| id.clone()) {
        logins.remove(&id);
    }
}

/// 244 random bits.
pub(crate) fn random() -> String {
    let part = || uuid::Uuid::new_v4().simple().to_string();
    part() + &part()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(600), Duration::from_secs(60), false)
    }

    fn log_in(sessions: &Sessions) -> String {
        sessions.log_in(account("alice"))
    }

    fn account(name: &str) -> Account {
        Account::User { name: name.parse().unwrap(), mark: PasswordMark::of_tests() }
    }

    fn is_in(sessions: &Sessions, id: &str, activity: Activity) -> bool {
        sessions.account(id, activity) == Some(account("alice"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_ends_by_age_or_idle_time() {
        let sessions = sessions();
        let (idle, busy) = (log_in(&sessions), log_in(&sessions));
        for _ in 0..11 {
            tokio::time::advance(Duration::from_secs(50)).await;
            assert!(is_in(&sessions, &busy, Activity::Click));
        }
        assert!(!is_in(&sessions, &idle, Activity::Click));
        tokio::time::advance(Duration::from_secs(50)).await;
        assert!(!is_in(&sessions, &busy, Activity::Click));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scripts_requests_keep_no_login_alive() {
        let sessions = sessions();
        let id = log_in(&sessions);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(is_in(&sessions, &id, Activity::Background));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(!is_in(&sessions, &id, Activity::Background));
    }

    #[test]
    fn a_forms_token_belongs_to_its_browser() {
        let sessions = sessions();
        let token = sessions.csrf("one");
        assert!(sessions.is_csrf("one", &token));
        assert!(!sessions.is_csrf("other", &token));
        for wrong in ["", "zz", &token[1..], &token.replace(['0', '1'], "2")] {
            assert!(!sessions.is_csrf("one", wrong), "{wrong}");
        }
    }

    #[test]
    fn the_memory_of_logins_is_bounded() {
        let sessions = sessions();
        for n in 0..LOGINS_MAX + 10 {
            sessions.log_in(account(&format!("user{n}")));
        }
        assert_eq!(sessions.lock().len(), LOGINS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn many_logins_of_one_user_end_no_others() {
        let sessions = sessions();
        let bob = sessions.log_in(account("bob"));
        let first = log_in(&sessions);
        for _ in 0..LOGINS_OF_USER_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            log_in(&sessions);
        }
        assert!(!is_in(&sessions, &first, Activity::Click));
        assert!(sessions.account(&bob, Activity::Click).is_some());
    }
}
