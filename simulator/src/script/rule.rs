//! One rule of a script: for whom, when, and which answers in which order.

use serde::Deserialize;

use super::answer::Answer;
use super::pattern::UserPattern;

/// A rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) users: UserPattern,
    /// From when on it applies, in milliseconds since the script's first request.
    #[serde(default)]
    pub(crate) from_ms: u64,
    /// Until when it applies. None is for ever.
    pub(crate) until_ms: Option<u64>,
    #[serde(default)]
    pub(crate) tokens: Tokens,
    /// The share of presentations that it applies to, drawn for each. None is all of them.
    pub(crate) share: Option<f64>,
    /// The answers, in order.
    pub(crate) answers: Vec<Answer>,
    #[serde(default)]
    pub(crate) count: Count,
    #[serde(default)]
    pub(crate) then: ScriptEnd,
}

/// Which tokens a rule applies to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tokens {
    /// Those that were not rotated away.
    #[default]
    Current,
    /// Those that were rotated away and those of nobody as well.
    Any,
}

/// Whose answers are counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Count {
    #[default]
    EachUser,
    AllUsers,
}

/// What follows the last answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScriptEnd {
    /// The last answer again.
    #[default]
    Repeat,
    /// The rules below, and the usual answer.
    Usual,
}

impl Rule {
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.answers.is_empty() {
            return Err("it has no answers".to_owned());
        }
        if self.until_ms.is_some_and(|until_ms| until_ms <= self.from_ms) {
            return Err("until_ms is not after from_ms".to_owned());
        }
        if self.share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("share is a number from 0 to 1".to_owned());
        }
        self.answers.iter().try_for_each(Answer::validate)
    }

    pub(crate) fn is_in_force(&self, elapsed_ms: u64) -> bool {
        elapsed_ms >= self.from_ms && self.until_ms.is_none_or(|until_ms| elapsed_ms < until_ms)
    }

    /// The answer after so many others. None once they are spent, if the usual one follows.
    pub(crate) fn answer(&self, given: u32) -> Option<&Answer> {
        let mut last = 0;
        let current = self.answers.iter().find(|answer| {
            last += answer.times.unwrap_or(1);
            given < last
        });
        let repeated = || self.answers.last().filter(|_| self.then == ScriptEnd::Repeat);
        current.or_else(repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(toml: &str) -> Rule {
        toml::from_str(&format!("users = 'u'\n{toml}")).unwrap()
    }

    fn statuses(rule: &Rule) -> Vec<Option<u16>> {
        (0..5).map(|given| rule.answer(given).and_then(|answer| answer.status)).collect()
    }

    #[test]
    fn answers_come_in_order_and_the_last_one_is_repeated() {
        let rule = rule("answers = [{ status = 500, times = 2 }, { status = 400 }]");
        assert_eq!(statuses(&rule), [500, 500, 400, 400, 400].map(Some));
    }

    #[test]
    fn a_rule_that_is_spent_leaves_the_field() {
        let rule = rule("answers = [{ status = 500 }]\nthen = 'usual'");
        assert_eq!(statuses(&rule), [Some(500), None, None, None, None]);
    }

    #[test]
    fn a_rule_is_in_force_from_its_beginning_until_before_its_end() {
        let rule = rule("from_ms = 10\nuntil_ms = 20\nanswers = [{}]");
        assert_eq!([9, 10, 19, 20].map(|at| rule.is_in_force(at)), [false, true, true, false]);
    }
}
