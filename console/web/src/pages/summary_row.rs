//! The events of a grant, in order.

use evergrant_domain::audit::AuditEntry;
use evergrant_domain::{DeadLetter, Timestamp};
use evergrant_ports::GrantView;

use crate::format::{ShownTime, visible};
use evergrant_operations::timeline::timeline;

/// A past or future event.
pub(crate) struct Event {
    pub(crate) at: ShownTime,
    pub(crate) words: String,
    /// The colour: good, bad, ahead.
    pub(crate) mood: &'static str,
}

/// Events, not in order yet.
#[derive(Default)]
pub(super) struct SummaryRow(Vec<(Timestamp, String, &'static str)>);

impl SummaryRow {
    fn note(&mut self, at: Option<Timestamp>, words: impl Into<String>, mood: &'static str) {
        if let Some(at) = at {
            self.0.push((at, words.into(), mood));
        }
    }

    /// Adds the events of a document, and operators' actions on it.
    pub(super) fn grant(&mut self, grant: &GrantView, audit: &[AuditEntry], now: Timestamp) {
        for event in timeline(grant, audit, now) {
            let mood = match event.what.split(' ').next() {
                Some("refreshed,") | Some("refreshed") => "good",
                Some("failed:") => "bad",
                _ => "",
            };
            self.note(Some(event.at), visible(&event.what), mood);
        }
    }

    /// Adds the events of a dead letter.
    pub(super) fn letter(&mut self, letter: &DeadLetter) {
        self.note(Some(letter.first_failed_at), "first failure", "bad");
        let by = letter.worker.as_deref().map(|worker| format!(" by {}", visible(worker)));
        let words = format!(
            "given up as {} after {} attempts{}",
            letter.reason,
            letter.attempts,
            by.unwrap_or_default()
        );
        self.note(Some(letter.last_failed_at), words, "bad");
    }

    /// All events, newest first, with future ones at the top.
    pub(super) fn in_order(mut self, now: Timestamp) -> Vec<Event> {
        self.0.sort_by_key(|(at, _, _)| std::cmp::Reverse(*at));
        let event = |(at, words, mood): (Timestamp, String, &'static str)| {
            let mood = if at > now { "ahead" } else { mood };
            Event { at: ShownTime::new(at, now), words, mood }
        };
        self.0.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn future_events_come_before_past_ones() {
        let at = |ms| Some(Timestamp::from_unix_ms(ms));
        let mut line = SummaryRow::default();
        line.note(at(1_000), "first", "good");
        line.note(at(9_000), "ahead", "bad");
        line.note(at(2_000), "second", "");
        line.note(None, "never", "");
        let events = line.in_order(Timestamp::from_unix_ms(5_000));
        let seen: Vec<_> = events.iter().map(|event| (event.words.as_str(), event.mood)).collect();
        assert_eq!(seen, [("ahead", "ahead"), ("second", ""), ("first", "good")]);
    }
}
