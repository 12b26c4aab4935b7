//! Which hosts a token may be sent to.

use serde::Deserialize;

/// A host, with `*` for a label or a part of one: `*.example.com`, `api-*.example.com`, `127.0.0.1:*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern(String);

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*' | ':');
        let host = pattern.split(':').next().unwrap_or_default();
        let labels: Vec<&str> = host.split('.').collect();
        let fixed =
            labels.iter().rev().take(2).all(|label| !label.is_empty() && !label.contains('*'));
        if !pattern.chars().all(plain) || !fixed || labels.iter().any(|label| label.is_empty()) {
            return Err(
                "it must be a host such as accounts.example.com or *.example.com: the last two \
                        names have no *"
                    .to_owned(),
            );
        }
        Ok(Self(pattern.to_ascii_lowercase()))
    }
}

impl HostPattern {
    /// Whether a host, with its port if that is not the usual one, fits.
    pub(super) fn fits(&self, host: &str) -> bool {
        fits(self.0.as_bytes(), host.to_ascii_lowercase().as_bytes())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// `*` stands for one or more letters, digits and dashes.
fn fits(pattern: &[u8], host: &[u8]) -> bool {
    match (pattern, host) {
        ([], []) => true,
        ([b'*', rest @ ..], [first, host @ ..]) => {
            (first.is_ascii_alphanumeric() || *first == b'-')
                && (fits(rest, host) || fits(pattern, host))
        }
        ([wanted, pattern @ ..], [first, host @ ..]) => wanted == first && fits(pattern, host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Result<HostPattern, String> {
        HostPattern::try_from(text.to_owned())
    }

    #[test]
    fn a_star_stands_for_one_name_or_a_part_of_it() {
        for (text, host, does_fit) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A-1.EXAMPLE.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.example.com.evil.org", false),
            ("*.example.com", "evil.org#a.example.com", false),
            ("*.example.com", "a.example.com:8080", false),
            ("api-*.example.com", "api-eu.example.com", true),
            ("api-*.example.com", "api-.example.com", false),
            ("127.0.0.1:*", "127.0.0.1:8080", true),
            ("127.0.0.1:*", "127.0.0.1", false),
            ("example.com", "example.com", true),
        ] {
            assert_eq!(pattern(text).unwrap().fits(host), does_fit, "{text} {host}");
        }
    }

    #[test]
    fn a_pattern_that_any_domain_fits_is_refused() {
        for text in ["*", "*.com", "accounts.example.*", "", "a..com", "https://a.com", "a.com/x"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
