//! The counts of a bulk action.

use std::collections::BTreeMap;

use evergrant_domain::audit::ActionProgress;
use evergrant_domain::{DeadLetter, ProviderId};
use serde::Serialize;

use super::{BulkRequest, LetterMatch};

/// The counts of a bulk action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BulkTally {
    /// Letters that matched.
    pub matched: u64,
    /// Letters that were redriven or discarded.
    pub done: u64,
    /// Letters that stay: their document does not exist, or must not be refreshed.
    pub left_no_document: u64,
    /// Letters that stay: they hold no job.
    pub left_no_job: u64,
    /// Letters that stay: they hold new tokens, which were not requested.
    pub left_uncommitted: u64,
    /// Letters that stay: their time is after the cut-off.
    pub left_after_cutoff: u64,
    /// Letters that matched, by provider.
    pub providers: BTreeMap<ProviderId, u64>,
}

impl BulkTally {
    /// Counts a letter that matches.
    pub(super) fn meet(&mut self, provider: &ProviderId) {
        self.matched += 1;
        *self.providers.entry(provider.clone()).or_default() += 1;
    }

    /// Counts a letter that matches the filter.
    pub fn count(&mut self, request: &BulkRequest, letter: &DeadLetter) {
        if self.is_meant(request, letter) {
            self.meet(&letter.provider);
        }
    }

    /// Whether a letter that matches the filter is included. Letters that stay are counted.
    pub(super) fn is_meant(&mut self, request: &BulkRequest, letter: &DeadLetter) -> bool {
        match request.meaning(letter) {
            LetterMatch::Meant => return true,
            LetterMatch::Other => {}
            LetterMatch::Uncommitted => self.left_uncommitted += 1,
            LetterMatch::AfterCutoff => self.left_after_cutoff += 1,
        }
        false
    }

    /// Letters that failed. Letters after the cut-off were never requested.
    pub const fn left(&self) -> u64 {
        self.left_no_document + self.left_no_job + self.left_uncommitted
    }

    /// A description of the letters that stay.
    pub fn detail(&self) -> String {
        let mut words = Vec::new();
        if self.left_no_document > 0 {
            words.push(format!(
                "{} stay: their documents are gone or paused; discard them, or resume the grants",
                self.left_no_document
            ));
        }
        if self.left_no_job > 0 {
            words.push(format!("{} stay: they are no jobs; discard them", self.left_no_job));
        }
        if self.left_uncommitted > 0 {
            words.push(format!(
                "{} stay: they hold new tokens that are stored nowhere else (uncommitted_answer); redrive \
                 them, or discard them by --include-uncommitted-answers or the box for it",
                self.left_uncommitted
            ));
        }
        if self.left_after_cutoff > 0 {
            words.push(format!(
                "{} stay: they carry a time after the count began; they died since, or the clock of \
                 their worker is ahead",
                self.left_after_cutoff
            ));
        }
        words.join("; ")
    }

    /// The progress for the audit record. `counted` is the number of letters before the action
    /// began.
    pub(super) fn progress(&self, counted: Option<u64>) -> ActionProgress {
        let matched = counted.map_or(self.matched, |counted| counted.max(self.matched));
        ActionProgress {
            matched: Some(matched),
            done: self.done,
            left: self.left(),
            ..ActionProgress::default()
        }
    }
}
