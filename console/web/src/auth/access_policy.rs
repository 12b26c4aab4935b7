//! The access policy: who sends a request, and whether it is admitted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;

use axum::http::{HeaderMap, Version, header};
use tokio::sync::watch;
use url::{Host, Url};

use super::cookies::Cookies;
use super::limits::LoginLimits;
use super::local_token::LocalToken;
use super::oidc::{OidcSetupError, OpenIdClient};
use super::password_queue::PasswordQueue;
use super::session::{self, Account, Activity, Sessions};
use super::users::{UserRole, UsersFile};
use crate::settings::{AddressRange, ConsoleSettings};

#[cfg(test)]
mod tests;

/// A reverse proxy's header with the original address of a request.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A person who may view, and perhaps act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserIdentity {
    /// The name, as the audit record has it.
    pub name: String,
    pub role: UserRole,
    /// Whether the identity comes from a login here, so that it can be ended.
    pub by_login: bool,
}

/// The parts of a request that show who sends it.
#[derive(Clone, Copy)]
pub(crate) struct RequestOrigin<'a> {
    pub peer: SocketAddr,
    pub version: Version,
    pub headers: &'a HeaderMap,
    pub(crate) activity: Activity,
}

/// A browser and its user.
#[derive(Debug, Clone)]
pub struct BrowserVisit {
    /// The browser's id.
    pub id: String,
    /// Whether it has just got its id.
    pub is_new: bool,
    pub identity: Option<UserIdentity>,
    /// The token that its forms must contain.
    pub csrf: String,
    /// Its address.
    pub address: IpAddr,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessRefusal {
    /// It was sent to a foreign host name.
    Host,
    /// A proxy sent it to a console that is for this machine only.
    Forwarded,
    /// It comes from another site.
    Origin,
    /// Its form does not contain the token of our forms.
    Csrf,
    /// The users file cannot be used.
    Users(String),
}

/// How people authenticate.
enum LoginMethod {
    /// By the address that the console prints: everyone who opens it is the user who started the
    /// console.
    Local(UserIdentity, LocalToken),
    /// By a login: with a password, by an OpenID provider, or either.
    Login { users: Option<UsersFile>, oidc: Option<Box<OpenIdClient>> },
    /// Only by a proxy's header.
    Proxy,
}

/// Decides who may use the console.
pub struct AccessPolicy {
    way: LoginMethod,
    sessions: Sessions,
    pub(super) limits: LoginLimits,
    pub(crate) passwords: PasswordQueue,
    listen: SocketAddr,
    /// Whether the console is reached by TLS.
    is_https: bool,
    public_url: Option<Url>,
    proxies: Vec<AddressRange>,
    user_header: Option<String>,
    proxy_operators: Vec<String>,
    /// Whether the warning about an unnamed proxy was logged.
    unnamed_proxy: Once,
}

/// Why there can be no access policy.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// It would admit everybody.
    #[error(
        "others can reach the console (it listens at {0}, or has a public_url), and it has no users: \
         make some with `evergrant console user add NAME` and name their file in console.users_file, or \
         let an OpenID provider (console.oidc) or a proxy (console.proxy_user_header) log people in, or \
         listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The OpenID provider cannot be set up.
    #[error(transparent)]
    Oidc(#[from] OidcSetupError),
}

impl AccessPolicy {
    /// The access policy of the settings. `me` is the user of the operating system.
    pub fn new(config: &ConsoleSettings, me: &str) -> Result<Self, DoorError> {
        let users = config.users_file.as_deref().map(UsersFile::new);
        let oidc = oidc_of(config)?.map(Box::new);
        let way = match (users, oidc) {
            (None, None) if config.proxy_user_header.is_some() => LoginMethod::Proxy,
            // If there is a public URL, a proxy is in front of it and would admit everybody.
            (None, None) if config.listen.ip().is_loopback() && config.public_url.is_none() => {
                let me =
                    UserIdentity { name: me.to_owned(), role: UserRole::Operator, by_login: true };
                LoginMethod::Local(me, LocalToken::new())
            }
            (None, None) => return Err(DoorError::Open(config.listen)),
            (users, oidc) => LoginMethod::Login { users, oidc },
        };
        Ok(Self {
            sessions: sessions_of(config, &way),
            limits: LoginLimits::new(),
            passwords: PasswordQueue::new(),
            unnamed_proxy: Once::new(),
            listen: config.listen,
            is_https: config.is_https(),
            public_url: config.public_url.clone(),
            proxies: config.proxy_addresses.clone(),
            user_header: config.proxy_user_header.clone(),
            proxy_operators: config.proxy_operators.clone(),
            way,
        })
    }

    /// The cookies of a request.
    pub(crate) fn cookies(&self, headers: &HeaderMap) -> Cookies<'_> {
        self.sessions.cookies(headers)
    }

    /// The users file, if people log in with passwords.
    pub(super) const fn users(&self) -> Option<&UsersFile> {
        match &self.way {
            LoginMethod::Login { users, .. } => users.as_ref(),
            LoginMethod::Local(..) | LoginMethod::Proxy => None,
        }
    }

