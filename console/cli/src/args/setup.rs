//! What is done once: to try, to begin, to run, to move.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args as ClapArgs, CommandFactory, ValueEnum};
use evergrant_provider::{DEFAULT_PRESET, preset_names};
use evergrant_runtime::config::has_password;
use secrecy::{ExposeSecret, SecretString};

use crate::init::{RECIPES, StoreRecipe, recipe};

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Number of workers, each with worker.exchanges_in_flight concurrent requests. A provider's limits
    /// apply to all of them together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// Address and port for /healthz, /readyz and /metrics, or off.
    #[arg(long)]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The provider's preset: `evergrant providers catalogue` lists them; oauth2 is any provider that
    /// follows RFC 6749.
    #[arg(long, hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(preset_names()))]
    preset: Option<String>,
    /// How the documents are stored: docs/recipes has a page for each.
    #[arg(long, value_parser = PossibleValuesParser::new(RECIPES.map(|recipe| recipe.name)))]
    recipe: Option<String>,
    /// The provider's name in the settings and in queues.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// URL of its token endpoint, unless the preset has it.
    #[arg(long)]
    pub(crate) token_url: Option<String>,
    /// The client id that the provider gave to your application.
    #[arg(long)]
    pub(crate) client_id: Option<String>,
    /// A file that holds the client secret. It is copied to a file beside the settings.
    #[arg(long)]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Where the client id and the secret are sent: in the Authorization header or in the body.
    #[arg(long, value_enum, conflicts_with = "public_client")]
    pub(crate) client_auth: Option<SecretIn>,
    /// The client has no secret.
    #[arg(long, conflicts_with = "client_secret_file")]
    pub(crate) public_client: bool,
    /// Where documents and jobs are stored: sqlite:PATH [default: a file beside the settings].
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The file to write.
    #[arg(long, default_value = ".")]
    pub(crate) folder: PathBuf,
    /// Replace an existing file.
    #[arg(long)]
    pub(crate) force: bool,
}

impl InitArgs {
    /// How the documents are stored, if that is known.
    pub(crate) fn recipe(&self) -> Option<StoreRecipe> {
        self.recipe.as_deref().and_then(recipe)
    }

    /// The provider's preset: as given, or that of the recipe.
    pub(crate) fn preset(&self) -> &str {
        let of_recipe = || self.recipe().and_then(|recipe| recipe.preset);
        self.preset.as_deref().or_else(of_recipe).unwrap_or(DEFAULT_PRESET)
    }
}

/// Where a provider wants the client id and the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretIn {
    /// In the Authorization header.
    Basic,
    /// In the body.
    Body,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Number of users.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,
    /// Workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// How much goes wrong at the provider.
    #[arg(long, value_enum, default_value_t = Faults::Some)]
    pub(crate) faults: Faults,
    /// Seed of the faults.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How much goes wrong at the provider of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    /// Nothing.
    None,
    /// What a provider does on an ordinary day.
    Some,
    /// Three times that, and answers that are lost on the way.
    Heavy,
}

/// A URL on the command line can be read by everybody on this machine, so one with a password comes
/// from a file or the environment ([`refuse_passwords`]).
#[derive(Debug, ClapArgs)]
pub(crate) struct MigrateArgs {
    /// The store to leave: sqlite:PATH or mongodb://… .
    #[arg(long, env = "EVERGRANT_MIGRATE_FROM", hide_env_values = true)]
    #[arg(required_unless_present = "from_file")]
    pub(crate) from: Option<SecretString>,
    /// A file that holds that URL.
    #[arg(long, conflicts_with = "from")]
    pub(crate) from_file: Option<PathBuf>,
    /// The store to move to: sqlite:PATH or mongodb://… .
    #[arg(long, env = "EVERGRANT_MIGRATE_TO", hide_env_values = true)]
    #[arg(required_unless_present = "to_file")]
    pub(crate) to: Option<SecretString>,
    /// A file that holds that URL.
    #[arg(long, conflicts_with = "to")]
    pub(crate) to_file: Option<PathBuf>,
    /// Write no audit entries, for a store that cannot be written.
    #[arg(long)]
    pub(crate) unaudited: bool,
}

/// Refuses URLs with a password on the command line. The error quotes none.
pub(super) fn refuse_passwords(matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(migrate) = matches.subcommand_matches("migrate") else { return Ok(()) };
    for name in ["from", "to"] {
        let is_typed = migrate.value_source(name) == Some(ValueSource::CommandLine);
        let url = migrate.get_one::<SecretString>(name).filter(|_| is_typed);
        if url.is_some_and(|url| has_password(url.expose_secret())) {
            let reason = format!(
                "--{name} holds a password, and every user of this machine can read the arguments of \
                 a process: put the URL into a file and name it by --{name}-file, or into the variable \
                 EVERGRANT_MIGRATE_{}, and change the password",
                name.to_uppercase()
            );
            return Err(super::Args::command().error(ErrorKind::ValueValidation, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrate(from: &str) -> Result<(), clap::Error> {
        let args = ["evergrant", "migrate", "--from", from, "--to", "sqlite:e.db"];
        refuse_passwords(&super::super::Args::command().get_matches_from(args))
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_quoted() {
        let refused = migrate("mongodb://me:S3cretPw@db.example.com").unwrap_err().to_string();
        assert!(refused.contains("--from-file") && refused.contains("EVERGRANT_MIGRATE_FROM"));
        assert!(!refused.contains("S3cretPw"));
        assert!(migrate("mongodb://db.example.com").is_ok());
    }
}
