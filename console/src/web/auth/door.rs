//! Who a request comes from, and whether it may come at all.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use axum::http::{HeaderMap, header};
use evergrant_shared::config::{ConsoleConfig, Network};
use url::{Host, Url};

use super::cookies::Cookies;
use super::limits::LoginLimits;
use super::password_queue::PasswordQueue;
use super::session::{self, Activity, Sessions};
use super::users::{PasswordMark, Role, UserName, UsersFile};

/// The name of a reverse proxy's header that says where a request really comes from.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Somebody who may look, and maybe act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name, as the audit record has it.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Whether it came by our own login, so that it can be ended.
    pub(crate) by_login: bool,
}

/// A request, as far as it tells who sends it.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) activity: Activity,
}

/// A browser, and who uses it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    /// The browser's id.
    pub(crate) id: String,
    /// Whether it got its id just now.
    pub(crate) is_new: bool,
    pub(crate) identity: Option<Identity>,
    /// What its forms have to bring along.
    pub(crate) csrf: String,
    /// Where it is.
    pub(crate) address: IpAddr,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was sent to a name that is not ours.
    Host,
    /// It comes from another site.
    Origin,
    /// Its form does not bring along what ours do.
    Csrf,
    /// The users file cannot be used.
    Users(String),
}

/// How people prove who they are.
enum Way {
    /// They need not: this machine's users only, all as the one who started the console.
    Local(Identity),
    /// By a password.
    Login(UsersFile),
    /// Only by what a proxy says.
    Proxy,
}

/// Who may.
pub(crate) struct Door {
    way: Way,
    sessions: Sessions,
    pub(super) limits: LoginLimits,
    pub(crate) passwords: PasswordQueue,
    listen: SocketAddr,
    /// Whether people come by TLS, which a proxy before us ends.
    is_https: bool,
    public_url: Option<Url>,
    proxies: Vec<Network>,
    user_header: Option<String>,
    proxy_operators: Vec<String>,
    /// Whether a proxy that the settings don't name was told.
    unnamed_proxy: Once,
}

/// A console that would let in anybody.
#[derive(Debug, thiserror::Error)]
#[error(
    "others can reach the console (it listens at {0}, or has a public_url), and it has no users: make some with \
     `evergrant console user add NAME` and name their file in console.users_file, or let a proxy log \
     people in (console.proxy_user_header), or listen on 127.0.0.1"
)]
pub(crate) struct OpenDoor(SocketAddr);

impl Door {
    /// The door that the settings describe. `me` is the user of the operating system.
    pub(crate) fn new(config: &ConsoleConfig, me: &str) -> Result<Self, OpenDoor> {
        let way = match &config.users_file {
            Some(path) => Way::Login(UsersFile::new(path)),
            None if config.proxy_user_header.is_some() => Way::Proxy,
            // With an address that others type, a proxy stands before it, and lets in anybody.
            None if config.listen.ip().is_loopback() && config.public_url.is_none() => {
                Way::Local(Identity { name: me.to_owned(), role: Role::Operator, by_login: false })
            }
            None => return Err(OpenDoor(config.listen)),
        };
        Ok(Self {
            way,
            sessions: Sessions::new(config.session_lifetime, config.session_idle, is_https(config)),
            limits: LoginLimits::new(),
            passwords: PasswordQueue::new(),
            unnamed_proxy: Once::new(),
            listen: config.listen,
            is_https: is_https(config),
            public_url: config.public_url.clone(),
            proxies: config.proxy_addresses.clone(),
            user_header: config.proxy_user_header.clone(),
            proxy_operators: config.proxy_operators.clone(),
        })
    }

