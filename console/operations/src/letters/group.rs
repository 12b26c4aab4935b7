//! Groups of dead letters by provider and reason.

use evergrant_domain::{DeadLetter, DeadReason, ProviderId, Timestamp};
use serde::Serialize;

/// The dead letters of one provider with one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterGroup {
    /// The provider.
    pub provider: ProviderId,
    /// The reason.
    pub reason: DeadReason,
    /// How many there are.
    pub count: u64,
    /// How many of them had been redriven before.
    pub redriven: u64,
    /// When the first of them last failed.
    pub first_at: Timestamp,
    /// When the last of them last failed.
    pub last_at: Timestamp,
    /// What to do about them.
    pub remedy: &'static str,
}

/// Adds a letter to its group.
pub fn group(groups: &mut Vec<LetterGroup>, letter: &DeadLetter) {
    let (at, redriven) = (letter.last_failed_at, u64::from(letter.redrive_count > 0));
    let same = |group: &&mut LetterGroup| {
        group.provider == letter.provider && group.reason == letter.reason
    };
    if let Some(group) = groups.iter_mut().find(same) {
        group.count += 1;
        group.redriven += redriven;
        group.first_at = group.first_at.min(at);
        group.last_at = group.last_at.max(at);
        return;
    }
    groups.push(LetterGroup {
        provider: letter.provider.clone(),
        reason: letter.reason,
        count: 1,
        redriven,
        first_at: at,
        last_at: at,
        remedy: letter.reason.remedy(),
    });
    groups.sort_by(|a, b| (&a.provider, a.reason).cmp(&(&b.provider, b.reason)));
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::letter;
    use super::*;

    #[test]
    fn letters_are_grouped_by_reason_with_their_times() {
        let mut groups = Vec::new();
        for (reason, at_ms) in [
            (DeadReason::MalformedJob, 9),
            (DeadReason::GrantDead, 7),
            (DeadReason::GrantDead, 3),
            (DeadReason::GrantDead, 5),
        ] {
            group(&mut groups, &letter(reason, at_ms));
        }
        let at = Timestamp::from_unix_ms;
        let seen: Vec<_> =
            groups.iter().map(|g| (g.reason, g.count, g.first_at, g.last_at)).collect();
        assert_eq!(
            seen,
            [(DeadReason::GrantDead, 3, at(3), at(7)), (DeadReason::MalformedJob, 1, at(9), at(9))]
        );
    }
}
