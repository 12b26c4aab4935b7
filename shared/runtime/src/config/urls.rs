//! The two addresses that choose the adapters: `store.url` and `queue.url`, parsed once.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use evergrant_sqlite::path_of_url;

/// Where documents live.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// `mongodb://` or `mongodb+srv://`: the whole URL, which may hold a password.
    Mongodb(SecretString),
    /// `sqlite:`: the file.
    Sqlite(PathBuf),
}

/// How jobs travel.
#[derive(Debug, Clone)]
pub enum QueueUrl {
    /// `amqp://` or `amqps://`: the whole URL, which may hold a password.
    Amqp(SecretString),
    /// `sqlite:`: the file.
    Sqlite(PathBuf),
}

const MONGODB: [&str; 2] = ["mongodb://", "mongodb+srv://"];
const AMQP: [&str; 2] = ["amqp://", "amqps://"];
const SQLITE: &str = "sqlite:";

impl StoreUrl {
    /// # Errors
    /// Says what a store's URL looks like if this is none. It does not quote it.
    pub fn parse(url: &SecretString) -> Result<Self, String> {
        match parse(url, &MONGODB)? {
            Some(file) => Ok(Self::Sqlite(file)),
            None => Ok(Self::Mongodb(url.clone())),
        }
    }

    /// The file that holds the documents, if no server does.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(file) => Some(file),
            Self::Mongodb(_) => None,
        }
    }

    /// The URL of the server that holds the documents, if no file does.
    pub fn server(&self) -> Option<&SecretString> {
        match self {
            Self::Mongodb(url) => Some(url),
            Self::Sqlite(_) => None,
        }
    }
}

impl QueueUrl {
    /// # Errors
    /// Says what a queue's URL looks like if this is none. It does not quote it.
    pub fn parse(url: &SecretString) -> Result<Self, String> {
        match parse(url, &AMQP)? {
            Some(file) => Ok(Self::Sqlite(file)),
            None => Ok(Self::Amqp(url.clone())),
        }
    }

    /// The file that holds the jobs, if no broker does.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(file) => Some(file),
            Self::Amqp(_) => None,
        }
    }

    /// The URL of the broker that holds the jobs, if no file does.
    pub fn server(&self) -> Option<&SecretString> {
        match self {
            Self::Amqp(url) => Some(url),
            Self::Sqlite(_) => None,
        }
    }
}

/// The file that a URL names; None if it is of one of the servers' schemes.
fn parse(url: &SecretString, servers: &[&str]) -> Result<Option<PathBuf>, String> {
    let url = url.expose_secret();
    if servers.iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(None);
    }
    if !url.starts_with(SQLITE) {
        return Err(format!("it must begin with {} or {SQLITE}", servers.join(" or ")));
    }
    path_of_url(url).map(Some).map_err(str::to_owned)
}

impl<'de> Deserialize<'de> for StoreUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&SecretString::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for QueueUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&SecretString::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
