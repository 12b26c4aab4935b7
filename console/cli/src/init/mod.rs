//! `evergrant init`: settings for a provider, after asking or from flags; secrets in files that only
//! their owner reads.

mod recipe;
mod template;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use evergrant_domain::ProviderId;
use evergrant_files::private_file;
use evergrant_provider::{DEFAULT_PRESET, preset};
use evergrant_rescue::SealingKeys;
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_sqlite::path_of_url;
use secrecy::{ExposeSecret, SecretString};

use crate::args::InitArgs;
use crate::exit::Exit;
use crate::output::Output;
pub(crate) use recipe::{RECIPES, StoreRecipe, recipe};
use template::{Answers, FILE, RESCUE_KEY, secret_file};

/// Settings that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("{} exists: choose another --folder, or replace it with --force", .0.display())]
    Exists(PathBuf),
    #[error("--{flag} is missing, and there is no terminal to ask at")]
    Missing {
        /// The flag that would give it.
        flag: &'static str,
    },
    #[error("--{flag}: {reason}")]
    Invalid {
        /// The flag that gives it.
        flag: &'static str,
        /// What would be right.
        reason: String,
    },
    #[error("write {}: {reason}", path.display())]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why it was not.
        reason: std::io::ErrorKind,
    },
}

/// Writes the settings, makes what they need, and says what to do next.
pub(crate) async fn init(args: &InitArgs, output: &Output) -> anyhow::Result<Exit> {
    let file = args.folder.join(FILE);
    if file.exists() && !args.force {
        return Err(InitError::Exists(file).into());
    }
    check_url(args.url.as_deref())?;
    let answers = answers(args)?;
    let secret = client_secret(args)?;
    make_folder(&args.folder)?;
    if let Some(secret) = &secret {
        write_private(&args.folder.join(secret_file(&answers.provider)), secret.expose_secret())?;
    }
    // One that seals what is still in a journal is never replaced.
    let key = args.folder.join(RESCUE_KEY);
    if !key.exists() {
        write_private(&key, SealingKeys::generate().expose_secret())?;
    }
    let text = template::render(&answers, &absolute(&args.folder)?, secret.is_some());
    write_private(&file, &text)?;

    // As every other command reads them.
    let config = Config::load(Some(&file), &[])?;
    config.exchanging_providers()?;
    connect::store(&config).await?.prepare().await?;
    connect::queue(&config, "evergrant init".to_owned())?.prepare().await?;
    let path = file.display();
    output.line(&format!(
        "wrote {path}\n\nNext:\n\n    evergrant --config {path} doctor\n    \
         evergrant --config {path} import tokens.jsonl\n    evergrant --config {path} run"
    ));
    Ok(Exit::Done)
}

/// One URL is both the store's and the queue's, so it is a file's. The error does not quote it: it may hold a
/// password.
fn check_url(url: Option<&str>) -> Result<(), InitError> {
    let wrong = |reason| InitError::Invalid {
        flag: "url",
        reason: format!(
            "{reason}; servers are named in the settings, by url_file where their URLs hold a password"
        ),
    };
    url.map_or(Ok(()), |url| path_of_url(url).map(drop).map_err(wrong))
}

fn answers(args: &InitArgs) -> Result<Answers, InitError> {
    let preset_name = args.preset();
    let default = if preset_name == DEFAULT_PRESET { "provider" } else { preset_name };
    let provider =
        ask("provider", "Name of the provider", args.provider.as_deref(), Some(default))?;
    let provider: ProviderId = provider
        .parse()
        .map_err(|error| InitError::Invalid { flag: "provider", reason: format!("{error}") })?;
    let known = preset(preset_name)
        .map_err(|error| InitError::Invalid { flag: "preset", reason: error.to_string() })?;
    let token_url = if known.has("token_url") {
        args.token_url.clone()
    } else {
        Some(ask("token-url", "URL of its token endpoint", args.token_url.as_deref(), None)?)
    };
    let client_id =
        ask("client-id", "Client id of your application", args.client_id.as_deref(), None)?;
    let url = args.url.clone();
    let (client_auth, recipe) = (args.client_auth, args.recipe());
    let preset = preset_name.to_owned();
    Ok(Answers { provider, preset, token_url, client_id, client_auth, url, recipe })
}

/// What a flag says, or somebody at the terminal.
fn ask(
    flag: &'static str,
    question: &str,
    given: Option<&str>,
    default: Option<&str>,
) -> Result<String, InitError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return default.map(str::to_owned).ok_or(InitError::Missing { flag });
    }
    let hint = default.map(|default| format!(" [{default}]")).unwrap_or_default();
    let _ = write!(std::io::stderr(), "{question}{hint}: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    let answer = answer.trim();
    match (read, answer.is_empty(), default) {
        (Ok(_), false, _) => Ok(answer.to_owned()),
        (Ok(_), true, Some(default)) => Ok(default.to_owned()),
        _ => Err(InitError::Missing { flag }),
    }
}

/// The client's secret: from a file, or typed without being shown. None for a public client.
fn client_secret(args: &InitArgs) -> Result<Option<SecretString>, InitError> {
    const FLAG: &str = "client-secret-file";
    if args.public_client {
        return Ok(None);
    }
    let text = match &args.client_secret_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| InitError::Invalid {
            flag: FLAG,
            reason: format!("cannot read {}: {}", path.display(), error.kind()),
        })?,
        None => {
            let terminal = console::Term::stderr();
            if !terminal.is_term() {
                return Err(InitError::Missing { flag: FLAG });
            }
            let _ = write!(std::io::stderr(), "Client secret (not shown): ");
            terminal.read_secure_line().map_err(|_| InitError::Missing { flag: FLAG })?
        }
    };
    match text.trim() {
        "" => Err(InitError::Invalid { flag: FLAG, reason: "it is empty".to_owned() }),
        secret => Ok(Some(SecretString::from(secret))),
    }
}

fn make_folder(folder: &Path) -> Result<(), InitError> {
    private_file::create_folder(folder).map_err(|error| failed(folder, &error))
}

fn absolute(folder: &Path) -> Result<PathBuf, InitError> {
    folder.canonicalize().map_err(|error| failed(folder, &error))
}

/// A line in a file that only its owner reads.
fn write_private(path: &Path, text: &str) -> Result<(), InitError> {
    private_file::write(path, format!("{text}\n").as_bytes()).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> InitError {
    InitError::Write { path: path.to_owned(), reason: error.kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_server_is_refused_and_not_quoted() {
        let refused = check_url(Some("mongodb://me:S3cretPw@db")).unwrap_err().to_string();
        assert!(refused.contains("--url") && !refused.contains("S3cretPw"), "{refused}");
        assert!(check_url(None).is_ok() && check_url(Some("sqlite:e.db")).is_ok());
    }
}
