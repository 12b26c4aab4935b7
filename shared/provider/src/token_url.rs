//! Where tokens are exchanged: one address, or one that a document's fields complete.

use std::fmt::Write;
use std::net::IpAddr;

use url::Url;

use super::host_pattern::HostPattern;
use super::template::{Part, TextTemplate};

/// The address of a token endpoint.
#[derive(Debug, Clone)]
pub struct TokenUrl(Form);

#[derive(Debug, Clone)]
enum Form {
    Fixed(Url),
    Completed(CompletedUrl),
}

#[derive(Debug, Clone)]
struct CompletedUrl {
    setting: &'static str,
    template: TextTemplate,
    text: String,
    hosts: Vec<HostPattern>,
    allow_http: bool,
}

impl From<Url> for TokenUrl {
    fn from(url: Url) -> Self {
        Self(Form::Fixed(url))
    }
}

impl TokenUrl {
    /// Reads what the settings say in `setting`.
    ///
    /// # Errors
    /// The setting that is wrong, and what would be right.
    pub(super) fn read(
        setting: &'static str,
        text: &str,
        hosts: &[HostPattern],
        allow_http: bool,
    ) -> Result<Self, (&'static str, String)> {
        let wrong = |reason: String| (setting, reason);
        let template = TextTemplate::read(text).map_err(wrong)?;
        if template.names().next().is_none() {
            let url = checked(text, allow_http).map_err(wrong)?;
            if !hosts.is_empty() && !is_http(&url) {
                within(&url, hosts).map_err(wrong)?;
            }
            return Ok(Self(Form::Fixed(url)));
        }
        let in_host = completes_host(&template);
        if in_host && hosts.is_empty() {
            let reason = format!(
                "it is missing: name the hosts that the fields in {setting} may lead to, such as \
                 [\"*.example.com\"], since refresh tokens are sent there"
            );
            return Err(("token_hosts", reason));
        }
        let url = Self(Form::Completed(CompletedUrl {
            setting,
            template,
            text: text.to_owned(),
            hosts: hosts.to_vec(),
            allow_http,
        }));
        if !in_host {
            url.complete(|_| Some("x")).map_err(wrong)?;
        }
        Ok(url)
    }

    /// The same address on another host, for one that stands for the provider. Values of a document that choose
    /// the host choose nothing then; those of the path stay.
    ///
    /// # Errors
    /// If the address cannot be on that host.
    pub fn on_host(&self, base: &Url) -> Result<Self, String> {
        let text = self.as_str();
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let base = base.as_str().trim_end_matches('/');
        Self::read("token_url", &format!("{base}/{path}"), &[], true).map_err(|(_, reason)| reason)
    }

    /// A value for each name that it needs, such that it leads to one of its hosts.
    pub(super) fn sample(&self) -> Vec<(&str, String)> {
        let Form::Completed(CompletedUrl { text, hosts, .. }) = &self.0 else {
            return Vec::new();
        };
        let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        let around = host.split_once('{').and_then(|(before, rest)| {
            let (name, after) = rest.split_once('}')?;
            Some((name, before, after))
        });
        let of_host = |before: &str, after: &str| {
            let hosts = hosts.iter().map(|host| host.as_str().replace('*', "a"));
            let part =
                |host: String| Some(host.strip_prefix(before)?.strip_suffix(after)?.to_owned());
            hosts.filter_map(part).find(|part| !part.is_empty())
        };
        let value = |name: &str| match around {
            Some((known, before, after)) if known == name => of_host(before, after),
            _ => None,
        };
        let names = self.names().into_iter();
        names.map(|name| (name, value(name).unwrap_or_else(|| "sample".to_owned()))).collect()
    }

    /// The address, if it is the same for all documents.
    pub fn fixed(&self) -> Option<&Url> {
        match &self.0 {
            Form::Fixed(url) => Some(url),
            Form::Completed(_) => None,
        }
    }

    /// Its host, if it is the same for all documents.
    pub fn host_str(&self) -> Option<&str> {
        self.fixed()?.host_str()
    }

    /// As it is written in the settings.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Fixed(url) => url.as_str(),
            Form::Completed(url) => &url.text,
        }
    }

    /// The names of the values that it needs.
    pub(super) fn names(&self) -> Vec<&str> {
        match &self.0 {
            Form::Fixed(_) => Vec::new(),
            Form::Completed(url) => url.template.names().collect(),
        }
    }

    /// The address with a document's values.
    ///
    /// # Errors
    /// Why nothing may be sent for this document.
    pub(super) fn complete<'a>(
        &self,
        value: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Url, String> {
        let CompletedUrl { setting, template, hosts, allow_http, .. } = match &self.0 {
            Form::Fixed(url) => return Ok(url.clone()),
            Form::Completed(url) => url,
        };
        let mut url = String::new();
        for part in template.parts() {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Value(name) => {
                    let value = value(name).filter(|value| !value.is_empty());
                    let value = value.ok_or_else(|| {
                        format!(
                            "the document has no {name}, which {setting} needs; nothing was sent"
                        )
                    })?;
                    insert(&mut url, name, value)?;
                }
            }
        }
        let url = checked(&url, *allow_http).map_err(|reason| {
            format!("the document's fields make {setting} wrong, so nothing was sent: {reason}")
        })?;
        if !hosts.is_empty() {
            within(&url, hosts)?;
        }
        Ok(url)
    }
}

/// Whether a value decides where the URL leads.
fn completes_host(template: &TextTemplate) -> bool {
    let mut before = String::new();
    for part in template.parts() {
        match part {
            Part::Text(text) => before.push_str(text),
            Part::Value(_) => return !has_path(&before),
        }
    }
    false
}

/// Whether the host is complete.
fn has_path(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']))
}

