//! `evergrant`, the operator's command: arguments and wiring.

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

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use evergrant_domain::audit::{ActionOutcome, OperatorAction};
use evergrant_ports::{GrantChange, JobQueue, Store};
use evergrant_producer::ProducerSettings;
use evergrant_runtime::config::{Config, ConfigError, SettingOverride};
use evergrant_runtime::{connect, process};
use evergrant_telemetry::init_logs;
use evergrant_web::ConsoleSettings;
use evergrant_worker::WorkerSettings;
use tokio::runtime::{Builder, Runtime};

use args::{Args, Command, DlqCommand, ProvidersCommand, TokensCommand, TokensWish};
use evergrant_operations::{bulk, letters, operator};
use exit::Exit;
use output::Output;

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
    let change = async |wish: TokensWish, change| tokens.change(&wish.ids, change, &wish.why).await;
    Ok(match command {
        TokensCommand::List(filter) => tokens.list(filter.at(store.now().await?)).await?,
        TokensCommand::Count => tokens.count().await?,
        TokensCommand::Show { id } => tokens.show(&id).await?,
        TokensCommand::Refresh(TokensWish { ids, why }) => {
            let (queue, queued_for) = (queue(config)?, queued_for(config)?);
            tokens.refresh(&*queue, &ids, &why, queued_for).await?
        }
        TokensCommand::Pause(wish) => change(wish, GrantChange::Pause).await?,
        TokensCommand::Resume(wish) => change(wish, GrantChange::Resume).await?,
        TokensCommand::Forget(wish) => change(wish, GrantChange::Forget).await?,
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
