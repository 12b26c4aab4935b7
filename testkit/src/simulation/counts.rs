//! Counts of tokens in a place.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How often each token is in a place, and since when.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<String, (u32, Instant)>);

impl Counts {
    pub(crate) fn add(&mut self, token: String) {
        self.0.entry(token).or_insert((0, Instant::now())).0 += 1;
    }

    pub(crate) fn remove(&mut self, token: &str) {
        if let Some((count, _)) = self.0.get_mut(token) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(token);
            }
        }
    }

    pub(crate) fn contains(&self, token: &str) -> bool {
        self.0.contains_key(token)
    }

    /// A token that is there for longer than this.
    pub(crate) fn longer_than(&self, span: Duration) -> Option<&str> {
        let mut old = self.0.iter().filter(|(_, (_, since))| since.elapsed() > span);
        old.next().map(|(token, _)| token.as_str())
    }
}
