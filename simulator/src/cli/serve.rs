//! `serve`: flags to settings, and a simulator until a signal.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{ArgAction, Args};
use evergrant_simulator::{
    AnswerScript, ClientAuth, DeadReply, FaultRates, ProviderDialect, QuotaBody, RequestLimit,
    RetryAfter, Simulator, SimulatorConfig, SimulatorSettings,
};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Every flag can also be set by its variable, EVERGRANT_SIMULATOR_ and the name of the flag.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, env = "EVERGRANT_SIMULATOR_LISTEN", default_value = "127.0.0.1:8080")]
    listen: String,
    /// The client that the provider knows
    #[arg(long, env = "EVERGRANT_SIMULATOR_CLIENT_ID", default_value = "evergrant")]
    client_id: String,
    /// Its secret. It guards nothing but a simulation
    #[arg(
        long,
        env = "EVERGRANT_SIMULATOR_CLIENT_SECRET",
        hide_env_values = true,
        default_value = "evergrant-simulator-secret"
    )]
    client_secret: String,
    /// The scope of every grant
    #[arg(long, env = "EVERGRANT_SIMULATOR_SCOPE", default_value = "data:read offline_access")]
    scope: String,
    /// Decides every draw and every token
    #[arg(long, env = "EVERGRANT_SIMULATOR_SEED", default_value_t = 1)]
    seed: u64,
    /// Which ways of client authentication are taken
    #[arg(long, env = "EVERGRANT_SIMULATOR_CLIENT_AUTH", default_value = "any")]
    client_auth: ClientAuth,
    /// Whether an exchange replaces the refresh token
    #[arg(
        long,
        env = "EVERGRANT_SIMULATOR_ROTATE",
        default_value_t = true,
        action = ArgAction::Set
    )]
    rotate: bool,
    /// How long the previous refresh token is still accepted, in seconds
    #[arg(long, env = "EVERGRANT_SIMULATOR_GRACE_S", default_value_t = 0)]
    grace_s: u64,
    /// Whether an old refresh token, presented again, kills its family
    #[arg(
        long,
        env = "EVERGRANT_SIMULATOR_KILL_ON_REUSE",
        default_value_t = true,
        action = ArgAction::Set
    )]
    kill_on_reuse: bool,
    /// Lifetime of an access token, in seconds
    #[arg(long, env = "EVERGRANT_SIMULATOR_ACCESS_TOKEN_S", default_value_t = 3_600)]
    access_token_s: u64,
    /// How long a refresh token lives unused, in seconds [default: for ever]
    #[arg(long, env = "EVERGRANT_SIMULATOR_REFRESH_IDLE_S")]
    refresh_idle_s: Option<u64>,
    /// How long a grant lives from its sign-in, in seconds [default: for ever]
    #[arg(long, env = "EVERGRANT_SIMULATOR_REFRESH_ABSOLUTE_S")]
    refresh_absolute_s: Option<u64>,
    /// A rate limit such as 10/s or 500/min; several are all in force
    #[arg(long = "limit", env = "EVERGRANT_SIMULATOR_LIMIT", value_delimiter = ',')]
    limits: Vec<RequestLimit>,
    /// How Retry-After is written
    #[arg(long, env = "EVERGRANT_SIMULATOR_RETRY_AFTER", default_value = "seconds")]
    retry_after: RetryAfter,
    /// The wait that throttle_429 and http_503 ask for, in seconds, or "none"
    #[arg(
        long,
        env = "EVERGRANT_SIMULATOR_FAULT_RETRY_AFTER_S",
        default_value = "1",
        value_parser = seconds_or_none
    )]
    fault_retry_after_s: Wait,
    /// The body of a 429
    #[arg(long, env = "EVERGRANT_SIMULATOR_QUOTA_BODY", default_value = "oauth")]
    quota_body: QuotaBody,
    /// The reply to a dead refresh token
    #[arg(long, env = "EVERGRANT_SIMULATOR_DEAD_REPLY", default_value = "rfc")]
    dead_reply: DeadReply,
    /// The middle of the latency, in milliseconds
    #[arg(long, env = "EVERGRANT_SIMULATOR_LATENCY_MS", default_value_t = 0)]
    latency_ms: u64,
    /// How far the latency spreads to either side, in milliseconds
    #[arg(long, env = "EVERGRANT_SIMULATOR_LATENCY_SPREAD_MS", default_value_t = 0)]
    latency_spread_ms: u64,
    /// How long a reply that never comes holds its connection at most, in seconds
    #[arg(long, env = "EVERGRANT_SIMULATOR_NO_REPLY_HOLD_S", default_value_t = 300)]
    no_reply_hold_s: u64,
    /// The share of requests that meet a fault, as NAME=RATE; several may be given. Names:
    /// http_500, http_503, html_error, reset_before, reset_after, no_reply, truncated_body,
    /// ok_with_error, expires_in_string, expires_in_missing, no_new_refresh_token, throttle_429,
    /// invalid_grant, invalid_client, echo_token
    #[arg(
        long = "fault",
        env = "EVERGRANT_SIMULATOR_FAULT",
        value_delimiter = ',',
        value_parser = fault
    )]
    faults: Vec<(String, f64)>,
    /// Speak TLS, with HTTP/2 or HTTP/1.1 as the client wants it, and write the certificate, which signs
    /// itself, to this file
    #[arg(long, env = "EVERGRANT_SIMULATOR_TLS", value_name = "FILE")]
    tls: Option<PathBuf>,
    /// A file that says what the token endpoint answers; the README describes it
    #[arg(long, env = "EVERGRANT_SIMULATOR_SCRIPT", value_name = "FILE")]
    script: Option<PathBuf>,
    /// The provider whose dialect is spoken: a preset of Evergrant such as slack, or the path of a
    /// file of that form. Requests are checked as strictly as the provider does [default: RFC 6749]
    #[arg(
        long,
        env = "EVERGRANT_SIMULATOR_DIALECT",
        value_name = "NAME|FILE",
        conflicts_with = "script"
    )]
    dialect: Option<String>,
}

