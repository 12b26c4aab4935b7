//! Parses a case file.

use std::collections::BTreeMap;

use evergrant_simulator::AnswerScript;
use serde::Deserialize;

use super::condition::Condition;
use super::documents::DocumentSet;
use super::right::Right;

/// A case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// A one-sentence description.
    pub about: String,
    /// The public source, if there is one.
    pub source: Option<String>,
    /// The recipe of `evergrant init` whose settings apply, overridden by those of the case.
    pub(super) recipe: Option<String>,
    /// Settings that override those of all cases.
    #[serde(default)]
    pub(super) settings: toml::Table,
    /// Other settings, for `configure`.
    #[serde(default)]
    pub(super) other_settings: BTreeMap<String, toml::Table>,
    /// The provider's answers.
    #[serde(default)]
    pub(super) provider: AnswerScript,
    /// The provider's answers after a step `script`.
    #[serde(default)]
    pub(super) scripts: BTreeMap<String, AnswerScript>,
    /// The documents for `import`.
    #[serde(default)]
    pub(super) documents: Vec<DocumentSet>,
    /// The steps.
    #[serde(default = "usual_steps")]
    pub(super) steps: Vec<Step>,
    /// The expected result.
    pub(super) right: Right,
}

/// A step.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// Imports documents: those of the case, or others.
    Import {
        documents: Option<Vec<DocumentSet>>,
        /// A literal file, instead of documents.
        text: Option<String>,
        #[serde(default)]
        flags: Vec<String>,
        #[serde(rename = "as")]
        name: Option<String>,
    },
    /// Starts `evergrant run`.
    Start {
        #[serde(default = "one")]
        workers: u32,
    },
    /// Stops it, and waits for its end.
    Stop,
    /// Kills it.
    Kill,
    /// Waits for a condition.
    Until {
        #[serde(default = "at_most_s")]
        at_most_s: u64,
        so: Box<Condition>,
    },
    /// Waits until the provider got no request for this time.
    Quiet { for_ms: u64 },
    /// Waits for a fixed time, if there is no event to wait for.
    Wait { for_ms: u64 },
    /// Users sign in: their documents get new tokens.
    SignIn {
        user: String,
        /// The document to write; by default that of the case, with its `_id` only.
        document: Option<String>,
    },
    /// The provider revokes a user's grants.
    Revoke { user: String },
    /// Changes the provider's answers.
    Script { name: String },
    /// Uses other settings from the next start or command on.
    Configure { name: String },
    /// Runs a command of `evergrant`.
    Run {
        arguments: Vec<String>,
        #[serde(rename = "as")]
        name: Option<String>,
    },
    /// Creates a folder beside the file.
    Folder { name: String },
    /// Creates a file beside it.
    File { name: String, text: String },
    /// Blocks writes to the file by others.
    Hold,
    /// Ends that.
    Release,
}

fn one() -> u32 {
    1
}

fn at_most_s() -> u64 {
    60
}

/// Import, start, and wait until each grant is refreshed or has ended.
fn usual_steps() -> Vec<Step> {
    let import = Step::Import { documents: None, text: None, flags: Vec::new(), name: None };
    let so = Box::new(Condition::settled());
    vec![import, Step::Start { workers: 1 }, Step::Until { at_most_s: at_most_s(), so }]
}

impl TestCase {
    /// Parses a case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let case: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if case.about.split_whitespace().count() < 4 {
            return Err("about: say in a sentence what the case is about".to_owned());
        }
        Ok(case)
    }
}
