//! `evergrant keys`

use std::time::Duration;

use clap::{Args, Subcommand};
use evergrant_domain::ProviderId;
use evergrant_domain::api_key::KeyScope;

/// What is done with the gateway's keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key and print it, once: only its hash is stored.
    Create(KeyWish),
    /// List keys, never their secrets.
    List,
    /// Give a key a second secret and print it. The one before it stays valid for a while.
    Rotate {
        /// The key's name.
        name: String,
        /// How long the secret before stays valid.
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        overlap: Duration,
        /// How long the new secret is valid [default: until it is replaced or revoked].
        #[arg(long, value_parser = humantime::parse_duration)]
        valid_for: Option<Duration>,
        /// The reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Remove a key. Gateways refuse it within a second.
    Revoke {
        /// The key's name.
        name: String,
        /// The reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
}

/// A key that is wanted.
#[derive(Debug, Args)]
pub(crate) struct KeyWish {
    /// Its name: small letters, digits and hyphens.
    pub(crate) name: String,
    /// What its holder may do, separated by commas: status (see grants), token (get access tokens), write
    /// (put tokens in and forget grants).
    #[arg(long, value_delimiter = ',', default_value = "token")]
    pub(crate) scopes: Vec<KeyScope>,
    /// Only for grants of these providers.
    #[arg(long, value_delimiter = ',')]
    pub(crate) providers: Vec<ProviderId>,
    /// Only for grants of these users: ids, each with an optional * at its end.
    #[arg(long, value_delimiter = ',')]
    pub(crate) users: Vec<String>,
    /// How long it is valid [default: until it is revoked].
    #[arg(long, value_parser = humantime::parse_duration)]
    pub(crate) valid_for: Option<Duration>,
    /// The reason, for the audit record.
    #[arg(long, default_value = "")]
    pub(crate) why: String,
}
