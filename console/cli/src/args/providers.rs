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
