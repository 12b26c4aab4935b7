//! The web console's section of the settings.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

mod oidc;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use url::Url;

use evergrant_runtime::config::{Config, ConfigError, SettingsSection};
use evergrant_settings::{check_tls_pair, duration, tls_pair};

pub(crate) use oidc::OidcSettings;
use oidc::is_bare;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSettings {
    pub listen: SocketAddr,
    pub users_file: Option<PathBuf>,
    #[serde(deserialize_with = "duration::required")]
    pub session_lifetime: Duration,
    #[serde(deserialize_with = "duration::required")]
    pub session_idle: Duration,
    #[serde(default, deserialize_with = "web_address")]
    pub public_url: Option<Url>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub proxy_user_header: Option<String>,
    #[serde(default)]
    pub proxy_addresses: Vec<AddressRange>,
    #[serde(default)]
    pub proxy_operators: Vec<String>,
    pub oidc: Option<OidcSettings>,
}

impl SettingsSection for ConsoleSettings {
    const NAME: &'static str = "console";

    fn validate(&self, _: &Config) -> Result<(), ConfigError> {
        let wrong = |setting: &str, reason: &str| Err(ConfigError::invalid(setting, reason));
        if self.session_lifetime < Duration::from_secs(60) {
            return wrong("console.session_lifetime", "it must be at least 60s");
        }
        if self.session_idle < Duration::from_secs(60) {
            return wrong("console.session_idle", "it must be at least 60s");
        }
        if self.proxy_user_header.is_some() && self.proxy_addresses.is_empty() {
            return wrong(
                "console.proxy_addresses",
                "with proxy_user_header it must name the proxy's addresses: anybody else could \
                 send that header",
            );
        }
        check_tls_pair(Self::NAME, &self.tls_certificate, &self.tls_key)?;
        if self.tls().is_some()
            && self.public_url.as_ref().is_some_and(|url| url.scheme() == "http")
        {
            return wrong(
                "console.public_url",
                "with console.tls_certificate it must begin with https://",
            );
        }
        let is_origin = |url: &Url| url.path() == "/" && is_bare(url);
        if self.oidc.is_some() && !self.public_url.as_ref().is_some_and(is_origin) {
            return wrong(
                "console.public_url",
                "console.oidc needs it, as an address such as https://evergrant.example.com without \
                 anything after the name: the OpenID provider sends people back there",
            );
        }
        self.oidc.as_ref().map_or(Ok(()), OidcSettings::validate)
    }
}

impl ConsoleSettings {
    /// The files of the certificate and of its key, if the console speaks TLS itself.
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        tls_pair(&self.tls_certificate, &self.tls_key)
    }

    /// Whether people come by TLS, which ends here or at a proxy.
    pub fn is_https(&self) -> bool {
        let public = self.public_url.as_ref();
        self.tls().is_some() || public.is_some_and(|url| url.scheme() == "https")
    }
}

fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let url = Url::parse(&String::deserialize(deserializer)?).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let reason = "it must be an address such as https://evergrant.example.com";
    url.map(Some).ok_or_else(|| serde::de::Error::custom(reason))
}

/// An address, or all addresses that begin alike: `10.0.0.5`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    begin: u128,
    /// Bits that must be the same, of 128.
    prefix: u32,
}

/// As a number of 128 bits, in which a v4 address and the same one mapped to v6 are one.
fn bits(address: IpAddr) -> u128 {
    let v6: Ipv6Addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    v6.to_bits()
}

impl AddressRange {
    /// Whether an address is of this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = bits(address) ^ self.begin;
        differing.checked_shr(128 - self.prefix).unwrap_or_default() == 0
    }
}

impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an address is written like 10.0.0.5 or 10.0.0.0/8".to_owned();
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length: u32 = match length {
            Some(length) => length.parse().map_err(|_| wrong())?,
            None => longest,
        };
        if length > longest {
            return Err(wrong());
        }
        Ok(Self { begin: bits(address), prefix: length + (128 - longest) })
    }
}

impl<'de> Deserialize<'de> for AddressRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_key_and_is_for_https() {
        let load = |variables: &[(&str, &str)]| {
            let variables = variables
                .iter()
                .map(|(name, value)| (format!("EVERGRANT_CONSOLE__{name}").into(), value.into()));
            Config::from_parts(None, variables, &[]).unwrap().section::<ConsoleSettings>()
        };
        let (certificate, key) = (("TLS_CERTIFICATE", "a"), ("TLS_KEY", "b"));
        for (variables, missing) in [
            (&[certificate][..], "console.tls_key"),
            (&[key], "console.tls_certificate"),
            (&[certificate, key, ("PUBLIC_URL", "http://c.example")], "console.public_url"),
        ] {
            let error = load(variables).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        assert!(load(&[certificate, key]).unwrap().is_https());
    }

    #[test]
    fn a_network_holds_what_begins_alike() {
        let holds = |network: &str, address: &str| {
            network.parse::<AddressRange>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.5", "10.0.0.5") && !holds("10.0.0.5", "10.0.0.4"));
        assert!(holds("10.0.0.5", "::ffff:10.0.0.5"));
        assert!(holds("fd00::/8", "fd12::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("0.0.0.0/0", "192.0.2.1") && holds("::/0", "192.0.2.1"));
        for wrong in ["10.0.0.0/33", "ten", "10.0.0.0/x", ""] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong}");
        }
    }
}
