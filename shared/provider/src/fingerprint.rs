//! What stands for a client's settings where they must not be.

use std::fmt::Write;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{Provider, RegisteredClient};

/// So that a hash of this is no hash of anything else.
const DOMAIN: &[u8] = b"evergrant: settings of a client, 1";
/// Enough to see a change, and too few to find a secret by them.
const BYTES: usize = 8;

impl Provider {
    /// What stands for our client's settings there: another one means that what the provider says
    /// about grants may be said about the client. It tells nothing of them.
    pub fn fingerprint(&self) -> String {
        let scope = self.scope.as_deref().unwrap_or_default();
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        let secret_of = |client: &RegisteredClient| client.secret.clone().unwrap_or_default();
        let own = self.client.as_ref();
        add(self.token_url.as_str());
        add(own.map_or("", |client| &client.id));
        add(own.map(secret_of).unwrap_or_default().expose_secret());
        add(scope);
        for (name, client) in self.tenants.all() {
            add(name);
            add(&client.id);
            add(secret_of(client).expose_secret());
        }
        hash.finalize().iter().take(BYTES).fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use evergrant_runtime::config::Config;

    fn fingerprint(name: &str, value: &str) -> String {
        let variables = [
            ("TOKEN_URL", "https://example.com/token"),
            ("CLIENT_ID", "c"),
            ("CLIENT_SECRET", "s"),
            (name, value),
        ];
        let variables = variables
            .map(|(name, value)| (format!("EVERGRANT_PROVIDERS__P__{name}").into(), value.into()));
        let config = Config::from_parts(None, variables, &[]).unwrap();
        config.providers().unwrap()[0].fingerprint()
    }

    #[test]
    fn every_setting_of_the_client_shows_and_no_other_does() {
        let plain = fingerprint("LIMITS", r#"["1/s"]"#);
        assert_eq!(plain, fingerprint("LIMITS", r#"["2/s"]"#));
        for (name, value) in [
            ("TOKEN_URL", "https://example.com/other"),
            ("CLIENT_ID", "other"),
            ("CLIENT_SECRET", "other"),
            ("SCOPE", "other"),
        ] {
            assert_ne!(fingerprint(name, value), plain, "{name}");
        }
    }
}
