//! Which requests the access policy admits.

use super::*;

fn config(more: &[(&str, &str)]) -> ConsoleSettings {
    let variables = more
        .iter()
        .map(|(name, value)| (format!("EVERGRANT_CONSOLE__{name}").into(), value.into()));
    evergrant_runtime::config::Config::from_parts(None, variables, &[]).unwrap().section().unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn door(more: &[(&str, &str)]) -> AccessPolicy {
    AccessPolicy::new(&config(more), "me").unwrap()
}

fn arrival(peer: SocketAddr, headers: &HeaderMap) -> RequestOrigin<'_> {
    RequestOrigin { peer, version: Version::HTTP_11, headers, activity: Activity::Click }
}

fn who(
    door: &AccessPolicy,
    peer: &str,
    pairs: &[(&'static str, &str)],
) -> Result<Option<UserIdentity>, AccessRefusal> {
    let headers = headers(pairs);
    let cookies = door.cookies(&headers);
    let peer = format!("{peer}:1").parse().unwrap();
    door.visit(arrival(peer, &headers), &cookies).map(|visit| visit.identity)
}

#[test]
fn unencrypted_passwords_cause_a_warning() {
    let users = ("USERS_FILE", "/u");
    let (open, http) = (("LISTEN", "0.0.0.0:8480"), ("PUBLIC_URL", "http://evergrant.lan"));
    let https = ("PUBLIC_URL", "https://evergrant.lan");
    assert!(door(&[users, open]).plain_http().unwrap().contains("0.0.0.0:8480"));
    assert!(door(&[users, http]).plain_http().is_some());
    assert_eq!(door(&[users, open, https]).plain_http(), None);
    assert_eq!(door(&[users]).plain_http(), None);
    let to = |host: &str| headers(&[("host", host)]);
    let open = door(&[users, open]);
    assert!(open.is_overheard(&to("evergrant.lan:8480")) && !open.is_overheard(&to("localhost")));
    assert!(!door(&[users, https]).is_overheard(&to("evergrant.lan")));
}

#[test]
fn a_console_off_loopback_needs_users() {
    let open = AccessPolicy::new(&config(&[("LISTEN", "0.0.0.0:8480")]), "me");
    assert!(open.err().unwrap().to_string().contains("console user add"));
    let proxied = [("PUBLIC_URL", "https://evergrant.example.com")];
    assert!(AccessPolicy::new(&config(&proxied), "me").is_err(), "a proxy would let in anybody");
    assert!(
        AccessPolicy::new(&config(&[("LISTEN", "0.0.0.0:1"), ("USERS_FILE", "/u")]), "me").is_ok()
    );
}

#[test]
fn on_loopback_only_local_host_names_are_accepted() {
    let public = [("PUBLIC_URL", "https://evergrant.example.com"), ("USERS_FILE", "/u")];
    let (public, door) = (door(&public), door(&[]));
    let name = [("host", "evergrant.example.com")];
    assert_eq!(who(&public, "127.0.0.1", &name), Ok(None));
    assert_eq!(who(&door, "127.0.0.1", &name), Err(AccessRefusal::Host));
    for host in ["localhost:8480", "127.0.0.1", "[::1]:9"] {
        assert_eq!(who(&door, "127.0.0.1", &[("host", host)]), Ok(None), "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a b", ""] {
        assert_eq!(who(&door, "127.0.0.1", &[("host", host)]), Err(AccessRefusal::Host), "{host}");
    }
    assert_eq!(who(&door, "127.0.0.1", &[]), Err(AccessRefusal::Host));
}

#[test]
fn without_users_only_the_printed_token_admits() {
    let door = door(&[]);
    let word = door.local_tokens().unwrap().borrow().clone();
    assert_eq!(door.redeem("another"), None);
    let id = door.log_in(door.redeem(&word).unwrap());
    let me = door.by_login(&id, Activity::Click).unwrap().unwrap();
    assert_eq!((me.name.as_str(), me.role), ("me", UserRole::Operator));
    assert_eq!(door.by_login("another id", Activity::Click), Ok(None));
    assert_eq!(door.redeem(&word), None, "it is used up");
}

#[test]
fn a_console_without_users_refuses_proxies() {
    let (local, with_users) = (door(&[]), door(&[("USERS_FILE", "/u")]));
    let host = ("host", "127.0.0.1:8480");
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "grants.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("via", "1.1 proxy"),
    ] {
        let pairs = [host, (name, value)];
        assert_eq!(who(&local, "127.0.0.1", &pairs), Err(AccessRefusal::Forwarded), "{name}");
        assert_eq!(who(&with_users, "127.0.0.1", &pairs), Ok(None), "{name}");
    }
    let (peer, headers) = ("127.0.0.1:1".parse().unwrap(), headers(&[host]));
    let old = RequestOrigin { version: Version::HTTP_10, ..arrival(peer, &headers) };
    assert_eq!(local.visit(old, &local.cookies(&headers)).err(), Some(AccessRefusal::Forwarded));
}

#[test]
fn a_proxys_header_counts_from_its_address_only() {
    let door = door(&[
        ("LISTEN", "0.0.0.0:8480"),
        ("PROXY_USER_HEADER", "X-Forwarded-User"),
        ("PROXY_ADDRESSES", r#"["10.0.0.0/8"]"#),
        ("PROXY_OPERATORS", r#"["alice"]"#),
    ]);
    let role = |peer, pairs: &[(&'static str, &str)]| {
        who(&door, peer, pairs).unwrap().map(|identity| identity.role)
    };
    assert_eq!(role("10.0.0.5", &[("x-forwarded-user", "alice")]), Some(UserRole::Operator));
    assert_eq!(role("10.0.0.5", &[("x-forwarded-user", "bob")]), Some(UserRole::Viewer));
    assert_eq!(role("192.0.2.1", &[("x-forwarded-user", "alice")]), None);
    assert_eq!(role("10.0.0.5", &[("x-forwarded-user", " ")]), None);
    let mut twice = headers(&[("x-forwarded-user", "bob")]);
    twice.append("x-forwarded-user", "alice".parse().unwrap());
    assert!(door.by_proxy("10.0.0.5:1".parse().unwrap(), &twice).is_none());
}

#[test]
fn a_requests_address_is_the_proxys_last_entry() {
    let door = door(&[("PROXY_ADDRESSES", r#"["10.0.0.5"]"#)]);
    let at = |peer: &str| {
        let headers = headers(&[("x-forwarded-for", "198.51.100.7, 203.0.113.9")]);
        door.address(format!("{peer}:1").parse().unwrap(), &headers).to_string()
    };
    assert_eq!((at("10.0.0.5"), at("192.0.2.1")), ("203.0.113.9".into(), "192.0.2.1".into()));
}

#[test]
fn behind_several_proxies_the_first_ones_entry_counts() {
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
fn a_form_needs_the_token_of_its_browser() {
    let door = door(&[]);
    let headers = headers(&[("host", "localhost")]);
    let cookies = door.cookies(&headers);
    let peer = "127.0.0.1:1".parse().unwrap();
    let mut visit = door.visit(arrival(peer, &headers), &cookies).unwrap();
    let csrf = visit.csrf.clone();
    let check = |visit: &BrowserVisit, csrf| {
        door.check_sender(visit, &headers).and_then(|()| door.check_csrf(visit, csrf))
    };
    assert_eq!(check(&visit, Some(&csrf)), Err(AccessRefusal::Csrf), "a browser without a cookie");
    visit.is_new = false;
    assert_eq!(check(&visit, Some(&csrf)), Ok(()));
    assert_eq!(check(&visit, None), Err(AccessRefusal::Csrf));
    visit.id = "another".to_owned();
    assert_eq!(check(&visit, Some(&csrf)), Err(AccessRefusal::Csrf));
}
