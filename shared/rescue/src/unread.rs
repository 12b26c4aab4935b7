//! A success whose tokens were not found when it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use super::plain_secret::PlainSecret;
use super::unsealable::UnsealableAnswer;
use evergrant_domain::classify::{Dialect, ExchangeResult, HttpAnswer};
use evergrant_domain::decide::{RefreshPolicy, refresh_with};
use evergrant_domain::schedule::KnownEnds;
use evergrant_domain::{
    ClaimNote, DocumentId, ExchangeSecrets, Grant, Outcome, Timestamp, classify,
};
use evergrant_ports::Commit;

/// A success whose tokens were not found: its body, which later settings may read, and the
/// condition on which the tokens may then be written.
#[derive(Debug, Clone)]
pub struct UnreadAnswer {
    /// The document.
    pub id: DocumentId,
    /// The claim's owner.
    pub owner: String,
    /// The generation that was claimed.
    pub generation: u64,
    /// The refresh token that was sent.
    pub sent: SecretString,
    /// The known absolute end of the grant.
    pub refresh_absolute_until: Option<Timestamp>,
    /// When it came, by the store's clock.
    pub answered_at: Timestamp,
    /// Its HTTP status.
    pub http_status: u16,
    /// Its body.
    pub body: SecretSlice<u8>,
}

impl UnreadAnswer {
    /// The answer to the token of a claimed grant.
    pub fn to_grant(
        grant: &Grant,
        owner: &str,
        http_status: u16,
        body: SecretSlice<u8>,
        answered_at: Timestamp,
    ) -> Self {
        Self {
            id: grant.id.clone(),
            owner: owner.to_owned(),
            generation: grant.generation,
            sent: grant.refresh_token.clone(),
            refresh_absolute_until: grant.ends.absolute,
            answered_at,
            http_status,
            body,
        }
    }

    /// The commit, if the provider's `dialect` now finds tokens in it.
    pub fn read(&self, dialect: &Dialect, policy: &RefreshPolicy) -> Option<Commit> {
        let body = self.body.expose_secret().to_vec();
        let answer = HttpAnswer { status: self.http_status, retry_after_ms: None, body };
        let Outcome::Refreshed(tokens) =
            classify(ExchangeResult::Answered(answer), dialect, ExchangeSecrets::default())
        else {
            return None;
        };
        let known = KnownEnds { absolute: self.refresh_absolute_until, ..KnownEnds::default() };
        Some(Commit {
            id: self.id.clone(),
            owner: self.owner.clone(),
            generation: Some(self.generation),
            sent: Some(self.sent.clone()),
            note: ClaimNote::default(),
            write: refresh_with(policy, &self.id, &tokens, known, self.answered_at),
        })
    }
}

/// The stored form of an unread answer.
#[derive(Serialize, Deserialize)]
pub(super) struct PlainUnread {
    owner: String,
    generation: u64,
    sent: PlainSecret,
    refresh_absolute_until: Option<Timestamp>,
    answered_at: Timestamp,
    http_status: u16,
    /// In base64, because it need not be text.
    body: PlainSecret,
}

impl PlainUnread {
    pub(super) fn from_unread(unread: &UnreadAnswer) -> Self {
        Self {
            owner: unread.owner.clone(),
            generation: unread.generation,
            sent: (&unread.sent).into(),
            refresh_absolute_until: unread.refresh_absolute_until,
            answered_at: unread.answered_at,
            http_status: unread.http_status,
            body: PlainSecret::new(STANDARD.encode(unread.body.expose_secret())),
        }
    }

    pub(super) fn into_answer(self, id: DocumentId) -> Result<UnreadAnswer, UnsealableAnswer> {
        let body = STANDARD.decode(self.body.as_str()).map_err(|_| UnsealableAnswer::Damaged)?;
        Ok(UnreadAnswer {
            id,
            owner: self.owner,
            generation: self.generation,
            sent: self.sent.into(),
            refresh_absolute_until: self.refresh_absolute_until,
            answered_at: self.answered_at,
            http_status: self.http_status,
            body: body.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{AnswerSealer, OpenedAnswer, SealingKeys};
    use super::*;
    use evergrant_domain::fingerprint::fingerprint;
    use evergrant_domain::ladder::Ladder;
    use evergrant_domain::schedule::RefreshSchedule;

    fn sealer() -> AnswerSealer {
        AnswerSealer::new(SealingKeys::new(&STANDARD.encode([1; 32]).into(), &[]).unwrap())
    }

    fn policy() -> RefreshPolicy {
        RefreshPolicy {
            schedule: RefreshSchedule { refresh_idle_lifetime: None, ..RefreshSchedule::example() },
            ladder: Ladder::new(vec![Duration::from_secs(1)]).unwrap(),
            max_attempts: 3,
            max_pause: Duration::from_secs(3600),
            sealed_tokens: evergrant_domain::SealedTokens::default(),
        }
    }

    #[test]
    fn an_unread_answer_is_written_once_it_is_readable() {
        let grant = Grant::example(Timestamp::default());
        let unread = |body: &str| {
            let body = body.as_bytes().to_vec().into();
            let unread = UnreadAnswer::to_grant(&grant, "w/p/1", 201, body, Timestamp::default());
            let answer = sealer().seal_unread(&"p".parse().unwrap(), &unread, unread.answered_at);
            let answer = answer.unwrap();
            assert_eq!(answer.spent, Some(fingerprint(&grant.refresh_token)));
            let shown = String::from_utf8(answer.encode()).unwrap();
            assert!(!shown.contains("new-refresh") && !shown.contains("the-token"));
            let OpenedAnswer::Unread(opened) = sealer().open(&answer).unwrap() else { panic!() };
            opened.read(&Dialect::default(), &policy())
        };
        assert!(unread(r#"{"body":{"access_token":"a","refresh_token":"new-refresh"}}"#).is_none());
        assert!(unread("new-refresh").is_none());
        let commit = unread(r#"{"access_token":"a","refresh_token":"new-refresh"}"#).unwrap();
        assert_eq!((commit.generation, commit.owner.as_str()), (Some(4), "w/p/1"));
        assert_eq!(commit.sent.as_ref().unwrap().expose_secret(), "the-token");
        assert!(commit.rotates());
    }
}