    /// The OpenID provider, if people log in with one.
    pub(super) fn oidc(&self) -> Option<&OpenIdClient> {
        match &self.way {
            LoginMethod::Login { oidc, .. } => oidc.as_deref(),
            LoginMethod::Local(..) | LoginMethod::Proxy => None,
        }
    }

    /// Whether people log in here.
    pub const fn has_login(&self) -> bool {
        matches!(self.way, LoginMethod::Login { .. })
    }

    /// Whether the console is for the user who started it.
    pub const fn is_local(&self) -> bool {
        matches!(self.way, LoginMethod::Local(..))
    }

    /// The token that admits a browser if there are no users, and its successors.
    pub fn local_tokens(&self) -> Option<watch::Receiver<String>> {
        match &self.way {
            LoginMethod::Local(_, token) => Some(token.watch()),
            LoginMethod::Login { .. } | LoginMethod::Proxy => None,
        }
    }

    /// The account of a token in an address. The token is used up.
    pub(crate) fn redeem(&self, token: &str) -> Option<Account> {
        match &self.way {
            LoginMethod::Local(_, current) => current.redeem(token).then_some(Account::Local),
            LoginMethod::Login { .. } | LoginMethod::Proxy => None,
        }
    }

    /// Whether the console is reached by TLS.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// A warning if passwords or cookies cross a network unencrypted.
    pub fn plain_http(&self) -> Option<String> {
        let is_elsewhere = !self.listen.ip().is_loopback() || self.public_url.is_some();
        (is_elsewhere && !self.is_https).then(|| {
            format!(
                "passwords and cookies of the console can be read on their way: it is served without TLS \
                 at {}, and console.public_url is no https address. Give it a certificate \
                 (console.tls_certificate), or put a proxy with TLS before it and give its address there",
                self.listen
            )
        })
    }

    /// Whether this request can be read on its way.
    pub(super) fn is_overheard(&self, headers: &HeaderMap) -> bool {
        !self.is_https && !host_of(headers).as_ref().is_some_and(is_this_machine)
    }

    /// Begins a login; returns the browser's new id.
    pub(crate) fn log_in(&self, account: Account) -> String {
        self.sessions.log_in(account)
    }

    /// Ends the login of the browser with this id, if it has one.
    pub fn log_out(&self, id: &str) {
        self.sessions.log_out(id);
    }

    /// Identifies the sender of a request.
    pub(crate) fn visit(
        &self,
        arrival: RequestOrigin<'_>,
        cookies: &Cookies<'_>,
    ) -> Result<BrowserVisit, AccessRefusal> {
        let RequestOrigin { peer, headers, .. } = arrival;
        if !self.is_our_name(headers) {
            return Err(AccessRefusal::Host);
        }
        // Everybody at the proxy would be admitted as a user of this machine.
        if self.is_local() && is_forwarded(arrival) {
            return Err(AccessRefusal::Forwarded);
        }
        let known = cookies.id();
        let is_new = known.is_none();
        let id = known.unwrap_or_else(session::random);
        let identity = self.identity(arrival, &id)?;
        let csrf = self.sessions.csrf(&id);
        Ok(BrowserVisit { id, is_new, identity, csrf, address: self.address(peer, headers) })
    }

    /// Whether, by its headers, a request that changes something can come from one of our own
    /// forms.
    pub fn check_sender(
        &self,
        visit: &BrowserVisit,
        headers: &HeaderMap,
    ) -> Result<(), AccessRefusal> {
        if !self.is_our_origin(headers) {
            return Err(AccessRefusal::Origin);
        }
        if visit.is_new { Err(AccessRefusal::Csrf) } else { Ok(()) }
    }

    /// Whether a form contains the token of our forms.
    pub fn check_csrf(
        &self,
        visit: &BrowserVisit,
        csrf: Option<&str>,
    ) -> Result<(), AccessRefusal> {
        let ours = csrf.is_some_and(|csrf| self.sessions.is_csrf(&visit.id, csrf));
        if ours { Ok(()) } else { Err(AccessRefusal::Csrf) }
    }

    /// Whether the sender of a request may still see later events.
    pub fn is_still_in(&self, visit: &BrowserVisit) -> bool {
        visit.identity.as_ref().is_some_and(|who| {
            !who.by_login || matches!(self.by_login(&visit.id, Activity::Background), Ok(Some(_)))
        })
    }

    fn identity(
        &self,
        arrival: RequestOrigin<'_>,
        id: &str,
    ) -> Result<Option<UserIdentity>, AccessRefusal> {
        if let Some(identity) = self.by_proxy(arrival.peer, arrival.headers) {
            return Ok(Some(identity));
        }
        match &self.way {
            LoginMethod::Proxy => Ok(None),
            LoginMethod::Local(..) | LoginMethod::Login { .. } => {
                self.by_login(id, arrival.activity)
            }
        }
    }

