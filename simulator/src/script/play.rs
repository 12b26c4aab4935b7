//! A script in use: since when, and how often each rule has answered whom.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use super::AnswerScript;
use super::answer::Answer;
use super::requirement::SeenRequest;
use super::rule::{Count, Tokens};
use crate::ledger::TokenState;
use crate::oauth::Client;
use crate::sync::lock;

/// A script that is being played.
#[derive(Debug)]
pub(crate) struct Play {
    script: AnswerScript,
    first_request_us: OnceLock<u64>,
    /// Answers given so far, by rule and, where each user is counted alone, user.
    given: Mutex<HashMap<(usize, String), u32>>,
}

/// A token that is presented.
pub(crate) struct Occasion<'a, D> {
    /// Whose it is; empty for a token of nobody.
    pub(crate) user: &'a str,
    pub(crate) state: TokenState,
    pub(crate) now_us: u64,
    /// A draw from `0.0..1.0` for the rule with this number.
    pub(crate) draw: D,
}

/// What the script answers.
pub(crate) struct Choice {
    pub(crate) answer: Answer,
    /// The rule's number, from 0. None if the answer is that of no rule.
    pub(crate) rule: Option<usize>,
}

impl Play {
    pub(crate) fn new(script: AnswerScript) -> Self {
        Self { script, first_request_us: OnceLock::new(), given: Mutex::default() }
    }

    /// A request has come: the script's time begins at the first.
    pub(crate) fn arrived(&self, now_us: u64) {
        self.first_request_us.get_or_init(|| now_us);
    }

    /// Whether the script says itself what a request must have.
    pub(crate) fn has_requirements(&self) -> bool {
        !self.script.require.is_empty()
    }

    /// The answer to a request that lacks something.
    pub(crate) fn refusal(&self, request: &SeenRequest<'_>, client: &Client) -> Option<Answer> {
        let unmet = self.script.require.iter().find(|one| !one.is_met_by(request, client));
        unmet.map(|requirement| requirement.otherwise())
    }

    /// What the script answers to a presentation, and counts as given. None leaves it to the
    /// provider.
    pub(crate) fn choose(&self, occasion: &Occasion<'_, impl Fn(usize) -> f64>) -> Option<Choice> {
        let success = self.script.success.as_ref();
        let by_rule = self.by_rule(occasion);
        let by_state = || {
            let answer = match occasion.state {
                TokenState::Live | TokenState::InGrace => success,
                TokenState::Rotated | TokenState::KilledByReuse => self.script.rotated.as_ref(),
                TokenState::Revoked | TokenState::Expired => self.script.dead.as_ref(),
                TokenState::Unknown => self.script.unknown.as_ref(),
            };
            answer.map(|answer| Choice { answer: answer.over(success), rule: None })
        };
        by_rule.or_else(by_state)
    }

    fn by_rule(&self, occasion: &Occasion<'_, impl Fn(usize) -> f64>) -> Option<Choice> {
        let since_us = self.first_request_us.get().copied().unwrap_or(occasion.now_us);
        let elapsed_ms = occasion.now_us.saturating_sub(since_us) / 1_000;
        let is_current = !matches!(
            occasion.state,
            TokenState::Rotated | TokenState::KilledByReuse | TokenState::Unknown
        );
        let mut given = lock(&self.given);
        self.script.rules.iter().enumerate().find_map(|(number, rule)| {
            let applies = (is_current || rule.tokens == Tokens::Any)
                && rule.is_in_force(elapsed_ms)
                && rule.users.matches(occasion.user)
                && rule.share.is_none_or(|share| (occasion.draw)(number) < share);
            let counted = match rule.count {
                Count::EachUser => occasion.user,
                Count::AllUsers => "",
            };
            let given = given.entry((number, counted.to_owned())).or_default();
            let answer = Some(rule).filter(|_| applies)?.answer(*given)?;
            *given += 1;
            let answer = answer.over(self.script.success.as_ref());
            Some(Choice { answer, rule: Some(number) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(toml: &str) -> Play {
        Play::new(AnswerScript::parse(toml).unwrap())
    }

    fn status(play: &Play, user: &str, state: TokenState, now_ms: u64) -> Option<u16> {
        play.arrived(now_ms * 1_000);
        let occasion = Occasion { user, state, now_us: now_ms * 1_000, draw: |_| 0.5 };
        play.choose(&occasion)?.answer.status
    }

    #[test]
    fn the_first_rule_that_applies_answers() {
        let play = play(
            "[[rules]]\nusers = 'u1'\nanswers = [{ status = 401 }]\n\
             [[rules]]\nusers = 'u.*'\nanswers = [{ status = 402 }]",
        );
        let told = ["u1", "u2", "v"].map(|user| status(&play, user, TokenState::Live, 0));
        assert_eq!(told, [Some(401), Some(402), None]);
    }

    #[test]
    fn time_begins_with_the_first_request() {
        let play = play("[[rules]]\nusers = 'u'\nuntil_ms = 100\nanswers = [{ status = 503 }]");
        let told = [7_000, 7_099, 7_100].map(|at| status(&play, "u", TokenState::Live, at));
        assert_eq!(told, [Some(503), Some(503), None]);
    }

    #[test]
    fn answers_are_counted_for_each_user_or_for_all() {
        let script = |count: &str| {
            play(&format!(
                "[[rules]]\nusers = '.*'\ncount = '{count}'\nthen = 'usual'\n\
                 answers = [{{ status = 500 }}]"
            ))
        };
        let (each, all) = (script("each_user"), script("all_users"));
        let told = |play| ["a", "b", "a"].map(|user| status(play, user, TokenState::Live, 0));
        assert_eq!(told(&each), [Some(500), Some(500), None]);
        assert_eq!(told(&all), [Some(500), None, None]);
    }

    #[test]
    fn a_rule_is_about_tokens_that_were_not_rotated_away_unless_it_says_any() {
        let play = play(
            "rotated.status = 410\nunknown.status = 404\n\
             [[rules]]\nusers = 'u'\nanswers = [{ status = 500 }]\n\
             [[rules]]\nusers = 'v|'\ntokens = 'any'\nanswers = [{ status = 501 }]",
        );
        assert_eq!(status(&play, "u", TokenState::Rotated, 0), Some(410));
        assert_eq!(status(&play, "u", TokenState::Revoked, 0), Some(500));
        assert_eq!(status(&play, "v", TokenState::Rotated, 0), Some(501));
        assert_eq!(status(&play, "w", TokenState::Unknown, 0), Some(404));
        assert_eq!(status(&play, "", TokenState::Unknown, 0), Some(501));
    }

    #[test]
    fn a_share_is_drawn() {
        let script = |share: &str| {
            play(&format!(
                "[[rules]]\nusers = 'u'\nshare = {share}\nanswers = [{{ status = 500 }}]"
            ))
        };
        assert_eq!(status(&script("0.4"), "u", TokenState::Live, 0), None);
        assert_eq!(status(&script("0.6"), "u", TokenState::Live, 0), Some(500));
    }
}
