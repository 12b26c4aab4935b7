//! `evergrant providers catalogue` and `show`: what is known of providers beforehand, and by whom.

use evergrant_provider::{PresetFact, PresetFile, preset, preset_names};
use evergrant_runtime::config::ConfigError;
use serde::Serialize;

use crate::args::KnownCommand;
use crate::exit::Exit;
use crate::output::{Output, or_dash};
use crate::provider_page;

/// The facts of a list's columns.
const COLUMNS: [&str; 6] = [
    "access_lifetime",
    "refresh_idle_lifetime",
    "refresh_absolute_lifetime",
    "rotation",
    "rotation_grace",
    "limits",
];

/// A preset for people and programs.
#[derive(Serialize)]
struct Known<'a> {
    preset: &'a str,
    title: &'a str,
    help: Option<&'a str>,
    facts: Vec<PresetFact<'a>>,
}

impl<'a> Known<'a> {
    fn of(name: &'a str, file: &'a PresetFile) -> Self {
        let about = &file.about;
        Self { preset: name, title: &about.title, help: about.help.as_deref(), facts: file.facts() }
    }

    fn value(&self, name: &str) -> String {
        or_dash(self.facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value))
    }
}

/// Shows what is known.
pub(crate) async fn carry_out(command: KnownCommand, output: &Output) -> anyhow::Result<Exit> {
    match command {
        KnownCommand::Catalogue { markdown: true } => {
            output.line(&provider_page::table().await?);
            Ok(Exit::Done)
        }
        KnownCommand::Catalogue { markdown: false } => Ok(list(output)?),
        KnownCommand::Show { preset } => Ok(show(&preset, output)?),
    }
}

fn list(output: &Output) -> Result<Exit, ConfigError> {
    let files: Vec<(&str, PresetFile)> =
        preset_names().map(|name| Ok((name, preset(name)?))).collect::<Result<_, ConfigError>>()?;
    let all: Vec<Known<'_>> = files.iter().map(|(name, file)| Known::of(name, file)).collect();
    if output.json {
        output.json_list(&all);
        return Ok(Exit::Done);
    }
    let header = ["PRESET", "PROVIDER", "ACCESS", "IDLE", "ABSOLUTE", "ROTATES", "GRACE", "LIMITS"];
    output.table(
        &header,
        all.iter().map(|known| {
            let own = [known.preset.to_owned(), known.title.to_owned()];
            own.into_iter().chain(COLUMNS.map(|name| known.value(name))).collect()
        }),
    );
    Ok(Exit::Done)
}

fn show(name: &str, output: &Output) -> Result<Exit, ConfigError> {
    let file = preset(name)?;
    let known = Known::of(name, &file);
    if output.json {
        output.json(&known);
        return Ok(Exit::Done);
    }
    output.line(known.title);
    known.help.into_iter().for_each(|help| output.line(help));
    output.line("");
    output.table(
        &["SETTING", "VALUE", "SOURCE", "READ", "NOTE"],
        known.facts.iter().map(|fact| {
            let source = fact.source;
            vec![
                fact.name.to_owned(),
                fact.value.clone(),
                or_dash(source.map(|source| &source.source)),
                or_dash(source.map(|source| &source.date)),
                source.and_then(|source| source.note.clone()).unwrap_or_default(),
            ]
        }),
    );
    Ok(Exit::Done)
}
