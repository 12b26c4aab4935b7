//! What is tried out: a preset as it is, or a provider as it is configured.

use std::path::Path;

use anyhow::{Context, bail};
use evergrant_provider::{PresetVector, Provider, preset, preset_text};
use evergrant_runtime::config::{Config, provider_in_force};
use toml::{Table, Value};

/// The section of a preset that is tried by itself.
const SECTION: &str = "TRIAL";

/// What is tried out.
pub(crate) struct TrialSubject {
    /// The provider, by whose settings requests are made and answers are read.
    pub(crate) provider: Provider,
    /// What the provider wants and answers, as a file.
    pub(crate) file: Table,
    /// The answers that the file shows.
    pub(super) vectors: Vec<PresetVector>,
}

impl TrialSubject {
    /// A preset as it is, with made-up values of what it leaves to the section.
    pub(crate) fn from_preset(name: &str) -> anyhow::Result<Self> {
        let known = preset(name)?;
        let mut file: Table = preset_text(name)?.parse()?;
        let mut given = vec![("preset".to_owned(), name), ("client_id".to_owned(), "c")];
        given.push(("client_secret".to_owned(), "s"));
        if !known.has("token_url") {
            let url = "https://provider.example/token";
            given.push(("token_url".to_owned(), url));
            file.insert("token_url".to_owned(), Value::from(url));
        }
        for path in known.about.requires.keys() {
            given.push((path.clone(), "sample.example"));
            insert(&mut file, path, "sample.example");
        }
        let variables = given.into_iter().map(|(path, value)| {
            let name = path.replace('.', "__").to_uppercase();
            (format!("EVERGRANT_PROVIDERS__{SECTION}__{name}").into(), value.to_owned().into())
        });
        let provider = Config::from_parts(None, variables, &[])?.providers()?.into_iter().next();
        Self::new(provider.context("the preset makes no provider")?, file)
    }

    /// The provider of this name, or the preset if no provider has it.
    pub(super) fn from_settings(
        config: &Config,
        path: Option<&Path>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let is = |provider: &Provider| provider.id.to_string() == name;
        let Some(provider) = config.providers()?.into_iter().find(is) else {
            return Self::from_preset(name).with_context(|| {
                format!("there is neither a section providers.{name} nor a preset of this name")
            });
        };
        let mut file = provider_in_force(path, name)?;
        let answers = answers_of(&file)?;
        file.insert("vector".to_owned(), answers);
        Self::new(provider, file)
    }

    fn new(provider: Provider, file: Table) -> anyhow::Result<Self> {
        let Some(vectors) = file.get("vector").cloned() else {
            bail!("the provider's file shows no answers: add some as [[vector]]");
        };
        Ok(Self { provider, vectors: vectors.try_into()?, file })
    }
}

/// The answers of a section's own file if that shows some, else those of its preset.
fn answers_of(section: &Table) -> anyhow::Result<Value> {
    let text = |name: &str| section.get(name).and_then(Value::as_str);
    if let Some(path) = text("preset_file") {
        let own = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        if let Some(answers) = own.parse::<Table>()?.remove("vector") {
            return Ok(answers);
        }
    }
    let name = text("preset").unwrap_or(evergrant_provider::DEFAULT_PRESET);
    let answers = preset_text(name)?.parse::<Table>()?.remove("vector");
    answers.context("the preset shows no answers")
}

/// Puts a value where a path with dots leads.
fn insert(table: &mut Table, path: &str, value: &str) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), Value::from(value))),
        Some((name, rest)) => {
            let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            if let Some(inner) = inner.as_table_mut() {
                insert(inner, rest, value);
            }
        }
    }
}