    /// The user who has logged in, with the present role. A login ends when its password changes or
    /// its user is removed: a new user of the same name is another one. Changes at the OpenID
    /// provider take effect at the next login.
    fn by_login(
        &self,
        id: &str,
        activity: Activity,
    ) -> Result<Option<UserIdentity>, AccessRefusal> {
        let Some(account) = self.sessions.account(id, activity) else { return Ok(None) };
        let (users, name, mark) = match (&self.way, account) {
            (LoginMethod::Local(me, _), Account::Local) => return Ok(Some(me.clone())),
            (LoginMethod::Login { oidc: Some(_), .. }, Account::OpenId(person)) => {
                return Ok(Some(UserIdentity {
                    name: person.name,
                    role: person.role,
                    by_login: true,
                }));
            }
            (LoginMethod::Login { users: Some(users), .. }, Account::User { name, mark }) => {
                (users, name, mark)
            }
            _ => return Ok(None),
        };
        let users = users.users().map_err(|error| AccessRefusal::Users(error.to_string()))?;
        let Some(user) = users.get(&name).filter(|user| user.password_mark() == mark) else {
            self.sessions.log_out(id);
            return Ok(None);
        };
        Ok(Some(UserIdentity { name: name.to_string(), role: user.role, by_login: true }))
    }

    fn by_proxy(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<UserIdentity> {
        let header = self.user_header.as_deref()?;
        if !self.is_proxy(peer.ip()) {
            return None;
        }
        // There are two: one is not the proxy's.
        let mut values = headers.get_all(header).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let name = value.to_str().ok().map(str::trim).filter(|name| !name.is_empty())?;
        let operates = self.proxy_operators.iter().any(|operator| operator == name);
        let role = if operates { UserRole::Operator } else { UserRole::Viewer };
        Some(UserIdentity { name: name.chars().take(100).collect(), role, by_login: false })
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// The original address of a request. Each proxy appends to a list that others may have made
    /// up, so it is read from the end, as long as the addresses are those of our proxies.
    fn address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = forwarded.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        let mut address = peer.ip();
        for hop in hops {
            if !self.is_proxy(address) {
                if address == peer.ip() {
                    self.tell_of_unnamed_proxy(address);
                }
                break;
            }
            let Ok(before) = hop.trim().parse() else { break };
            address = before;
        }
        address
    }

    fn tell_of_unnamed_proxy(&self, address: IpAddr) {
        self.unnamed_proxy.call_once(|| {
            tracing::warn!(
                %address,
                "requests come with X-Forwarded-For from an address that is not in \
                 console.proxy_addresses. If it is your proxy, add it: until then all its users \
                 share the limit of logins of one address"
            );
        });
    }

    /// Protects against a foreign page whose name suddenly resolves to this machine (DNS
    /// rebinding).
    fn is_our_name(&self, headers: &HeaderMap) -> bool {
        if !self.listen.ip().is_loopback() {
            return true;
        }
        let Some(host) = host_of(headers) else { return false };
        let public = self.public_url.as_ref().and_then(Url::host);
        is_this_machine(&host) || public.is_some_and(|public| public.to_owned() == host)
    }

    fn is_our_origin(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if text(header::HeaderName::from_static("sec-fetch-site"))
            .is_some_and(|site| !matches!(site, "same-origin" | "none"))
        {
            return false;
        }
        let Some(origin) = text(header::ORIGIN) else { return true };
        let Ok(origin) = Url::parse(origin) else { return false };
        if self.public_url.as_ref().is_some_and(|url| url.origin() == origin.origin()) {
            return true;
        }
        let host = text(header::HOST).unwrap_or_default();
        // The scheme is unknown behind a proxy, so both are accepted.
        ["http", "https"].iter().any(|scheme| {
            Url::parse(&format!("{scheme}://{host}/"))
                .is_ok_and(|own| own.origin() == origin.origin())
        })
    }
}

/// The OpenID provider of the settings, if people log in with one.
pub fn oidc_of(config: &ConsoleSettings) -> Result<Option<OpenIdClient>, OidcSetupError> {
    let (Some(oidc), Some(public_url)) = (&config.oidc, &config.public_url) else {
        return Ok(None);
    };
    OpenIdClient::new(oidc, public_url).map(Some)
}

/// A console for this machine only has no timeout of logins: they end with the console.
fn sessions_of(config: &ConsoleSettings, way: &LoginMethod) -> Sessions {
    let (lifetime, idle) = match way {
        LoginMethod::Local(..) => (Duration::MAX, Duration::MAX),
        LoginMethod::Login { .. } | LoginMethod::Proxy => {
            (config.session_lifetime, config.session_idle)
        }
    };
    Sessions::new(lifetime, idle, config.is_https())
}

/// Whether a proxy has sent a request, as far as that can be seen. Browsers have used HTTP/1.1 for
/// long; some proxies still send HTTP/1.0.
fn is_forwarded(arrival: RequestOrigin<'_>) -> bool {
    let mut names = arrival.headers.keys().map(header::HeaderName::as_str);
    let is_of_proxy = |name: &str| {
        matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
    };
    arrival.version < Version::HTTP_11 || names.any(is_of_proxy)
}

/// The host name to which a request was sent.
fn host_of(headers: &HeaderMap) -> Option<Host> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    Some(Url::parse(&format!("http://{host}/")).ok()?.host()?.to_owned())
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
