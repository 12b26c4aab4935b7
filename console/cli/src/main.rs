//! `evergrant`, the operator's command: which commands there are, and what carries each out.

mod args;
mod audit;
mod audit_verify;
mod backup;
mod catalogue;
mod config;
mod console;
mod copies;
mod demo;
mod dlq;
mod doctor;
mod exit;
mod export;
mod healthcheck;
mod import;
mod init;
mod keys;
mod manual;
mod migrate;
mod output;
mod plan;
mod provider_page;
mod provider_test;
mod providers;
mod run;
mod sealed;
mod tokens;
mod top;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use clap_complete::Shell;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_ports::{JobQueue, Store};
use evergrant_producer::ProducerSettings;
use evergrant_runtime::config::{Config, ConfigError, SettingOverride};
use evergrant_runtime::{connect, process};
use evergrant_telemetry::init_logs;
use evergrant_web::ConsoleSettings;
use evergrant_worker::WorkerSettings;
use tokio::runtime::{Builder, Runtime};

use args::{
    Args, AuditArgs, BackupArgs, ConsoleArgs, DemoArgs, DlqCommand, ExportArgs, ImportArgs,
    InitArgs, KeysCommand, MigrateArgs, ProvidersCommand, RunArgs, TokensCommand,
};
use evergrant_operations::{bulk, letters, operator};
use exit::Exit;
use output::Output;

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a simulated provider and some hundred users, all in this process.
    Demo(DemoArgs),
    /// Run a producer, workers, health and metrics in this process.
    Run(RunArgs),
    /// Write the settings for a provider, from answers or from flags, and create what they need.
    Init(InitArgs),
    /// Import token documents: JSON in any layout, extended JSON, output of MongoDB's shell, or CSV; also
    /// gzipped or in UTF-16. Existing documents keep Evergrant's state, and tokens that are newer than the
    /// file's.
    Import(ImportArgs),
    /// Export all token documents as JSON lines, TOKENS INCLUDED.
    Export(ExportArgs),
    /// Copy the SQLite file while it is in use, TOKENS INCLUDED.
    Backup(BackupArgs),
    /// Copy all documents from one store to another and compare the two. Rerun to resume.
    Migrate(MigrateArgs),
    /// Show grants (never their tokens), and refresh, pause, resume or forget them.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Show dead letters, send them back, or discard them.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Show providers, and pause, resume, probe or limit them. Workers follow within a second.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Create, list, rotate and revoke the keys with which programs ask the gateway for access tokens.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// List running and recently seen processes: release, machine, last heartbeat, in flight, rate.
    Workers,
    /// Show providers and processes live. Without a terminal, prints one block per refresh.
    Top {
        /// Time between two refreshes.
        #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
        every: Duration,
        /// Print once and exit.
        #[arg(long)]
        once: bool,
    },
    /// List what operators did, newest first: who, when, what, why, and the outcome. Or verify that no
    /// entry was changed.
    Audit(AuditArgs),
    /// Forecast the grants at the present limits, 7 and 30 days ahead. Exits with 3 if one would be lost.
    Plan,
    /// Serve the web console, or manage its users.
    Console(ConsoleArgs),
    /// Check settings, servers, providers and documents, and say what to do. Exits with 3 if something is
    /// wrong.
    Doctor {
        /// Also send each token endpoint one request with a made-up refresh token, to learn whether it
        /// accepts the client. It counts toward the provider's limit.
        #[arg(long)]
        try_client: bool,
    },
    /// Print the settings in force, without secrets; or the commented defaults.
    Config {
        /// Print the commented defaults instead.
        #[arg(long)]
        defaults: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write manual pages for all commands.
    Man {
        /// The folder to write to; it must exist.
        folder: PathBuf,
    },
    /// Exit with 0 if a URL answers with success, otherwise with 1 (for containers).
    Healthcheck {
        /// Such as http://127.0.0.1:9464/readyz.
        #[arg(long)]
        url: String,
    },
}

