//! What a server's URL tells of its safety.

use std::net::IpAddr;

/// The URL of one server or of several, in parts.
pub(super) struct ServerUrl<'a> {
    scheme: &'a str,
    hosts: &'a str,
    options: &'a str,
}

/// Options of a MongoDB URL by which anybody may be the server.
const INSECURE: [&str; 3] =
    ["tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames"];

impl<'a> ServerUrl<'a> {
    /// None if it is no URL.
    pub(super) fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
        let options = rest.split_once('?').map_or("", |(_, options)| options);
        Some(Self { scheme, hosts, options })
    }

    /// Hosts that are not on this machine or in its own network of containers, if the way to them is not
    /// encrypted.
    pub(super) fn in_the_clear(&self) -> Vec<&'a str> {
        if self.is_encrypted() {
            return Vec::new();
        }
        self.hosts.split(',').map(without_port).filter(|host| !is_near(host)).collect()
    }

    fn is_encrypted(&self) -> bool {
        let is_on = |wanted: fn(&str) -> bool| {
            self.options().rfind(|(name, _)| wanted(name)).map(|(_, value)| value != "false")
        };
        // Another option of TLS turns it on, too.
        let tls = || is_on(|name| matches!(name, "tls" | "ssl"));
        let tls = || tls().or_else(|| is_on(|name| name.starts_with("tls")));
        match self.scheme {
            "amqps" => true,
            "mongodb" => tls().unwrap_or(false),
            "mongodb+srv" => tls().unwrap_or(true),
            _ => false,
        }
    }

    /// The first option by which anybody may be the server.
    pub(super) fn insecure_option(&self) -> Option<String> {
        let is_insecure =
            |(name, value): &(String, &str)| INSECURE.contains(&name.as_str()) && *value == "true";
        self.options().find(is_insecure).map(|(name, _)| name)
    }

    fn options(&self) -> impl DoubleEndedIterator<Item = (String, &'a str)> {
        let options = self.options.split('&').filter_map(|option| option.split_once('='));
        options.map(|(name, value)| (name.to_lowercase(), value))
    }
}

/// Whether a URL holds a password, as far as can be told.
pub fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://").filter(|(scheme, _)| *scheme != "sqlite") else {
        return false;
    };
    rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// Whether a host is this machine, or has a name without a dot, as containers of one network have. What is
/// percent-encoded is a socket's path.
pub(crate) fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => !host.contains('.') || host.ends_with(".localhost") || host.contains('%'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_the_clear(url: &str) -> Vec<&str> {
        ServerUrl::parse(url).unwrap().in_the_clear()
    }

    #[test]
    fn a_server_elsewhere_without_tls_is_found() {
        for (url, host) in [
            ("mongodb://db.example.com/app", "db.example.com"),
            ("mongodb://me:p%40ss@10.0.0.5:27017/?tls=false", "10.0.0.5"),
            ("mongodb+srv://db.example.com/?ssl=false", "db.example.com"),
            ("mongodb://localhost,db.example.com:27018", "db.example.com"),
            ("mongodb://[2001:db8::1]:27017", "2001:db8::1"),
            ("amqp://me:pw@mq.example.com:5672/%2f", "mq.example.com"),
        ] {
            assert_eq!(in_the_clear(url), [host], "{url}");
        }
    }

    #[test]
    fn this_machine_its_containers_and_tls_are_not() {
        for url in [
            "mongodb://localhost:27017",
            "mongodb://127.0.0.1,[::1]:27018",
            "mongodb://me:pw@mongodb:27017/?authSource=admin",
            "mongodb://%2Ftmp%2Fmongodb-27017.sock",
            "mongodb://db.example.com/?TLS=true",
            "mongodb://db.example.com/?tlsCAFile=ca.pem",
            "mongodb://db.example.com/?tls=true&tlsInsecure=false",
            "mongodb+srv://db.example.com",
            "amqps://mq.example.com",
            "amqp://rabbitmq",
        ] {
            assert!(in_the_clear(url).is_empty(), "{url}");
        }
    }

    #[test]
    fn an_option_by_which_anybody_may_be_the_server_is_found() {
        let option = |url| ServerUrl::parse(url).unwrap().insecure_option();
        let url = "mongodb://a.b/?tls=true&tlsAllowInvalidCertificates=true";
        assert_eq!(option(url).as_deref(), Some("tlsallowinvalidcertificates"));
        assert_eq!(option("mongodb://a.b/?tlsInsecure=true").as_deref(), Some("tlsinsecure"));
        assert_eq!(option("mongodb://a.b/?tls=true&tlsInsecure=false"), None);
    }

    #[test]
    fn a_password_is_found_wherever_a_url_has_it() {
        for url in ["mongodb://me:S3cretPw@db", "amqps://u:p@h/v", "mongodb://u:a/b@db"] {
            assert!(has_password(url), "{url}");
        }
        for url in
            ["mongodb://db:27017/?a=b", "mongodb://me@db", "sqlite:a@b:c.db", "sqlite://a:@b"]
        {
            assert!(!has_password(url), "{url}");
        }
    }
}
