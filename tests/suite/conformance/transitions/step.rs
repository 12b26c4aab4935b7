//! What may happen to documents.

use std::time::Duration;

use evergrant_domain::{GrantStatus, Timestamp};
use evergrant_ports::GrantChange;
use proptest::prelude::*;
use proptest::sample::select;

/// Owners of claims. Text that begins with a `$` is no field's name.
const OWNERS: [&str; 3] = ["a", "b", "$status"];

/// A time or a duration: over at once, or not before the test ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hours {
    None,
    One,
    Two,
}

impl Hours {
    pub(super) const fn duration(self) -> Duration {
        Duration::from_secs(3_600 * self as u64)
    }

    /// The time so many hours after the hour before `base`.
    pub(super) fn time(self, base: Timestamp) -> Timestamp {
        base.minus(Duration::from_secs(3_600)).plus(2 * self.duration())
    }
}

/// What a commit writes.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Refresh { token: Option<u8>, next: Hours, absolute: bool },
    Schedule { next: Hours },
    Postpone { is_of_token: bool, next: Option<Hours>, queued: Hours },
    End { status: GrantStatus, is_of_token: bool },
    NoToken,
    Unadopt,
}

/// Something that happens, to the document of this number where it is about one.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Adopt,
    Claim(u8, &'static str, Hours),
    Renew(u8, &'static str, Hours),
    Release(u8, &'static str),
    MarkQueued(u8, Hours),
    /// What came of a claim of the document, held or not: of the last one, the one before, and so on; of a new
    /// one, if there is no number. From a journal, if so.
    Commit(u8, Option<u8>, Write, bool),
    /// The new tokens of the token that is said to be there wait elsewhere.
    Withhold(u8, u8),
    Sweep,
    ReviveDead(Hours),
    Reactivate(u8, Hours),
    Change(u8, GrantChange),
    /// The application writes another token; or none, if there is no number.
    SignIn(u8, Option<u8>),
    /// It writes what cannot be read as a token.
    Damage(u8),
    /// It empties the state. Not by a null: see the deviations of the test server in docs/servers.md.
    DropState(u8),
    /// An operator imports the document with another token.
    Import(u8, u8),
    /// What is due is listed and counted.
    Due,
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let document = || prop_oneof![3 => Just(1), 1 => Just(2)];
    let owner = || select(&OWNERS[..]);
    let hours =
        || prop_oneof![4 => Just(Hours::None), 1 => Just(Hours::One), 1 => Just(Hours::Two)];
    let claim = || prop::option::weighted(0.5, 0_u8..3);
    let change = select(&[GrantChange::Pause, GrantChange::Resume, GrantChange::Forget][..]);
    prop_oneof![
        2 => Just(Step::Adopt),
        10 => (document(), owner(), hours()).prop_map(|(it, by, end)| Step::Claim(it, by, end)),
        2 => (document(), owner(), hours()).prop_map(|(it, by, end)| Step::Renew(it, by, end)),
        2 => (document(), owner()).prop_map(|(it, by)| Step::Release(it, by)),
        3 => (document(), hours()).prop_map(|(it, end)| Step::MarkQueued(it, end)),
        14 => (document(), claim(), writes(), any::<bool>())
            .prop_map(|(it, claim, write, journal)| Step::Commit(it, claim, write, journal)),
        2 => (document(), 0_u8..3).prop_map(|(it, token)| Step::Withhold(it, token)),
        5 => Just(Step::Sweep),
        2 => hours().prop_map(Step::ReviveDead),
        3 => (document(), hours()).prop_map(|(it, end)| Step::Reactivate(it, end)),
        4 => (document(), change).prop_map(|(it, change)| Step::Change(it, change)),
        5 => (document(), prop::option::weighted(0.8, 0_u8..3))
            .prop_map(|(it, token)| Step::SignIn(it, token)),
        1 => document().prop_map(Step::Damage),
        1 => document().prop_map(Step::DropState),
        1 => (document(), 0_u8..3).prop_map(|(it, token)| Step::Import(it, token)),
        1 => Just(Step::Due),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    let hours = || select(&[Hours::None, Hours::One][..]);
    let ends = select(&[GrantStatus::NeedsReauth, GrantStatus::Failed][..]);
    prop_oneof![
        6 => (prop::option::weighted(0.7, 0_u8..3), hours(), any::<bool>())
            .prop_map(|(token, next, absolute)| Write::Refresh { token, next, absolute }),
        1 => hours().prop_map(|next| Write::Schedule { next }),
        3 => (any::<bool>(), prop::option::of(hours()), hours())
            .prop_map(|(is_of_token, next, queued)| Write::Postpone { is_of_token, next, queued }),
        5 => (ends, prop::bool::weighted(0.8))
            .prop_map(|(status, is_of_token)| Write::End { status, is_of_token }),
        1 => Just(Write::NoToken),
        1 => Just(Write::Unadopt),
    ]
}