/// Puts a value in: into the host as it is, into the rest as one step that cannot leave its place.
fn insert(url: &mut String, name: &str, value: &str) -> Result<(), String> {
    if has_path(url) {
        if matches!(value, "." | "..") {
            return Err(format!(
                "the document's {name} is no part of an address; nothing was sent"
            ));
        }
        for byte in value.bytes() {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                    url.push(char::from(byte));
                }
                // Writing to a string does not fail.
                _ => drop(write!(url, "%{byte:02X}")),
            }
        }
        return Ok(());
    }
    // A value that is a whole address keeps its scheme where that is not given.
    let (scheme, host) = value.split_once("://").unwrap_or(("https", value));
    let host = host.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
    if host.is_empty() || !host.chars().all(plain) || !matches!(scheme, "https" | "http") {
        return Err(format!("the document's {name} is no host; nothing was sent"));
    }
    if url.is_empty() {
        url.push_str(scheme);
        url.push_str("://");
    }
    url.push_str(host);
    Ok(())
}

/// That tokens may be sent to a URL.
fn checked(text: &str, allow_http: bool) -> Result<Url, String> {
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        return Err("it must be a URL that begins with https://".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("it must hold neither a user nor a password nor a #".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_token_url_safe(&url) || allow_http => Ok(url),
        _ => Err("it must begin with https://, since refresh tokens and the client's secret are sent \
                  there. http:// is for this machine, or for a simulator with allow_http = true in its \
                  section"
            .to_owned()),
    }
}

/// A simulator's, which stands for the provider.
fn is_http(url: &Url) -> bool {
    url.scheme() == "http"
}

fn within(url: &Url, hosts: &[HostPattern]) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if hosts.iter().any(|pattern| pattern.fits(&host)) {
        return Ok(());
    }
    let known: Vec<&str> = hosts.iter().map(HostPattern::as_str).collect();
    Err(format!(
        "it leads to {}, which is none of token_hosts ({}); nothing was sent",
        host.chars().take(100).collect::<String>(),
        known.join(", ")
    ))
}

/// Whether a request to this URL is encrypted, or leaves this machine at all.
pub fn is_token_url_safe(url: &Url) -> bool {
    let host = host_of(url);
    let is_loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme() == "https" || is_loopback || host == "localhost"
}

/// The host of a URL, an address without brackets.
pub fn host_of(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|text| HostPattern::try_from((*text).to_owned()).unwrap()).collect()
    }

    fn complete(text: &str, patterns: &[&str], value: &str) -> Result<String, String> {
        let url = TokenUrl::read("token_url", text, &hosts(patterns), false)
            .map_err(|(_, reason)| reason)?;
        url.complete(|_| Some(value)).map(String::from)
    }

    #[test]
    fn a_documents_fields_complete_host_and_path() {
        let shop = "https://{shop}/admin/oauth/access_token";
        let right = Ok("https://a.myshopify.com/admin/oauth/access_token".to_owned());
        assert_eq!(complete(shop, &["*.myshopify.com"], "a.myshopify.com"), right);
        assert_eq!(complete(shop, &["*.myshopify.com"], "https://a.myshopify.com/"), right);
        let zoho = "{server}/oauth/v2/token";
        let eu = Ok("https://accounts.zoho.eu/oauth/v2/token".to_owned());
        for value in ["https://accounts.zoho.eu", "accounts.zoho.eu"] {
            assert_eq!(complete(zoho, &["accounts.zoho.eu"], value), eu);
        }
        assert!(complete(zoho, &["accounts.zoho.eu"], "http://accounts.zoho.eu").is_err());
        let tenant = "https://login.example.com/{tenant}/token";
        assert_eq!(
            complete(tenant, &[], "a b"),
            Ok("https://login.example.com/a%20b/token".to_owned())
        );
    }

    #[test]
    fn a_field_that_leads_elsewhere_sends_nothing() {
        for value in [
            "evil.org",
            "evil.org/a.myshopify.com",
            "evil.org#.myshopify.com",
            "evil.org?.myshopify.com",
            "user@evil.org",
            "a.myshopify.com.evil.org",
            "a.myshopify.com:8443",
            "https://https://a.myshopify.com",
            "a.myshopify.com\\@evil.org",
            "",
            " ",
        ] {
            let refused = complete("https://{shop}/token", &["*.myshopify.com"], value);
            assert!(refused.unwrap_err().contains("nothing was sent"), "{value}");
        }
        let tenant = "https://login.example.com/{tenant}/token";
        for value in [".", ".."] {
            assert!(complete(tenant, &[], value).is_err(), "{value}");
        }
        let inside = complete(tenant, &[], "../x?y#z@evil.org").unwrap();
        assert_eq!(inside, "https://login.example.com/..%2Fx%3Fy%23z%40evil.org/token");
    }

    #[test]
    fn an_address_without_its_pattern_or_outside_of_it_is_refused_at_the_start() {
        let read = |text, patterns: &[&str]| {
            TokenUrl::read("token_url", text, &hosts(patterns), false).map(drop)
        };
        assert_eq!(read("https://{shop}/t", &[]).unwrap_err().0, "token_hosts");
        assert_eq!(read("{server}/t", &[]).unwrap_err().0, "token_hosts");
        assert_eq!(read("https://{shop", &["a.com"]).unwrap_err().0, "token_url");
        assert_eq!(read("https://a.org/t", &["*.example.com"]).unwrap_err().0, "token_url");
        assert_eq!(read("http://a.org/{x}/t", &[]).unwrap_err().0, "token_url");
        assert!(read("https://a.example.com/t", &["*.example.com"]).is_ok());
        assert!(read("http://127.0.0.1:9/t", &["*.example.com"]).is_ok());
    }
}