fn main() -> ExitCode {
    process::keep_memory_private();
    let args = Args::of_this_process();
    if args.no_color {
        ::console::set_colors_enabled(false);
        ::console::set_colors_enabled_stderr(false);
    }
    let output = Output::new(args.format());
    let runtime = runtime(&args.command)
        .context("cannot start: look whether this user has too many files or processes open");
    match runtime.and_then(|runtime| runtime.block_on(carry_out(args, &output))) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.error(format!("{error:#}"));
            Exit::Error.into()
        }
    }
}

/// Refreshes are quicker by one thread than by two that wake each other for every step of them.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    if matches!(command, Command::Run(_)) {
        runtime.worker_threads(1);
    }
    runtime.enable_all().build()
}

async fn carry_out(args: Args, output: &Output) -> anyhow::Result<Exit> {
    match args.command {
        Command::Healthcheck { url } => Ok(healthcheck::check(&url, output).await),
        Command::Completions { shell } => Ok(manual::complete(shell)),
        Command::Config { defaults } => config::show(args.config.as_deref(), defaults, output),
        Command::Man { folder } => manual::write_pages(&folder, output),
        Command::Demo(demo) => demo::demo(&demo, args.log_level, output).await,
        Command::Run(ref run) => {
            // The level of the settings, which is info unless somebody has said otherwise.
            let listen = ("telemetry.listen", run.listen.clone());
            let config = load(&args, [listen, ("telemetry.log_level", args.log_level.clone())])?;
            run::run(&config, run).await
        }
        Command::Console(ref console) => {
            let overrides = [
                ("console.listen", console.listen.clone()),
                ("console.users_file", console.users_file.clone()),
                ("telemetry.log_level", args.log_level.clone()),
            ];
            let config = load(&args, overrides)?;
            if console.command.is_none() {
                config.warn_of_weaknesses()?;
            }
            console::console(&config, console, output).await
        }
        Command::Init(ref wanted) => init::init(wanted, output).await,
        Command::Backup(ref wish) => {
            backup::backup(&load(&args, quiet(&args))?, wish, output).await
        }
        Command::Migrate(ref stores) => {
            let config = load(&args, quiet(&args))?;
            let unaudited = stores.unaudited;
            let from = config.with_store_url(stores.from.as_ref(), stores.from_file.as_deref());
            let to = config.with_store_url(stores.to.as_ref(), stores.to_file.as_deref());
            let (from, to) = (from.context("--from")?, to.context("--to")?);
            let old = migrate::Installation::from_config(&from).context("--from")?;
            let from = connect::store(&from).await.context("--from")?;
            let to = connect::store(&to).await.context("--to")?;
            let stores = migrate::Stores { from: &from, to: &to, old: &old };
            Ok(stores.migrate(unaudited, output).await?)
        }
        Command::Providers(ProvidersCommand::Known(command)) => {
            Ok(catalogue::carry_out(command, output).await?)
        }
        Command::Providers(ProvidersCommand::Test(ref test)) => {
            let config = load(&args, quiet(&args))?;
            provider_test::carry_out(&config, args.config.as_deref(), test, output).await
        }
        _ => operate(args, output).await,
    }
}

/// Commands that end by themselves say what they have to say as data.
fn quiet(args: &Args) -> [SettingOverride; 2] {
    let level = args.log_level.clone().unwrap_or_else(|| "warn".to_owned());
    [("telemetry.log_level", Some(level)), ("telemetry.listen", None)]
}

/// The settings, with logs as they say.
fn load<const N: usize>(args: &Args, overrides: [SettingOverride; N]) -> anyhow::Result<Config> {
    let config = Config::load(args.config.as_deref(), &overrides)?;
    init_logs(&config.telemetry)?;
    // All of them, whatever this command needs: a setting that is wrong is said before anything is done.
    config.section::<ProducerSettings>()?;
    config.section::<WorkerSettings>()?;
    config.section::<ConsoleSettings>()?;
    Ok(config)
}

/// How long a job is taken to be under way.
fn queued_for(config: &Config) -> Result<Duration, ConfigError> {
    config.section().map(|producer: ProducerSettings| producer.queued_for)
}

