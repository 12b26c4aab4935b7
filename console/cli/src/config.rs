//! `evergrant config`: the settings in force, or the commented defaults.

use std::path::Path;

use evergrant_runtime::config::{DEFAULT, settings_in_force};

use crate::exit::Exit;
use crate::output::Output;

/// Prints the settings.
pub(crate) fn show(file: Option<&Path>, defaults: bool, output: &Output) -> anyhow::Result<Exit> {
    if defaults {
        output.line(DEFAULT.trim_end());
        return Ok(Exit::Done);
    }
    let settings = settings_in_force(file)?;
    if output.json {
        output.json(&settings);
    } else {
        output.line(toml::to_string(&settings)?.trim_end());
    }
    Ok(Exit::Done)
}
