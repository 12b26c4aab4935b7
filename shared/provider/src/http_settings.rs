//! How providers are reached: the section `http` of the settings, of all providers and of each.
#![allow(missing_docs, reason = "default.toml documents each setting, and one place is enough")]

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, NoProxy, Proxy};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use evergrant_settings::{ConfigError, duration, secret};

/// How long an idle connection is kept. Servers and load balancers close theirs after 60 s or later: a
/// request that meets a connection as it closes has an answer in doubt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an HTTP/2 connection on which an answer is awaited is asked whether it is alive, and how long
/// it may take to say so. All requests of a provider share such a connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A longer age cannot be told from none.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(365 * 86_400);
const NO_PROXY_ALONE: &str = "it goes with a proxy that these settings name, and there is none: name it by proxy, or set the \
     variable NO_PROXY, which goes with proxy = \"environment\"";

/// How providers are reached, as the settings say it. What a provider's section does not give comes from that
/// of all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    pub ca_file: Option<PathBuf>,
    pub proxy: Option<SecretString>,
    pub proxy_file: Option<PathBuf>,
    pub no_proxy: Option<Vec<String>>,
    pub http2: Option<bool>,
    pub connections_per_host: Option<u32>,
    #[serde(deserialize_with = "duration::optional")]
    pub connection_max_age: Option<Duration>,
}

/// How a provider is reached.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Certificates that are trusted beside the usual ones, as PEM.
    authorities: Vec<u8>,
    proxy: ProxyChoice,
    is_http2: bool,
    /// How many connections to a host there may be.
    pub(super) connections_per_host: u32,
    /// How long a connection may be used for another request.
    pub(super) connection_max_age: Duration,
}

/// The proxy of requests.
#[derive(Debug, Clone)]
enum ProxyChoice {
    /// As `HTTPS_PROXY`, `NO_PROXY` and the like say.
    OfEnvironment,
    None,
    At {
        url: SecretString,
        except: Option<String>,
    },
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            authorities: Vec::new(),
            proxy: ProxyChoice::OfEnvironment,
            is_http2: true,
            connections_per_host: 256,
            connection_max_age: Duration::from_secs(300),
        }
    }
}

impl HttpConfig {
    /// What `self` gives, and what `general` gives beside that.
    pub(super) fn over(&self, general: &Self) -> Self {
        let gives_proxy = self.proxy.is_some() || self.proxy_file.is_some();
        let proxy = if gives_proxy { self } else { general };
        // Its exceptions belong to a proxy that is named.
        let names_none = self.proxy.as_ref().is_some_and(|proxy| is_word(proxy.expose_secret()));
        let exceptions = general.no_proxy.as_ref().filter(|_| !names_none);
        Self {
            ca_file: self.ca_file.clone().or_else(|| general.ca_file.clone()),
            proxy: proxy.proxy.clone(),
            proxy_file: proxy.proxy_file.clone(),
            no_proxy: self.no_proxy.as_ref().or(exceptions).cloned(),
            http2: self.http2.or(general.http2),
            connections_per_host: self.connections_per_host.or(general.connections_per_host),
            connection_max_age: self.connection_max_age.or(general.connection_max_age),
        }
    }
}

impl HttpSettings {
    /// Reads and checks a section; `section` is its name.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is wrong.
    pub fn of_config(config: &HttpConfig, section: &str) -> Result<Self, ConfigError> {
        let setting = |name: &str| format!("{section}.{name}");
        let wrong = |name, reason| Err(ConfigError::invalid(setting(name), reason));
        let default = Self::default();
        let settings = Self {
            authorities: authorities(config, &setting("ca_file"))?,
            proxy: proxy(config, &setting)?,
            is_http2: config.http2.unwrap_or(default.is_http2),
            connections_per_host: config
                .connections_per_host
                .unwrap_or(default.connections_per_host),
            connection_max_age: config.connection_max_age.unwrap_or(default.connection_max_age),
        };
        if settings.connections_per_host == 0 {
            return wrong("connections_per_host", "it must be at least 1");
        }
        if !(Duration::from_secs(1)..=CONNECTION_AGE_MAX).contains(&settings.connection_max_age) {
            return wrong("connection_max_age", "it must be from 1s to 365days");
        }
        if config.no_proxy.is_some() && matches!(settings.proxy, ProxyChoice::OfEnvironment) {
            return wrong("no_proxy", NO_PROXY_ALONE);
        }
        Ok(settings)
    }

    /// The same without a proxy, for a server on this machine.
    #[must_use]
    pub fn without_proxy(self) -> Self {
        Self { proxy: ProxyChoice::None, ..self }
    }

    /// A client that reaches servers so.
    ///
    /// # Errors
    /// If the certificates or the proxy are no longer what they were when they were checked.
    pub fn client_builder(&self) -> reqwest::Result<ClientBuilder> {
        let per_host = usize::try_from(self.connections_per_host).unwrap_or(usize::MAX);
        let mut client = ClientBuilder::new()
            .tls_certs_merge(Certificate::from_pem_bundle(&self.authorities)?)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(per_host)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_INTERVAL);
        if !self.is_http2 {
            client = client.http1_only();
        }
        Ok(match &self.proxy {
            ProxyChoice::OfEnvironment => client,
            ProxyChoice::None => client.no_proxy(),
            ProxyChoice::At { url, except } => {
                let except = except.as_deref().map_or_else(NoProxy::from_env, NoProxy::from_string);
                client.proxy(Proxy::all(url.expose_secret())?.no_proxy(except))
            }
        })
    }
}

fn authorities(config: &HttpConfig, setting: &str) -> Result<Vec<u8>, ConfigError> {
    let Some(path) = &config.ca_file else { return Ok(Vec::new()) };
    let wrong = |reason: String| ConfigError::invalid(setting, reason);
    let pem = std::fs::read(path)
        .map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(wrong(format!("{} must hold certificates as PEM", path.display()))),
    }
}

/// Whether it stands for no address.
fn is_word(proxy: &str) -> bool {
    matches!(proxy, "environment" | "none")
}

fn proxy(
    config: &HttpConfig,
    setting: &impl Fn(&str) -> String,
) -> Result<ProxyChoice, ConfigError> {
    let of_file = config.proxy_file.as_ref();
    let of_file = of_file.map(|file| secret::of_file(file, &setting("proxy_file"))).transpose()?;
    let Some(url) = of_file.or_else(|| config.proxy.clone()) else {
        return Ok(ProxyChoice::OfEnvironment);
    };
    match url.expose_secret() {
        "environment" => return Ok(ProxyChoice::OfEnvironment),
        "none" => return Ok(ProxyChoice::None),
        _ => {}
    }
    let is_proxy = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !Url::parse(url.expose_secret()).is_ok_and(|url| is_proxy(&url)) {
        let reason =
            "it must be an address such as http://proxy.example.com:3128, or environment, or none";
        return Err(ConfigError::invalid(setting("proxy"), reason));
    }
    Ok(ProxyChoice::At { url, except: config.no_proxy.as_ref().map(|hosts| hosts.join(",")) })
}
