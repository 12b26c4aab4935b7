//! A login that is under way at the provider. The browser keeps it, with our signature, so that
//! unknown visitors who begin logins use no memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openidconnect::{CsrfToken, Nonce, PkceCodeVerifier};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How long a login at the provider may take.
pub(crate) const FLOW_TTL: Duration = Duration::from_secs(600);
/// The longest return address in the cookie, which must fit into a header.
const NEXT_MAX: usize = 1_500;

/// What a browser keeps until it returns from the provider.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// The state, which the provider returns with the code, so that nobody can inject a login of
    /// their own.
    state: String,
    /// The nonce, which the ID token must contain, so that it belongs to this login.
    nonce: String,
    /// The verifier, which proves that the code is redeemed by its requester (RFC 7636).
    verifier: String,
    /// Where to go after the login.
    next: String,
    /// When it expires, in seconds since 1970.
    ends_at: u64,
}

impl Flow {
    pub(super) fn new(
        state: &CsrfToken,
        nonce: &Nonce,
        verifier: &PkceCodeVerifier,
        next: &str,
    ) -> Self {
        Self {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            next: if fits(next) { next.to_owned() } else { "/".to_owned() },
            ends_at: unix_seconds() + FLOW_TTL.as_secs(),
        }
    }

    /// The form that the browser keeps.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The flow that a browser kept, unless it has expired.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let flow: Self = serde_json::from_str(text).ok()?;
        (unix_seconds() < flow.ends_at).then_some(flow)
    }

    /// Whether an answer belongs to this login.
    pub(crate) fn is_answered_by(&self, state: &str) -> bool {
        // Compares hashes, so that the duration reveals nothing.
        Sha256::digest(&self.state) == Sha256::digest(state)
    }

    pub(crate) fn next(&self) -> &str {
        &self.next
    }

    pub(super) fn nonce(&self) -> Nonce {
        Nonce::new(self.nonce.clone())
    }

    pub(super) fn verifier(&self) -> PkceCodeVerifier {
        PkceCodeVerifier::new(self.verifier.clone())
    }
}

fn fits(next: &str) -> bool {
    url::form_urlencoded::byte_serialize(next.as_bytes()).map(str::len).sum::<usize>() <= NEXT_MAX
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let (_, verifier) = openidconnect::PkceCodeChallenge::new_random_sha256();
        Flow::new(&CsrfToken::new_random(), &Nonce::new_random(), &verifier, "/tokens")
    }

    #[test]
    fn a_flow_accepts_only_its_answer_in_time() {
        let begun = flow();
        let kept = Flow::of_text(&begun.to_text()).unwrap();
        assert!(kept.is_answered_by(&begun.state) && kept.next() == "/tokens");
        assert!(!kept.is_answered_by(&flow().state) && !kept.is_answered_by(""));
        let late = Flow { ends_at: unix_seconds(), ..flow() };
        assert!(Flow::of_text(&late.to_text()).is_none());
        assert!(Flow::of_text("{}").is_none());
    }

    #[test]
    fn a_flow_fits_into_a_cookie() {
        let (_, verifier) = openidconnect::PkceCodeChallenge::new_random_sha256();
        for next in [format!("/{}", "x".repeat(5_000)), format!("/{}", "\"".repeat(900))] {
            let flow = Flow::new(&CsrfToken::new_random(), &Nonce::new_random(), &verifier, &next);
            assert!(flow.to_text().len() < 1_500 && flow.next() == "/");
        }
    }
}
