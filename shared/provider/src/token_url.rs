//! Whether what is sent to a token endpoint is encrypted.

use std::net::IpAddr;

use url::Url;

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
