//! Settings that work and are not safe.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use figment::Provider as _;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use secrecy::ExposeSecret;
use url::Url;

use super::server_url::{ServerUrl, has_password, is_near};
use super::{Config, ConfigError, SECRETS};
use evergrant_provider::token_url::{host_of, is_token_url_safe};

/// A setting that works and is not safe. It holds no setting's value that is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWeakness {
    /// The setting.
    pub setting: String,
    /// What is not safe about it, and what to do.
    pub detail: String,
    /// Whether it is worth knowing and no more: somebody has allowed it for a host that is near, or users
    /// of this machine could read a secret.
    pub is_note: bool,
}

/// Settings that name a file with a secret, in whichever section.
const SECRET_FILES: [&str; 7] = [
    "url_file",
    "key_file",
    "tls_key",
    "client_secret_file",
    "client_key_file",
    "client_certificate_file",
    "proxy_file",
];

/// Where orchestrators put secrets, for containers of one user.
const OF_ORCHESTRATORS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

impl Config {
    /// What works and is not safe: connections in the clear, files that others may read.
    ///
    /// # Errors
    /// As [`Config::providers`].
    pub fn weaknesses(&self) -> Result<Vec<ConfigWeakness>, ConfigError> {
        let mut found = Vec::new();
        let servers =
            [("store.url", self.store.url.server()), ("queue.url", self.queue.url.server())];
        for (setting, url) in servers {
            found.extend(url.into_iter().flat_map(|url| of_server(setting, url.expose_secret())));
        }
        for provider in self.providers()? {
            let url = provider.token_url.fixed();
            found.extend(url.and_then(|url| of_token_url(provider.id.as_str(), url)));
        }
        let secrets = self.secret_files().into_iter();
        found.extend(secrets.filter_map(|(setting, path)| of_file(setting, &path, 0o006)));
        found.extend(self.file.as_deref().and_then(of_settings));
        Ok(found)
    }

    /// Logs each of them.
    ///
    /// # Errors
    /// As [`Config::weaknesses`].
    pub fn warn_of_weaknesses(&self) -> Result<(), ConfigError> {
        for ConfigWeakness { setting, detail, .. } in self.weaknesses()? {
            tracing::warn!(setting, "{detail}");
        }
        Ok(())
    }

    /// The files of all sections that hold a secret, by their settings.
    fn secret_files(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        add_secret_files(&self.merged.0.extract().unwrap_or_default(), "", &mut found);
        found
    }
}

fn add_secret_files(section: &Dict, path: &str, found: &mut Vec<(String, PathBuf)>) {
    for (name, value) in section {
        match value {
            Value::Dict(_, section) => add_secret_files(section, &format!("{path}{name}."), found),
            Value::String(_, file) if SECRET_FILES.contains(&name.as_str()) => {
                found.push((format!("{path}{name}"), PathBuf::from(file)));
            }
            _ => {}
        }
    }
}

fn of_token_url(provider: &str, url: &Url) -> Option<ConfigWeakness> {
    let host = host_of(url);
    (!is_token_url_safe(url)).then(|| ConfigWeakness {
        setting: format!("providers.{provider}.token_url"),
        detail: format!(
            "refresh tokens and the client's secret are sent to {host} in the clear, as allow_http \
             allows: use https:// for all but a simulator"
        ),
        is_note: is_near(host),
    })
}

fn of_server(setting: &str, url: &str) -> Vec<ConfigWeakness> {
    let Some(server) = ServerUrl::parse(url) else { return Vec::new() };
    let weakness = |detail| ConfigWeakness { setting: setting.to_owned(), detail, is_note: false };
    let hosts = server.in_the_clear();
    let clear = (!hosts.is_empty()).then(|| {
        weakness(format!(
            "what is sent to {} is not encrypted: use amqps://, or tls=true in a MongoDB URL",
            hosts.join(", ")
        ))
    });
    let insecure = server.insecure_option().map(|option| {
        weakness(format!(
            "with {option} anybody may be the server: name its CA by tlsCAFile instead"
        ))
    });
    clear.into_iter().chain(insecure).collect()
}

/// A file of settings may be read by all, unless it holds a secret; nobody else may write it.
fn of_settings(path: &Path) -> Option<ConfigWeakness> {
    let holds_secret =
        Toml::file_exact(path).data().is_ok_and(|profiles| profiles.values().any(has_secret));
    of_file("the configuration file".to_owned(), path, if holds_secret { 0o006 } else { 0o002 })
}

fn has_secret(section: &Dict) -> bool {
    section.iter().any(|(name, value)| match value {
        Value::Dict(_, section) => has_secret(section),
        Value::String(_, url) if name == "url" => has_password(url),
        // A user's name may be a key.
        Value::String(_, url) if name == "proxy" => url.contains('@'),
        _ => SECRETS.contains(&name.as_str()),
    })
}

