//! `evergrant console`: serves the web console, and its users.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evergrant_domain::audit::OperatorAction;
use evergrant_http_server::ServerTls;
use evergrant_producer::ProducerSettings;
use evergrant_runtime::config::Config;
use evergrant_runtime::{Process, connect, process};
use evergrant_web::{AccessPolicy, ConsoleDeps, ConsoleSettings, UsersFile};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::args::{ConsoleArgs, ConsoleCommand, UserCommand};
use crate::exit::Exit;
use crate::output::Output;
use evergrant_operations::operator::{ActingOperator, ActionSubject, os_user};

/// How long a change of the users may take to be noted.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the console until a signal, or changes its users.
pub(crate) async fn console(
    config: &Config,
    args: &ConsoleArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    match &args.command {
        None => serve(config, output).await,
        Some(ConsoleCommand::User { command }) => users(config, command, output).await,
    }
}

async fn serve(config: &Config, output: &Output) -> anyhow::Result<Exit> {
    let providers = config.some_providers()?.into_iter().map(Arc::new).collect();
    let settings: ConsoleSettings = config.section()?;
    let producer: ProducerSettings = config.section()?;
    let door = AccessPolicy::new(&settings, &os_user())?;
    let tls = settings.tls();
    let tls = tls.map(|(certificate, key)| ServerTls::new(certificate, key)).transpose()?;
    let shutdown = process::shutdown()?;
    let listen = settings.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen at {listen} (console.listen, or --listen)"))?;
    let process = Process::connect(config, "evergrant console", shutdown.clone()).await?;
    let deps = ConsoleDeps {
        store: process.store,
        queue: process.queue,
        providers,
        default_provider: config.default_provider(),
        queued_for: producer.queued_for,
        shutdown: process.shutdown,
    };
    evergrant_web::serve(listener, deps, door, tls, |words| output.message(words)).await?;
    Ok(if shutdown.is_interrupt() { Exit::Interrupted } else { Exit::Done })
}

async fn users(config: &Config, command: &UserCommand, output: &Output) -> anyhow::Result<Exit> {
    let settings: ConsoleSettings = config.section()?;
    let path = settings.users_file.as_deref().context(
        "which file are the users in? Give --users-file, or console.users_file in the settings",
    )?;
    let file = UsersFile::new(path);
    match command {
        UserCommand::Add { name, role, password_file } => {
            let password = match password_file {
                Some(path) => password_of(path)?,
                None => ask_for_password()?,
            };
            file.add(name.clone(), *role, &password)?;
            output.message(&format!("{name} may log in as {role}"));
            let request = json!({ "user": name.as_str(), "role": role.as_str() });
            note(config, OperatorAction::UserAdd, request, output).await;
        }
        UserCommand::List => {
            let users = file.users()?;
            if output.json {
                let list = users.iter().map(|(name, user)| {
                    serde_json::json!({ "name": name.as_str(), "role": user.role.as_str() })
                });
                output.json(&list.collect::<Vec<_>>());
            } else {
                let rows = users.iter().map(|(n, user)| vec![n.to_string(), user.role.to_string()]);
                output.table(&["NAME", "ROLE"], rows);
            }
            if users.is_empty() {
                return Ok(Exit::Nothing);
            }
        }
        UserCommand::Remove { name } => {
            file.remove(name)?;
            output.message(&format!("{name} may not log in any more"));
            let request = json!({ "user": name.as_str() });
            note(config, OperatorAction::UserRemove, request, output).await;
        }
    }
    Ok(Exit::Done)
}

/// Notes a change of the users in the audit record. The first user may be made before there is a store, so
/// one that cannot be reached is told and no more.
async fn note(config: &Config, action: OperatorAction, request: Value, output: &Output) {
    let noting = async {
        let operator = ActingOperator::of_this_terminal(connect::store(config).await?);
        anyhow::Ok(operator.note(ActionSubject::all(action, request), 1, String::new()).await?)
    };
    let noted = tokio::time::timeout(NOTE_TIMEOUT, noting).await;
    let why = match noted {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the store does not answer".to_owned(),
    };
    output.message(&format!("it is not in the audit record: {why}"));
}

/// The first line of a file, or of standard input.
fn password_of(path: &Path) -> anyhow::Result<SecretString> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read the password from standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
    };
    Ok(SecretString::from(text.lines().next().unwrap_or_default()))
}

fn ask_for_password() -> anyhow::Result<SecretString> {
    anyhow::ensure!(
        std::io::stdin().is_terminal(),
        "nobody can type a password here: give --password-file FILE, or - for standard input"
    );
    let ask = |words: &str| -> anyhow::Result<String> {
        ::console::Term::stderr().write_str(words)?;
        Ok(::console::Term::stderr().read_secure_line()?)
    };
    let password = ask("Password: ")?;
    anyhow::ensure!(password == ask("Again: ")?, "the two are not the same");
    Ok(SecretString::from(password))
}
