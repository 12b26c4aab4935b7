//! `evergrant`, the operator's command: arguments and wiring.

mod args;
mod demo;
mod dlq;
mod doctor;
mod exit;
mod export;
mod healthcheck;
mod import;
mod init;
mod migrate;
mod output;
mod plan;
mod providers;
mod run;
mod tokens;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use evergrant_shared::config::{Config, Override};
use evergrant_shared::ports::{JobQueue, TokenStore};
use evergrant_shared::telemetry::init_logs;
use evergrant_shared::{connect, process};

use args::{Args, Command, DlqCommand, TokensCommand};
use exit::Exit;
use output::Output;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    match carry_out(args, &output).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.message(&format!("error: {error:#}"));
            Exit::Error.into()
        }
    }
}

async fn carry_out(args: Args, output: &Output) -> anyhow::Result<Exit> {
    match args.command {
        Command::Healthcheck { url } => Ok(healthcheck::check(&url, output).await),
        Command::Demo(demo) => demo::demo(&demo, args.log_level, output).await,
        Command::Run(ref run) => {
            // The level of the settings, which is info unless somebody has said otherwise.
            let listen = ("telemetry.listen", run.listen.clone());
            let config = load(&args, [listen, ("telemetry.log_level", args.log_level.clone())])?;
            run::run(&config, run).await
        }
        Command::Init(ref wanted) => init::init(wanted, output).await,
        Command::Migrate(ref stores) => {
            let config = load(&args, quiet(&args))?;
            let from = config.with_store_url(stores.from.as_ref(), stores.from_file.as_deref());
            let to = config.with_store_url(stores.to.as_ref(), stores.to_file.as_deref());
            let (from, to) = (from.context("--from")?, to.context("--to")?);
            let from = connect::store(&from).await.context("--from")?;
            let to = connect::store(&to).await.context("--to")?;
            Ok(migrate::migrate(&*from, &*to, output).await?)
        }
        _ => operate(args, output).await,
    }
}

/// Commands that end by themselves say what they have to say as data.
fn quiet(args: &Args) -> [Override; 2] {
    let level = args.log_level.clone().unwrap_or_else(|| "warn".to_owned());
    [("telemetry.log_level", Some(level)), ("telemetry.listen", None)]
}

/// The settings, with logs as they say.
fn load(args: &Args, overrides: [Override; 2]) -> anyhow::Result<Config> {
    let config = Config::load(args.config.as_deref(), &overrides)?;
    init_logs(&config.telemetry)?;
    Ok(config)
}

async fn operate(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let config = load(&args, quiet(&args))?;
    let store = connect::store(&config).await?;
    let store = &*store;
    match args.command {
        Command::Import { file } => Ok(import::import(store, &file, output).await?),
        Command::Export { file, force } => Ok(export::export(store, &file, force, output).await?),
        Command::Tokens(TokensCommand::List(filter)) => {
            Ok(tokens::list(store, filter.into(), output).await?)
        }
        Command::Providers(command) => {
            Ok(providers::Providers::new(&config, store, output)?.run(command).await?)
        }
        Command::Tokens(TokensCommand::Show { id }) => Ok(tokens::show(store, &id, output).await?),
        Command::Dlq(command) => dead_letters(&config, store, command, output).await,
        Command::Plan => plan::plan(&config, store, output).await,
        Command::Doctor => {
            let queue = queue(&config)?;
            Ok(doctor::examine(&config, store, &*queue, output).await?)
        }
        // Not for one store: they are carried out above.
        Command::Healthcheck { .. }
        | Command::Demo(_)
        | Command::Run(_)
        | Command::Init(_)
        | Command::Migrate(_) => Ok(Exit::Usage),
    }
}

async fn dead_letters(
    config: &Config,
    store: &dyn TokenStore,
    command: DlqCommand,
    output: &Output,
) -> anyhow::Result<Exit> {
    let queue = queue(config)?;
    let all = config.providers.keys().cloned().collect();
    let dlq = dlq::Dlq { store, queue: &*queue, providers: all, output };
    Ok(match command {
        DlqCommand::List { provider } => dlq.list(provider).await?,
        DlqCommand::Show { filter, limit } => dlq.show(&filter.into(), limit).await?,
        DlqCommand::Redrive(bulk) => {
            let queued_for = config.producer.queued_for;
            dlq.bulk(dlq::Action::Redrive { queued_for }, bulk).await?
        }
        DlqCommand::Discard(bulk) => dlq.bulk(dlq::Action::Discard, bulk).await?,
    })
}

fn queue(config: &Config) -> anyhow::Result<Arc<dyn JobQueue>> {
    config.require_provider()?;
    let name = format!("evergrant {}", process::unique_name());
    Ok(connect::queue(config, name)?)
}
