//! `evergrant providers`

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use evergrant_domain::ProviderId;
use evergrant_domain::limit::RateLimit;
use evergrant_provider::preset_names;

/// What is known of providers beforehand. It needs no settings.
#[derive(Debug, Subcommand)]
pub(crate) enum KnownCommand {
    /// List the presets: providers that Evergrant knows, with the facts that matter most.
    Catalogue {
        /// Print the table of docs/providers.md instead: each fact with its source, and what became of
        /// each preset when it was tried against the simulator.
        #[arg(long)]
        markdown: bool,
    },
    /// Show what a preset says of its provider, and where each fact comes from.
    Show {
        /// The preset.
        #[arg(value_parser = PossibleValuesParser::new(preset_names()), hide_possible_values = true)]
        preset: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    #[command(flatten)]
    Standing(StandingCommand),
    #[command(flatten)]
    Known(KnownCommand),
    Test(TestArgs),
}

/// Try out a provider: a section of the settings, or a preset.
///
/// A simulator in this process speaks the provider's dialect, as its file describes it. Tokens are refreshed there
/// in the form that the settings give: twice in a row, with a token that is dead, too often, and as the wrong client.
/// What each answer became is printed. Nothing is sent anywhere else, and neither the client's secret nor a stored
/// token is used. Exits with 3 if an answer became something else than the file says.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// The section of the settings, or the preset.
    pub(crate) name: String,
    /// Send the real token endpoint one request with a made-up refresh token instead, with the client's id and
    /// secret. It waits for a slot within the provider's limits. The answer invalid_grant is good: the provider
    /// knows the client and refuses the token. The answer invalid_client is not. No user's token is touched.
    #[arg(long)]
    pub(crate) live: bool,
    /// With --live, a value that the document would give, such as shop=example.myshopify.com. Several may be given.
    #[arg(long = "field", value_name = "PATH=VALUE", value_parser = field, requires = "live")]
    pub(crate) fields: Vec<(String, String)>,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("a field is written PATH=VALUE")?;
    Ok((path.to_owned(), value.to_owned()))
}

/// How the providers of the settings stand.
#[derive(Debug, Subcommand)]
pub(crate) enum StandingCommand {
    /// List providers: state and reason, limits and how much of them is used, grants due, jobs queued,
    /// requests in flight, and failures of the last 15 minutes.
    List,
    /// Send nothing to a provider. Its jobs wait, and no attempt is used up.
    Pause {
        /// The provider.
        name: ProviderId,
        /// Duration, such as 10m or 2h [default: until resumed].
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
        /// Reason, shown in the list.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// End a pause and close an open circuit: the next job is sent at once.
    Resume {
        /// The provider.
        name: ProviderId,
        /// Reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Let one request through an open circuit now. Its answer closes the circuit, or keeps it open longer.
    Probe {
        /// The provider.
        name: ProviderId,
        /// Reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Confirm that the grants that a provider reports as dead are dead. For an hour every death is
    /// believed, and the circuit closes.
    Confirm {
        /// The provider.
        name: ProviderId,
        /// Reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Set limits that replace those of the settings.
    Limit {
        /// The provider.
        name: ProviderId,
        /// All limits, such as 10/s,300/min.
        #[arg(value_delimiter = ',', required_unless_present = "reset", conflicts_with = "reset")]
        limits: Vec<RateLimit>,
        /// Return to the limits of the settings.
        #[arg(long)]
        reset: bool,
        /// Reason, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
}