/// What others may do with a file, of the bits of `mode`.
fn of_file(setting: String, path: &Path, mode: u32) -> Option<ConfigWeakness> {
    if OF_ORCHESTRATORS.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let found = path.metadata().ok()?.permissions().mode() & mode;
    let (what, is_note) = match found {
        0 => return None,
        found if found & 0o002 != 0 => ("changed", false),
        _ => ("read", true),
    };
    let path = path.display();
    let detail = format!("{path} can be {what} by every user of this machine: chmod o-rw {path}");
    Some(ConfigWeakness { setting, detail, is_note })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    const ID: (&str, &str) = ("EVERGRANT_PROVIDERS__P__CLIENT_ID", "id");

    fn load(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().chain([&ID]);
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::from_parts(file, variables, &[])
    }

    fn found(file: Option<&Path>, variables: &[(&str, &str)]) -> Vec<(String, bool)> {
        let weaknesses = load(file, variables).unwrap().weaknesses().unwrap();
        weaknesses.into_iter().map(|it| (it.setting, it.is_note)).collect()
    }

    fn with_token_url<'a>(url: &'a str, allow: &'a str) -> [(&'a str, &'a str); 3] {
        [
            ("EVERGRANT_PROVIDERS__P__TOKEN_URL", url),
            ("EVERGRANT_PROVIDERS__P__CLIENT_SECRET", "s"),
            ("EVERGRANT_PROVIDERS__P__ALLOW_HTTP", allow),
        ]
    }

    const TOKEN_URL: &str = "providers.p.token_url";

    #[test]
    fn a_token_goes_to_another_machine_over_tls_unless_somebody_allows_it() {
        for url in
            ["http://provider.example/token", "http://simulator:8080/token", "http://10.0.0.5/"]
        {
            let refused = load(None, &with_token_url(url, "")).unwrap_err().to_string();
            assert!(refused.contains("allow_http"), "{url}: {refused}");
            assert!(load(None, &with_token_url(url, "false")).is_err(), "{url}");
            let near = url.contains("simulator");
            let told = vec![(TOKEN_URL.to_owned(), near)];
            assert_eq!(found(None, &with_token_url(url, "true")), told, "{url}");
        }
        for url in ["https://provider.example/t", "http://localhost/t", "http://127.0.0.1:8080/t"] {
            assert!(found(None, &with_token_url(url, "")).is_empty(), "{url}");
        }
        assert!(found(None, &with_token_url("http://[::1]:8080/t", "")).is_empty());
        for url in
            ["https://me@provider.example/t", "https://me:pw@p.example", "https://p.example/#x"]
        {
            assert!(load(None, &with_token_url(url, "true")).is_err(), "{url}");
        }
    }

    #[test]
    fn servers_elsewhere_without_tls_are_told() {
        let settings = with_token_url("https://provider.example/t", "");
        let urls = [
            ("EVERGRANT_STORE__URL", "mongodb://me:pw@db.example.com/?tlsInsecure=true"),
            ("EVERGRANT_QUEUE__URL", "amqp://me:pw@mq.example.com"),
        ];
        let weaknesses = load(None, &[settings.as_slice(), &urls].concat()).unwrap();
        let weaknesses = weaknesses.weaknesses().unwrap();
        let settings: Vec<_> = weaknesses.iter().map(|it| it.setting.as_str()).collect();
        assert_eq!(settings, ["store.url", "queue.url"], "tlsInsecure is TLS");
        assert!(weaknesses[0].detail.contains("tlsinsecure"));
        assert!(!format!("{weaknesses:?}").contains("pw"));
    }

    #[test]
    fn secrets_that_all_may_read_and_settings_that_all_may_write_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let [secret, proxy, toml] =
            ["secret", "proxy", "e.toml"].map(|name| folder.path().join(name));
        std::fs::write(&secret, "s3cret").unwrap();
        std::fs::write(&proxy, "http://me:pw@proxy.example.com:3128").unwrap();
        let url = ("EVERGRANT_PROVIDERS__P__TOKEN_URL", "https://provider.example/t");
        let secret_file = ("EVERGRANT_PROVIDERS__P__CLIENT_SECRET_FILE", secret.to_str().unwrap());
        let proxy_file = ("EVERGRANT_HTTP__PROXY_FILE", proxy.to_str().unwrap());
        let given = [url, secret_file, proxy_file];
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        let told_of = |found: Vec<(String, bool)>, setting: &str| {
            found.into_iter().find(|(found, _)| found == setting).map(|(_, is_note)| is_note)
        };
        let note_of = |file| told_of(found(file, &given), "providers.p.client_secret_file");
        for (mode, note) in
            [(0o600, None), (0o640, None), (0o644, Some(true)), (0o602, Some(false))]
        {
            chmod(&secret, mode);
            assert_eq!(note_of(None), note, "{mode:o}");
            chmod(&proxy, mode);
            assert_eq!(told_of(found(None, &given), "http.proxy_file"), note, "{mode:o}");
        }
        chmod(&secret, 0o600);
        let plain = "[store]\ndatabase = \"app\"\n";
        let keys = "[providers.p]\nclient_secret = \"s\"\n";
        let urls = "[store]\nurl = \"mongodb://u:p@localhost\"\n";
        let through = "[http]\nproxy = \"http://me:pw@proxy.example.com:3128\"\n";
        let open = "[providers.p.http]\nproxy = \"http://proxy.example.com:3128\"\n";
        for (text, mode, note) in [
            (through, 0o644, Some(true)),
            (open, 0o644, None),
            (plain, 0o644, None),
            (plain, 0o646, Some(false)),
            (keys, 0o640, None),
            (keys, 0o644, Some(true)),
            (urls, 0o644, Some(true)),
        ] {
            std::fs::write(&toml, text).unwrap();
            chmod(&toml, mode);
            let told = told_of(found(Some(&toml), &given), "the configuration file");
            assert_eq!(told, note, "{mode:o} {text}");
        }
    }
}