    /// What a request's cookies say.
    pub(crate) fn cookies(&self, headers: &HeaderMap) -> Cookies<'_> {
        self.sessions.cookies(headers)
    }

    /// The users file, where people log in with a password.
    pub(super) const fn users(&self) -> Option<&UsersFile> {
        match &self.way {
            Way::Login(users) => Some(users),
            Way::Local(_) | Way::Proxy => None,
        }
    }

    /// Whether people log in here.
    pub(crate) const fn has_login(&self) -> bool {
        self.users().is_some()
    }

    /// Whether people come by TLS.
    pub(crate) const fn is_https(&self) -> bool {
        self.is_https
    }

    /// What is wrong with how the console can be reached, if passwords or cookies cross a network in the
    /// clear.
    pub(crate) fn plain_http(&self) -> Option<String> {
        let is_elsewhere = !self.listen.ip().is_loopback() || self.public_url.is_some();
        (is_elsewhere && !self.is_https).then(|| {
            format!(
                "the console is served without TLS at {}: whoever is on the way can read passwords and \
                 cookies. Put a proxy with TLS before it and name its address in console.public_url \
                 (https://…), or listen on 127.0.0.1",
                self.listen
            )
        })
    }

    /// Whether what a browser sends with this request can be read on its way.
    pub(super) fn is_overheard(&self, headers: &HeaderMap) -> bool {
        !self.is_https && !host_of(headers).as_ref().is_some_and(is_this_machine)
    }

    /// Begins a login; returns the browser's new id.
    pub(crate) fn log_in(&self, user: UserName, mark: PasswordMark) -> String {
        self.sessions.log_in(user, mark)
    }

    /// Ends the login of the browser with this id, if it has one.
    pub(crate) fn log_out(&self, id: &str) {
        self.sessions.log_out(id);
    }

    /// Who sends a request.
    pub(crate) fn visit(
        &self,
        arrival: Arrival<'_>,
        cookies: &Cookies<'_>,
    ) -> Result<Visit, Refusal> {
        let Arrival { peer, headers, .. } = arrival;
        if !self.is_our_name(headers) {
            return Err(Refusal::Host);
        }
        let known = cookies.id();
        let is_new = known.is_none();
        let id = known.unwrap_or_else(session::random);
        let identity = self.identity(arrival, &id)?;
        let csrf = self.sessions.csrf(&id);
        Ok(Visit { id, is_new, identity, csrf, address: self.address(peer, headers) })
    }

    /// Whether a request that changes something can come from one of our own forms, as far as its
    /// headers tell.
    pub(crate) fn check_sender(&self, visit: &Visit, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.is_our_origin(headers) {
            return Err(Refusal::Origin);
        }
        if visit.is_new { Err(Refusal::Csrf) } else { Ok(()) }
    }

    /// Whether what a form brings along is what ours do.
    pub(crate) fn check_csrf(&self, visit: &Visit, csrf: Option<&str>) -> Result<(), Refusal> {
        let ours = csrf.is_some_and(|csrf| self.sessions.is_csrf(&visit.id, csrf));
        if ours { Ok(()) } else { Err(Refusal::Csrf) }
    }

    /// Whether who sent a request may still see what goes on after it.
    pub(crate) fn is_still_in(&self, visit: &Visit) -> bool {
        visit.identity.as_ref().is_some_and(|who| {
            !who.by_login || matches!(self.by_login(&visit.id, Activity::Background), Ok(Some(_)))
        })
    }

    fn identity(&self, arrival: Arrival<'_>, id: &str) -> Result<Option<Identity>, Refusal> {
        if let Some(identity) = self.by_proxy(arrival.peer, arrival.headers) {
            return Ok(Some(identity));
        }
        match &self.way {
            Way::Local(identity) => Ok(Some(identity.clone())),
            Way::Proxy => Ok(None),
            Way::Login(_) => self.by_login(id, arrival.activity),
        }
    }

    /// Who has logged in, with the role of now. A login ends with the password that it began with, and
    /// with its user: one of the same name who is added later is another.
    fn by_login(&self, id: &str, activity: Activity) -> Result<Option<Identity>, Refusal> {
        let Some(users) = self.users() else { return Ok(None) };
        let Some((name, mark)) = self.sessions.user(id, activity) else { return Ok(None) };
        let users = users.users().map_err(|error| Refusal::Users(error.to_string()))?;
        let Some(user) = users.get(&name).filter(|user| user.password_mark() == mark) else {
            self.sessions.log_out(id);
            return Ok(None);
        };
        Ok(Some(Identity { name: name.to_string(), role: user.role, by_login: true }))
    }

    fn by_proxy(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<Identity> {
        let header = self.user_header.as_deref()?;
        if !self.is_proxy(peer.ip()) {
            return None;
        }
        // Two of them: one is not the proxy's.
        let mut values = headers.get_all(header).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let name = value.to_str().ok().map(str::trim).filter(|name| !name.is_empty())?;
        let operates = self.proxy_operators.iter().any(|operator| operator == name);
        let role = if operates { Role::Operator } else { Role::Viewer };
        Some(Identity { name: name.chars().take(100).collect(), role, by_login: false })
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }

    /// Where a request comes from: each proxy adds that to what others may have made up, so it is read
    /// from the end, for as long as those are proxies of ours.
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
                 console.proxy_addresses. If it is your proxy, add it: until then all who come by it \
                 share the limit of logins of one address"
            );
        });
    }

    /// Against a page elsewhere whose name suddenly means this machine (DNS rebinding).
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
        // The scheme is not known behind a proxy, so either will do.
        ["http", "https"].iter().any(|scheme| {
            Url::parse(&format!("{scheme}://{host}/"))
                .is_ok_and(|own| own.origin() == origin.origin())
        })
    }
}