/// A wait, or none. (clap reads an `Option` as a flag that may be absent.)
#[derive(Debug, Clone, Copy)]
struct Wait(Option<u64>);

fn seconds_or_none(text: &str) -> Result<Wait, String> {
    if text == "none" {
        return Ok(Wait(None));
    }
    text.parse().map(|wait_s| Wait(Some(wait_s))).map_err(|_| "not a number of seconds".to_owned())
}

fn fault(text: &str) -> Result<(String, f64), String> {
    let (name, rate) = text.split_once('=').ok_or("a fault is written NAME=RATE")?;
    let names = FaultRates::default().named().map(|(name, _)| name);
    if !names.contains(&name) {
        return Err(format!("no fault is called {name:?}; there are {}", names.join(", ")));
    }
    let rate = rate.parse().map_err(|_| format!("the rate of {name} is not a number"))?;
    Ok((name.to_owned(), rate))
}

/// The dialect of a name, or of a file where it is a path.
fn dialect(wanted: &str) -> anyhow::Result<ProviderDialect> {
    if !wanted.contains(['/', '.']) {
        return Ok(ProviderDialect::from_name(wanted)?);
    }
    let text = std::fs::read_to_string(wanted)
        .with_context(|| format!("the provider's file {wanted} cannot be read"))?;
    ProviderDialect::parse(&text).with_context(|| format!("the provider's file {wanted}"))
}

impl ServeArgs {
    fn config(&self) -> anyhow::Result<SimulatorConfig> {
        let faults: Map<String, Value> =
            self.faults.iter().map(|(name, rate)| (name.clone(), json!(rate))).collect();
        let settings = SimulatorSettings {
            rotate: self.rotate,
            grace_s: self.grace_s,
            kill_on_reuse: self.kill_on_reuse,
            access_token_s: self.access_token_s,
            refresh_idle_s: self.refresh_idle_s,
            refresh_absolute_s: self.refresh_absolute_s,
            limits: self.limits.clone(),
            retry_after: self.retry_after,
            fault_retry_after_s: self.fault_retry_after_s.0,
            quota_body: self.quota_body,
            dead_reply: self.dead_reply,
            client_auth: self.client_auth,
            latency_ms: self.latency_ms,
            latency_spread_ms: self.latency_spread_ms,
            no_reply_hold_s: self.no_reply_hold_s,
            faults: FaultRates::default(),
        };
        Ok(SimulatorConfig {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            client_key: None,
            dialect: self.dialect.as_deref().map(dialect).transpose()?,
            scope: self.scope.clone(),
            seed: self.seed,
            settings: settings.patched(&json!({ "faults": faults }))?,
        })
    }
}

/// Runs the provider. The first line on standard output is its URL.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let mut simulator = Simulator::bind(args.config()?, &args.listen).await?;
    if let Some(path) = &args.tls {
        std::fs::write(path, simulator.use_tls()?)
            .with_context(|| format!("the certificate {} cannot be written", path.display()))?;
    }
    if let Some(path) = &args.script {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("the script {} cannot be read", path.display()))?;
        simulator.handle().play(AnswerScript::parse(&text)?)?;
    }
    writeln!(std::io::stdout(), "{}", simulator.url())?;
    tracing::info!(address = %simulator.local_addr(), "listening");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    simulator
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, Parser};

    fn config(flags: &[&str]) -> anyhow::Result<SimulatorConfig> {
        let args = ["evergrant-simulator", "serve"].iter().chain(flags);
        match Cli::try_parse_from(args)?.command {
            Command::Serve(serve) => serve.config(),
            Command::Seed(_) => unreachable!("serve was asked for"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_flags_the_settings_are_the_default() {
        assert_eq!(config(&[]).unwrap().settings, SimulatorSettings::default());
    }

    #[test]
    fn flags_become_settings() {
        let flags = [
            "--limit=10/s,500/min",
            "--fault=http_503=0.03",
            "--fault=throttle_429=0.02",
            "--fault-retry-after-s=none",
            "--rotate=false",
            "--dead-reply=github",
        ];
        let settings = config(&flags).unwrap().settings;
        assert_eq!(settings.limits.len(), 2);
        assert_eq!((settings.faults.http_503, settings.faults.throttle_429), (0.03, 0.02));
        assert_eq!((settings.rotate, settings.fault_retry_after_s), (false, None));
        assert_eq!(settings.dead_reply, DeadReply::Github);
    }

    #[test]
    fn wrong_flags_say_what_is_wrong() {
        for (flag, word) in [
            ("--limit=0/s", "1 to 1000000"),
            ("--fault=http_501=0.1", "http_503"),
            ("--fault=http_500=2", "http_500"),
            ("--access-token-s=0", "access_token_s"),
        ] {
            let error = config(&[flag]).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
