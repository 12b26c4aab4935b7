//! A case as its file says it.

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
    /// What it is about, in a sentence.
    pub about: String,
    /// Where it was met, if that is public.
    pub source: Option<String>,
    /// The recipe of `evergrant init` whose settings these are, beneath those of the case.
    pub(super) recipe: Option<String>,
    /// Settings of Evergrant, laid over those of all cases.
    #[serde(default)]
    pub(super) settings: toml::Table,
    /// Other settings, for `configure`.
    #[serde(default)]
    pub(super) other_settings: BTreeMap<String, toml::Table>,
    /// What the provider answers.
    #[serde(default)]
    pub(super) provider: AnswerScript,
    /// What it answers from a step `script` on.
    #[serde(default)]
    pub(super) scripts: BTreeMap<String, AnswerScript>,
    /// The documents that `import` writes.
    #[serde(default)]
    pub(super) documents: Vec<DocumentSet>,
    /// What is done.
    #[serde(default = "usual_steps")]
    pub(super) steps: Vec<Step>,
    /// What is right afterwards.
    pub(super) right: Right,
}

/// Something that is done.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// Writes documents: those of the case, or others.
    Import {
        documents: Option<Vec<DocumentSet>>,
        /// The file as it is, in place of documents.
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
    /// Asks it to end, and waits until it has.
    Stop,
    /// Kills it.
    Kill,
    /// Waits until something is so.
    Until {
        #[serde(default = "at_most_s")]
        at_most_s: u64,
        so: Box<Condition>,
    },
    /// Waits until the provider was not asked for so long.
    Quiet { for_ms: u64 },
    /// Lets time pass, where nothing that can be waited for happens.
    Wait { for_ms: u64 },
    /// Users sign in: new tokens are written to their documents.
    SignIn {
        user: String,
        /// The document to write; as in the documents of the case, with an `_id` alone if not given.
        document: Option<String>,
    },
    /// The provider revokes a user's grants.
    Revoke { user: String },
    /// The provider answers otherwise from now on.
    Script { name: String },
    /// Other settings from the next start or command on.
    Configure { name: String },
    /// Runs a command of `evergrant`.
    Run {
        arguments: Vec<String>,
        #[serde(rename = "as")]
        name: Option<String>,
    },
    /// Makes a folder beside the file.
    Folder { name: String },
    /// Writes a file beside it.
    File { name: String, text: String },
    /// Nobody else can write to the file any more.
    Hold,
    /// They can again.
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
    /// Reads a case.
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