fn is_https(config: &ConsoleConfig) -> bool {
    config.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
}

/// The name that a request was sent to.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[(&str, &str)]) -> ConsoleConfig {
        let variables = more
            .iter()
            .map(|(name, value)| (format!("EVERGRANT_CONSOLE__{name}").into(), value.into()));
        evergrant_shared::config::Config::from_parts(None, variables, &[]).unwrap().console
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn door(more: &[(&str, &str)]) -> Door {
        Door::new(&config(more), "me").unwrap()
    }

    fn who(
        door: &Door,
        peer: &str,
        pairs: &[(&'static str, &str)],
    ) -> Result<Option<Identity>, Refusal> {
        let headers = headers(pairs);
        let cookies = door.cookies(&headers);
        let peer = format!("{peer}:1").parse().unwrap();
        let arrival = Arrival { peer, headers: &headers, activity: Activity::Click };
        door.visit(arrival, &cookies).map(|visit| visit.identity)
    }

    #[test]
    fn passwords_that_cross_a_network_in_the_clear_are_told() {
        let users = ("USERS_FILE", "/u");
        let (open, http) = (("LISTEN", "0.0.0.0:8480"), ("PUBLIC_URL", "http://evergrant.lan"));
        let https = ("PUBLIC_URL", "https://evergrant.lan");
        assert!(door(&[users, open]).plain_http().unwrap().contains("0.0.0.0:8480"));
        assert!(door(&[users, http]).plain_http().is_some());
        assert_eq!(door(&[users, open, https]).plain_http(), None);
        assert_eq!(door(&[users]).plain_http(), None);
        let to = |host: &str| headers(&[("host", host)]);
        let open = door(&[users, open]);
        assert!(
            open.is_overheard(&to("evergrant.lan:8480")) && !open.is_overheard(&to("localhost"))
        );
        assert!(!door(&[users, https]).is_overheard(&to("evergrant.lan")));
    }

    #[test]
    fn off_the_loopback_interface_there_is_no_console_without_users() {
        let open = Door::new(&config(&[("LISTEN", "0.0.0.0:8480")]), "me");
        assert!(open.err().unwrap().to_string().contains("console user add"));
        let proxied = [("PUBLIC_URL", "https://evergrant.example.com")];
        assert!(Door::new(&config(&proxied), "me").is_err(), "a proxy would let in anybody");
        assert!(Door::new(&config(&[("LISTEN", "0.0.0.0:1"), ("USERS_FILE", "/u")]), "me").is_ok());
    }

    #[test]
    fn on_the_loopback_interface_only_names_of_this_machine_are_answered() {
        let public = [("PUBLIC_URL", "https://evergrant.example.com"), ("USERS_FILE", "/u")];
        let (public, door) = (door(&public), door(&[]));
        let name = [("host", "evergrant.example.com")];
        assert_eq!(who(&public, "127.0.0.1", &name), Ok(None));
        assert_eq!(who(&door, "127.0.0.1", &name), Err(Refusal::Host));
        for host in ["localhost:8480", "127.0.0.1", "[::1]:9"] {
            let me = who(&door, "127.0.0.1", &[("host", host)]).unwrap().unwrap();
            assert_eq!((me.name.as_str(), me.role), ("me", Role::Operator), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a b", ""] {
            assert_eq!(who(&door, "127.0.0.1", &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(who(&door, "127.0.0.1", &[]), Err(Refusal::Host));
    }

    #[test]
    fn a_proxys_header_is_believed_from_its_address_only() {
        let door = door(&[
            ("LISTEN", "0.0.0.0:8480"),
            ("PROXY_USER_HEADER", "X-Forwarded-User"),
            ("PROXY_ADDRESSES", r#"["10.0.0.0/8"]"#),
            ("PROXY_OPERATORS", r#"["alice"]"#),
        ]);
        let role = |peer, pairs: &[(&'static str, &str)]| {
            who(&door, peer, pairs).unwrap().map(|identity| identity.role)
        };
        assert_eq!(role("10.0.0.5", &[("x-forwarded-user", "alice")]), Some(Role::Operator));
        assert_eq!(role("10.0.0.5", &[("x-forwarded-user", "bob")]), Some(Role::Viewer));
        assert_eq!(role("192.0.2.1", &[("x-forwarded-user", "alice")]), None);
        assert_eq!(role("10.0.0.5", &[("x-forwarded-user", " ")]), None);
        let mut twice = headers(&[("x-forwarded-user", "bob")]);
        twice.append("x-forwarded-user", "alice".parse().unwrap());
        assert!(door.by_proxy("10.0.0.5:1".parse().unwrap(), &twice).is_none());
    }

    #[test]
    fn where_a_request_comes_from_is_what_a_proxy_has_added_last() {
        let door = door(&[("PROXY_ADDRESSES", r#"["10.0.0.5"]"#)]);
        let at = |peer: &str| {
            let headers = headers(&[("x-forwarded-for", "198.51.100.7, 203.0.113.9")]);
            door.address(format!("{peer}:1").parse().unwrap(), &headers).to_string()
        };
        assert_eq!((at("10.0.0.5"), at("192.0.2.1")), ("203.0.113.9".into(), "192.0.2.1".into()));
    }

    #[test]
    fn behind_several_proxies_an_address_is_what_the_first_of_them_saw() {
        let door = door(&[("PROXY_ADDRESSES", r#"["10.0.0.0/8", "198.51.100.0/24"]"#)]);
        let at = |said: &[&str]| {
            let pairs: Vec<_> = said.iter().map(|hops| ("x-forwarded-for", *hops)).collect();
            let mut all = HeaderMap::new();
            for (name, value) in pairs {
                all.append(name, value.parse().unwrap());
            }
            door.address("10.0.0.5:1".parse().unwrap(), &all).to_string()
        };
        assert_eq!(at(&["192.0.2.66, 203.0.113.9, 198.51.100.7"]), "203.0.113.9");
        assert_eq!(at(&["203.0.113.9", "198.51.100.7, 10.0.0.9"]), "203.0.113.9");
        assert_eq!(at(&["198.51.100.7"]), "198.51.100.7");
        assert_eq!(at(&["203.0.113.9, made up, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(at(&[]), "10.0.0.5");
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let door = door(&[("PUBLIC_URL", "https://evergrant.example.com"), ("USERS_FILE", "/u")]);
        let ours = |pairs: &[(&'static str, &str)]| door.is_our_origin(&headers(pairs));
        let host = ("host", "localhost:8480");
        assert!(ours(&[host]) && ours(&[host, ("origin", "http://localhost:8480")]));
        assert!(ours(&[host, ("origin", "https://evergrant.example.com")]));
        for origin in ["http://evil.example", "null", "http://localhost:8481"] {
            assert!(!ours(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(!ours(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[host, ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_form_has_to_bring_along_the_token_of_its_browser() {
        let door = door(&[]);
        let headers = headers(&[("host", "localhost")]);
        let cookies = door.cookies(&headers);
        let peer = "127.0.0.1:1".parse().unwrap();
        let arrival = Arrival { peer, headers: &headers, activity: Activity::Click };
        let mut visit = door.visit(arrival, &cookies).unwrap();
        let csrf = visit.csrf.clone();
        let check = |visit: &Visit, csrf| {
            door.check_sender(visit, &headers).and_then(|()| door.check_csrf(visit, csrf))
        };
        assert_eq!(check(&visit, Some(&csrf)), Err(Refusal::Csrf), "a browser without a cookie");
        visit.is_new = false;
        assert_eq!(check(&visit, Some(&csrf)), Ok(()));
        assert_eq!(check(&visit, None), Err(Refusal::Csrf));
        visit.id = "another".to_owned();
        assert_eq!(check(&visit, Some(&csrf)), Err(Refusal::Csrf));
    }
}
