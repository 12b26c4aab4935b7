//! `evergrant`, the operator's command: arguments and wiring.

mod args;
mod dlq;
mod doctor;
mod exit;
mod export;
mod healthcheck;
mod import;
mod output;
mod providers;
mod tokens;

use std::process::ExitCode;

use clap::Parser;
use evergrant_shared::config::Config;
use evergrant_shared::mongo::MongoStore;
use evergrant_shared::ports::TokenStore;
use evergrant_shared::process;
use evergrant_shared::rabbitmq::RabbitQueue;
use evergrant_shared::telemetry::init_logs;

use args::{Args, Command, DlqCommand, TokensCommand};
use exit::Exit;
use output::Output;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    match run(args, &output).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.message(&format!("error: {error:#}"));
            Exit::Error.into()
        }
    }
}

async fn run(args: Args, output: &Output) -> anyhow::Result<Exit> {
    if let Command::Healthcheck { url } = &args.command {
        return Ok(healthcheck::check(url, output).await);
    }
    let overrides = [("telemetry.log_level", Some(args.log_level))];
    let config = Config::load(args.config.as_deref(), &overrides)?;
    init_logs(&config.telemetry)?;
    let store = MongoStore::connect(config.store.mongo(config.default_provider())).await?;
    match args.command {
        Command::Import { file } => Ok(import::import(&store, &file, output).await?),
        Command::Export { file, force } => Ok(export::export(&store, &file, force, output).await?),
        Command::Tokens(TokensCommand::List(filter)) => {
            Ok(tokens::list(&store, filter.into(), output).await?)
        }
        Command::Tokens(TokensCommand::Show { id }) => Ok(tokens::show(&store, &id, output).await?),
        Command::Dlq(command) => dead_letters(&config, &store, command, output).await,
        Command::Providers(command) => {
            Ok(providers::Providers::new(&config, &store, output)?.run(command).await?)
        }
        Command::Doctor => {
            let queue = queue(&config)?;
            Ok(doctor::examine(&config, &store, &queue, output).await?)
        }
        Command::Healthcheck { .. } => Ok(Exit::Done),
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
    let dlq = dlq::Dlq { store, queue: &queue, providers: all, output };
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

fn queue(config: &Config) -> anyhow::Result<RabbitQueue> {
    anyhow::ensure!(
        !config.providers.is_empty(),
        "no provider is configured: add a section [providers.NAME]"
    );
    let name = format!("evergrant {}", process::unique_name());
    Ok(RabbitQueue::connect_lazily(config.queue.rabbit(config.providers.keys().cloned(), name)?))
}
