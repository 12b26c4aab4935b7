//! Addresses within the console.

use axum::http::{HeaderMap, header};
use url::Url;

/// The page that sent a form, as the sender claims.
pub(super) fn sent_from(headers: &HeaderMap) -> String {
    let from = headers.get(header::REFERER).and_then(|from| Url::parse(from.to_str().ok()?).ok());
    let Some(from) = from else { return "/".to_owned() };
    let address = match from.query() {
        Some(query) => format!("{}?{query}", from.path()),
        None => from.path().to_owned(),
    };
    local(&address).unwrap_or("/").to_owned()
}

/// An address within the console, and never one that a browser could take for another site's.
pub(super) fn local(address: &str) -> Option<&str> {
    let begins = address.starts_with('/') && !address.starts_with("//");
    let odd = |c: char| c == '\\' || c.is_control();
    (begins && !address.contains(odd)).then_some(address)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_forms_referer_never_leads_to_another_site() {
        let from = |referer| {
            let headers = [(header::REFERER, HeaderValue::from_static(referer))].into_iter();
            sent_from(&headers.collect())
        };
        assert_eq!(from("https://console.example/tokens?user=a"), "/tokens?user=a");
        assert_eq!(from("https://console.example//evil.example/"), "/");
        assert_eq!(from("nowhere"), "/");
    }

    #[test]
    fn a_login_never_leads_to_another_site() {
        assert_eq!(local("/tokens?user=a"), Some("/tokens?user=a"));
        for foreign in ["https://evil.example", "//evil.example", "/\\evil.example", "", "/a\tb"] {
            assert_eq!(local(foreign), None, "{foreign}");
        }
    }
}
