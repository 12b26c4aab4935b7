//! Mass death is not death.
//!
//! When an unusual share of a provider's users dies at once, the cause is more likely a client
//! whose settings changed, or a provider that fails, than users who all signed out.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Outcome, Timestamp};

/// When deaths are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeathWatchSettings {
    /// The share of deaths among a provider's answers that is unusual, in per cent.
    pub threshold_percent: u8,
    /// Deaths below this number are always believed.
    pub min_deaths: usize,
    /// How far back answers count.
    pub window: Duration,
}

impl Default for DeathWatchSettings {
    fn default() -> Self {
        Self { threshold_percent: 50, min_deaths: 20, window: Duration::from_secs(600) }
    }
}

/// What is known beforehand about the deaths of a provider's grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// Nothing: their share decides.
    ByShare,
    /// They are not believed: the circuit is open for such deaths, or our client's settings have changed and no refresh has
    /// succeeded since.
    Doubt,
    /// They are believed: an operator has confirmed them.
    Trust,
}

/// Remembers a provider's latest answers and says whether a death is believed.
#[derive(Debug)]
pub struct DeathWatch {
    settings: DeathWatchSettings,
    /// The latest answers, oldest first: when, and whether it was a death.
    answers: VecDeque<(Timestamp, bool)>,
    /// See [`Self::take_back`].
    take_back: Option<Timestamp>,
}

/// The number of answers that are remembered.
const MEMORY: usize = 500;

impl DeathWatch {
    /// A watch that has seen nothing.
    pub fn new(settings: DeathWatchSettings) -> Self {
        Self { settings, answers: VecDeque::new(), take_back: None }
    }

    /// Takes note of an outcome and gives it back, a death that is not believed as
    /// [`Outcome::Suspicious`].
    pub fn weigh(&mut self, outcome: Outcome, now: Timestamp, belief: Belief) -> Outcome {
        let dead = match &outcome {
            Outcome::GrantDead(_) => true,
            Outcome::Refreshed(_) => false,
            _ => return outcome,
        };
        if !(dead && belief == Belief::Trust) {
            self.remember(now, dead);
        }
        match (outcome, belief) {
            (Outcome::GrantDead(failure), Belief::Doubt) => Outcome::Suspicious(failure),
            (Outcome::GrantDead(failure), Belief::ByShare) if self.is_unusual() => {
                self.take_back = Some(now.minus(self.settings.window));
                Outcome::Suspicious(failure)
            }
            (outcome, _) => outcome,
        }
    }

    /// If it has just turned out that there are too many deaths to believe them: the time since when
    /// those that were believed are to be taken back, by whichever worker. Once.
    pub fn take_back(&mut self) -> Option<Timestamp> {
        self.take_back.take()
    }

    fn remember(&mut self, now: Timestamp, dead: bool) {
        let oldest = now.minus(self.settings.window);
        while self.answers.front().is_some_and(|&(at, _)| at < oldest) {
            self.answers.pop_front();
        }
        if self.answers.len() == MEMORY {
            self.answers.pop_front();
        }
        self.answers.push_back((now, dead));
    }

    fn is_unusual(&self) -> bool {
        let deaths = self.answers.iter().filter(|(_, dead)| *dead).count();
        let share_exceeded =
            deaths * 100 > self.answers.len() * usize::from(self.settings.threshold_percent);
        deaths >= self.settings.min_deaths && share_exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Failure, NewTokens};

    const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

    fn watch() -> DeathWatch {
        let settings = DeathWatchSettings { min_deaths: 5, ..DeathWatchSettings::default() };
        DeathWatch::new(settings)
    }

    fn death() -> Outcome {
        Outcome::GrantDead(Failure::default())
    }

    fn success() -> Outcome {
        Outcome::Refreshed(NewTokens {
            access_token: "a".into(),
            refresh_token: None,
            expires_in_s: None,
            refresh_expires_in_s: None,
        })
    }

    #[test]
    fn a_few_deaths_are_deaths() {
        let mut watch = watch();
        for _ in 0..4 {
            assert_eq!(watch.weigh(death(), NOW, Belief::ByShare).name(), "grant_dead");
        }
    }

    #[test]
    fn deaths_of_most_users_at_once_are_not_believed() {
        let mut watch = watch();
        let last = (0..20).map(|_| watch.weigh(death(), NOW, Belief::ByShare).name()).last();
        assert_eq!(last, Some("suspicious"));
    }

    #[test]
    fn a_usual_share_of_deaths_is_believed_however_many_there_are() {
        let mut watch = watch();
        for _ in 0..300 {
            assert_eq!(watch.weigh(success(), NOW, Belief::ByShare).name(), "refreshed");
            assert_eq!(watch.weigh(success(), NOW, Belief::ByShare).name(), "refreshed");
            assert_eq!(watch.weigh(death(), NOW, Belief::ByShare).name(), "grant_dead");
        }
    }

    #[test]
    fn deaths_long_ago_do_not_count() {
        let mut watch = watch();
        for _ in 0..4 {
            watch.weigh(death(), NOW, Belief::ByShare);
        }
        let later = NOW.plus(Duration::from_secs(601));
        assert_eq!(watch.weigh(death(), later, Belief::ByShare).name(), "grant_dead");
    }

    #[test]
    fn other_outcomes_pass_and_do_not_dilute() {
        let mut watch = watch();
        for _ in 0..100 {
            let outcome = Outcome::Transient(Failure::default());
            assert_eq!(watch.weigh(outcome, NOW, Belief::ByShare).name(), "transient");
        }
        let last = (0..6).map(|_| watch.weigh(death(), NOW, Belief::ByShare).name()).last();
        assert_eq!(last, Some("suspicious"));
    }

    #[test]
    fn when_they_are_too_many_the_first_ones_are_taken_back_too() {
        let mut watch = watch();
        for _ in 0..4 {
            watch.weigh(death(), NOW, Belief::ByShare);
        }
        assert_eq!(watch.take_back(), None);
        watch.weigh(death(), NOW, Belief::ByShare);
        assert_eq!(watch.take_back(), Some(NOW.minus(Duration::from_secs(600))));
        assert_eq!(watch.take_back(), None);
    }

    #[test]
    fn a_single_death_is_doubted_where_there_is_reason_to() {
        let mut watch = watch();
        assert_eq!(watch.weigh(death(), NOW, Belief::Doubt).name(), "suspicious");
        assert_eq!(watch.weigh(success(), NOW, Belief::Doubt).name(), "refreshed");
        assert_eq!(watch.take_back(), None);
    }

    #[test]
    fn what_an_operator_confirmed_is_believed_and_does_not_count_later() {
        let mut watch = watch();
        for _ in 0..50 {
            assert_eq!(watch.weigh(death(), NOW, Belief::Trust).name(), "grant_dead");
        }
        assert_eq!(watch.weigh(death(), NOW, Belief::ByShare).name(), "grant_dead");
    }
}