async fn operate(args: Args, output: &Output) -> anyhow::Result<Exit> {
    let config = load(&args, quiet(&args))?;
    let store = connect::store(&config).await?;
    match args.command {
        Command::Import(wish) => {
            let request = import::request(&wish);
            let import = import::import(&*store, wish, &config.store, output);
            let about = operator::ActionSubject::all(OperatorAction::Import, request);
            let operator = operator::ActingOperator::of_this_terminal(Arc::clone(&store));
            let told = |exit: &Exit| -> (ActionOutcome, String) { ((*exit).into(), String::new()) };
            Ok(operator.audited(about, import, told).await?)
        }
        Command::Export(wish) => Ok(export::export(&store, &wish, output).await?),
        Command::Tokens(command) => tokens(&config, &store, command, output).await,
        Command::Providers(ProvidersCommand::Standing(command)) => {
            let queue = queue(&config)?;
            Ok(providers::Providers::new(&config, store, queue, output)?.run(command).await?)
        }
        Command::Keys(command) => keys::keys(store, command, output).await,
        Command::Workers => Ok(workers::list(&*store, output).await?),
        Command::Top { every, once } => {
            let (queue, providers) = (queue(&config)?, config.providers()?);
            top::Top { store, queue, providers, output }.run(every, once).await
        }
        Command::Audit(args) => Ok(audit::list(&*store, args, output).await?),
        Command::Dlq(command) => dead_letters(&config, store, command, output).await,
        Command::Plan => plan::plan(&config, &*store, output).await,
        Command::Doctor { try_client } => {
            let (queue, providers) = (queue(&config)?, config.providers()?);
            let console = config.section()?;
            let doctor =
                doctor::Doctor { config: &config, console, store, queue, providers, try_client };
            Ok(doctor.examine(output).await)
        }
        // Not for one store: they are carried out above.
        Command::Healthcheck { .. }
        | Command::Completions { .. }
        | Command::Config { .. }
        | Command::Man { .. }
        | Command::Demo(_)
        | Command::Run(_)
        | Command::Console(_)
        | Command::Init(_)
        | Command::Providers(ProvidersCommand::Known(_) | ProvidersCommand::Test(_))
        | Command::Backup(_)
        | Command::Migrate(_) => Ok(Exit::Usage),
    }
}

async fn tokens(
    config: &Config,
    store: &Arc<dyn Store>,
    command: TokensCommand,
    output: &Output,
) -> anyhow::Result<Exit> {
    let tokens = tokens::Tokens { store, output };
    Ok(match command {
        TokensCommand::List(filter) => tokens.list(filter.at(store.now().await?)).await?,
        TokensCommand::Count => tokens.count().await?,
        TokensCommand::Show { id } => tokens.show(&id).await?,
        TokensCommand::Act(command) => tokens.act(command, config).await?,
    })
}

async fn dead_letters(
    config: &Config,
    store: Arc<dyn Store>,
    command: DlqCommand,
    output: &Output,
) -> anyhow::Result<Exit> {
    let providers = config.providers.keys().cloned().collect();
    let letters = letters::LetterQueues { store, queue: queue(config)?, providers };
    let bulk = bulk::BulkActions { letters, queued_for: queued_for(config)? };
    let dlq = dlq::Dlq { bulk, output };
    match command {
        DlqCommand::List(filter) => Ok(dlq.list(&filter.into()).await?),
        DlqCommand::Show { filter, limit } => Ok(dlq.show(&filter.into(), limit).await?),
        DlqCommand::Redrive(bulk) => dlq.bulk(bulk.wish(bulk::BulkKind::Redrive)).await,
        DlqCommand::Discard { bulk, include_uncommitted_answers } => {
            let wish = bulk.wish(bulk::BulkKind::Discard);
            dlq.bulk(dlq::BulkWish { uncommitted_answers: include_uncommitted_answers, ..wish })
                .await
        }
        DlqCommand::Resume { id, yes } => dlq.resume(&id, yes).await,
    }
}

fn queue(config: &Config) -> anyhow::Result<Arc<dyn JobQueue>> {
    config.require_provider()?;
    let name = format!("evergrant {}", process::unique_name());
    Ok(connect::queue(config, name)?)
}
