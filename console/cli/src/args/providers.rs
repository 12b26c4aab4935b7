//! `evergrant providers`

use std::time::Duration;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use evergrant_domain::ProviderId;
use evergrant_domain::limit::RateLimit;
use evergrant_provider::preset_names;

/// What is known of providers beforehand. It needs no settings.
#[derive(Debug, Subcommand)]
pub(crate) enum KnownCommand {
    /// List the presets: providers that Evergrant knows, with the facts that matter most.
    Catalogue,
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
}

/// How the providers of the settings stand.
#[derive(Debug, Subcommand)]
pub(crate) enum StandingCommand {
    /// List providers: whether they are open and why not, their limits and how much of them is used,
    /// what is due, queued and in flight, and how much failed in the last 15 minutes.
    List,
    /// Send nothing to a provider. Its jobs wait; nothing is burned.
    Pause {
        /// The provider.
        name: ProviderId,
        /// For how long, such as 10m or 2h; until `resume` if not given.
        #[arg(long = "for", value_parser = humantime::parse_duration)]
        duration: Option<Duration>,
        /// Why, for whoever looks at the list.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// End a pause, and a circuit that is open: the next job is sent at once.
    Resume {
        /// The provider.
        name: ProviderId,
        /// Why, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Have an open circuit let one request through now. Its answer closes the circuit, or opens it
    /// for longer.
    Probe {
        /// The provider.
        name: ProviderId,
        /// Why, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Confirm that the grants which a provider calls dead are dead indeed. For an hour deaths are
    /// believed, however many there are, and the circuit closes.
    Confirm {
        /// The provider.
        name: ProviderId,
        /// Why, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
    /// Set the limits that hold in place of those in the settings.
    Limit {
        /// The provider.
        name: ProviderId,
        /// All limits, such as 10/s,300/min.
        #[arg(value_delimiter = ',', required_unless_present = "reset", conflicts_with = "reset")]
        limits: Vec<RateLimit>,
        /// Go back to those in the settings.
        #[arg(long)]
        reset: bool,
        /// Why, for the audit record.
        #[arg(long, default_value = "")]
        why: String,
    },
}
