//! A script: what the token endpoint answers, told by a file instead of by draws.
//!
//! A script is data. [`Play`] is a script in use: since when, and how often each rule has answered.
//! Whatever a script answers, the ledger judges as before: it knows what each token was worth.

mod answer;
mod body;
mod pattern;
mod perform;
mod play;
mod requirement;
mod rule;

use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use answer::Answer;
pub(crate) use play::Play;

use crate::settings_error::SettingsError;
use requirement::Requirement;
use rule::Rule;

/// What the token endpoint answers. The simulator's README describes the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerScript {
    /// Settings of the simulator to change.
    pub(crate) settings: Map<String, Value>,
    /// What a request must have, in place of the usual checks.
    pub(crate) require: Vec<Requirement>,
    /// The first that applies and has an answer left answers.
    pub(crate) rules: Vec<Rule>,
    /// The answer to a token that is good, where no rule applies.
    pub(crate) success: Option<Answer>,
    /// The answer to a token that was rotated away, or whose family reuse has killed.
    pub(crate) rotated: Option<Answer>,
    /// The answer to a token whose grant is revoked or has expired.
    pub(crate) dead: Option<Answer>,
    /// The answer to a token that this provider never issued.
    pub(crate) unknown: Option<Answer>,
}

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The text is no script.
    #[error("the script does not read: {0}")]
    Read(#[from] toml::de::Error),
    /// A part of it contradicts itself.
    #[error("the script cannot be played: {0}")]
    Contradiction(String),
    /// It asks for settings that cannot be.
    #[error("the script's settings cannot be: {0}")]
    Settings(#[from] SettingsError),
}

impl AnswerScript {
    /// Reads a script in TOML.
    ///
    /// # Errors
    /// If it is no script, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let script: Self = toml::from_str(text)?;
        script.validate()?;
        Ok(script)
    }

    /// Checks what reading alone does not: scripts that are part of another file come here too.
    ///
    /// # Errors
    /// If it contradicts itself.
    pub(crate) fn validate(&self) -> Result<(), ScriptError> {
        let wrong =
            |place: String, why: String| ScriptError::Contradiction(format!("{place}: {why}"));
        for (number, rule) in self.rules.iter().enumerate() {
            rule.validate().map_err(|why| wrong(format!("rule {}", number + 1), why))?;
        }
        for (number, requirement) in self.require.iter().enumerate() {
            requirement
                .validate()
                .map_err(|why| wrong(format!("requirement {}", number + 1), why))?;
        }
        let others = [
            ("success", &self.success),
            ("rotated", &self.rotated),
            ("dead", &self.dead),
            ("unknown", &self.unknown),
        ];
        for (name, answer) in others {
            if let Some(answer) = answer {
                answer.validate().map_err(|why| wrong(name.to_owned(), why))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads() {
        let script = AnswerScript::parse(
            r#"
            settings = { grace_s = 5 }
            success.body = '{"data": {"access_token": "{access_token}"}}'

            [[require]]
            content_type = "application/json"

            [[rules]]
            users = 'u([1-9]|10)'
            until_ms = 5_000
            answers = [
              { status = 429, headers = { Retry-After = "7" }, times = 2 },
              { delivery = "reset", delay_ms = 30 },
            ]
            then = "usual"
            "#,
        );
        let script = script.unwrap();
        assert_eq!((script.rules.len(), script.require.len()), (1, 1));
        assert_eq!(script.settings["grace_s"], 5);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("rule = []", "rule"),
            ("[[rules]]\nusers = '('\nanswers = [{}]", "pattern"),
            ("[[rules]]\nusers = 'u1'\nanswers = []", "rule 1"),
            ("[[rules]]\nusers = 'u1'\nanswers = [{ status = 99 }]", "99"),
            ("[[rules]]\nusers = 'u1'\nanswers = [{ times = 0 }]", "times"),
            ("[[rules]]\nusers = 'u1'\nshare = 2.0\nanswers = [{}]", "share"),
            ("[[rules]]\nusers = 'u1'\nfrom_ms = 9\nuntil_ms = 9\nanswers = [{}]", "until_ms"),
            ("[[require]]\nvalue = 'x'", "requirement 1"),
            ("[dead]\nheaders = { \"a b\" = 'x' }", "a b"),
        ] {
            let error = AnswerScript::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
