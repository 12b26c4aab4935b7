//! Seals commits, and opens them again.

use std::collections::BTreeMap;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use super::keys::SealingKeys;
use super::plain_field::PlainField;
use super::plain_secret::PlainSecret;
use super::unread::{PlainUnread, UnreadAnswer};
use super::unsealable::UnsealableAnswer;
use evergrant_domain::fingerprint::fingerprint;
use evergrant_domain::schedule::RefreshTimes;
use evergrant_domain::sealed_answer::SEALED_ANSWER_VERSION;
use evergrant_domain::{ClaimNote, DocumentId, DocumentWrite, ProviderId, SealedAnswer, Timestamp};
use evergrant_ports::Commit;

/// Seals and opens answers with the keys of this process.
#[derive(Debug, Clone)]
pub struct AnswerSealer {
    keys: SealingKeys,
}

/// An answer that was opened.
#[derive(Debug, Clone)]
pub enum OpenedAnswer {
    /// The commit to be written.
    Tokens(Commit),
    /// A success whose tokens were not found when it came.
    Unread(UnreadAnswer),
}

/// The sealed content. The two forms have different members.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Tokens(PlainTokens),
    Unread(PlainUnread),
}

/// The commit of new tokens.
#[derive(Serialize, Deserialize)]
struct PlainTokens {
    owner: String,
    generation: Option<u64>,
    sent: Option<PlainSecret>,
    access_token: PlainSecret,
    refresh_token: Option<PlainSecret>,
    refreshed_at: Timestamp,
    times: RefreshTimes,
    /// Missing in answers of earlier releases.
    #[serde(default)]
    also: BTreeMap<String, PlainField>,
}

impl AnswerSealer {
    /// A sealer with these keys.
    pub const fn new(keys: SealingKeys) -> Self {
        Self { keys }
    }

    /// Seals a commit. None if it holds no new tokens: then nothing can be lost.
    pub fn seal(
        &self,
        provider: &ProviderId,
        commit: &Commit,
        now: Timestamp,
    ) -> Option<SealedAnswer> {
        let DocumentWrite::Refresh { access_token, refresh_token, refreshed_at, times, also } =
            &commit.write
        else {
            return None;
        };
        let plain = Plain::Tokens(PlainTokens {
            owner: commit.owner.clone(),
            generation: commit.generation,
            sent: commit.sent.as_ref().map(PlainSecret::from),
            access_token: access_token.into(),
            refresh_token: refresh_token.as_ref().map(PlainSecret::from),
            refreshed_at: *refreshed_at,
            times: *times,
            also: also.iter().map(|(path, value)| (path.clone(), value.into())).collect(),
        });
        self.envelope(provider, &commit.id, spent(commit), &plain, now)
    }

    /// Seals an answer whose tokens were not found. None if that fails.
    pub fn seal_unread(
        &self,
        provider: &ProviderId,
        unread: &UnreadAnswer,
        now: Timestamp,
    ) -> Option<SealedAnswer> {
        let plain = Plain::Unread(PlainUnread::from_unread(unread));
        self.envelope(provider, &unread.id, Some(fingerprint(&unread.sent)), &plain, now)
    }

    fn envelope(
        &self,
        provider: &ProviderId,
        id: &DocumentId,
        spent: Option<String>,
        plain: &Plain,
        now: Timestamp,
    ) -> Option<SealedAnswer> {
        let mut answer = SealedAnswer {
            version: SEALED_ANSWER_VERSION,
            provider: provider.clone(),
            id: id.clone(),
            key: String::new(),
            sealed_at: now,
            spent,
            passes: 0,
            sealed: String::new(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(plain).ok()?);
        (answer.key, answer.sealed) = self.keys.seal(&context(&answer), &plain)?;
        Some(answer)
    }

    /// Opens a sealed answer.
    ///
    /// # Errors
    /// [`UnsealableAnswer`] says what is missing.
    pub fn open(&self, answer: &SealedAnswer) -> Result<OpenedAnswer, UnsealableAnswer> {
        let opened = self.keys.open(&answer.key, &context(answer), &answer.sealed);
        let unknown = || UnsealableAnswer::UnknownKey { key: answer.key.clone() };
        let plain = opened.ok_or_else(unknown)?.map_err(|_| UnsealableAnswer::Damaged)?;
        let id = answer.id.clone();
        match serde_json::from_slice(&plain).map_err(|_| UnsealableAnswer::Damaged)? {
            Plain::Tokens(plain) => Ok(OpenedAnswer::Tokens(plain.into_commit(id))),
            Plain::Unread(plain) => plain.into_answer(id).map(OpenedAnswer::Unread),
        }
    }
}

impl PlainTokens {
    fn into_commit(self, id: DocumentId) -> Commit {
        Commit {
            id,
            owner: self.owner,
            generation: self.generation,
            sent: self.sent.map(SecretString::from),
            note: ClaimNote::default(),
            write: DocumentWrite::Refresh {
                access_token: self.access_token.into(),
                refresh_token: self.refresh_token.map(SecretString::from),
                refreshed_at: self.refreshed_at,
                times: self.times,
                also: self.also.into_iter().map(|(path, value)| (path, value.into())).collect(),
            },
        }
    }
}

/// The fingerprint of the token that was sent, if the answer has replaced it.
fn spent(commit: &Commit) -> Option<String> {
    let sent = commit.sent.as_ref().filter(|_| commit.rotates());
    sent.map(fingerprint)
}

/// The associated data of a sealed answer: a person who can write messages must not be able to move
/// tokens to another document.
fn context(answer: &SealedAnswer) -> Vec<u8> {
    let id = serde_json::Value::from(answer.id.clone());
    format!("{}\n{}\n{id}", answer.version, answer.provider).into_bytes()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use secrecy::ExposeSecret;

    use super::*;
    use evergrant_domain::also_write::{EndingToken, TimeForm, TokenEnd};
    use evergrant_domain::{FieldValue, FieldValues};

    fn key(byte: u8) -> SecretString {
        STANDARD.encode([byte; 32]).into()
    }

    fn sealer(present: u8, earlier: &[u8]) -> AnswerSealer {
        let earlier: Vec<_> = earlier.iter().copied().map(key).collect();
        AnswerSealer::new(SealingKeys::new(&key(present), &earlier).unwrap())
    }

    fn commit() -> Commit {
        let at = Timestamp::from_unix_ms(1_700_000_000_000);
        Commit {
            id: DocumentId::String("alice".into()),
            owner: "w/p/1".into(),
            generation: Some(3),
            sent: Some("sent-token".into()),
            note: ClaimNote::default(),
            write: DocumentWrite::Refresh {
                access_token: "new-access".into(),
                refresh_token: Some("new-refresh".into()),
                refreshed_at: at,
                times: RefreshTimes {
                    access_expires_at: at,
                    access_is_assumed: false,
                    refresh_idle_until: Some(at),
                    refresh_absolute_until: None,
                    next_refresh_at: at,
                },
                also: also(),
            },
        }
    }

    fn also() -> FieldValues {
        let form = TimeForm::Milliseconds;
        let end = TokenEnd { end_of: EndingToken::AccessToken, form };
        FieldValues::from([
            ("id_token".to_owned(), FieldValue::Answered("\"new-id-token\"".into())),
            ("expires".to_owned(), FieldValue::End(end)),
        ])
    }

    fn sealed(by: &AnswerSealer) -> SealedAnswer {
        by.seal(&"p".parse().unwrap(), &commit(), Timestamp::default()).unwrap()
    }

    #[test]
    fn a_sealed_answer_opens_and_shows_no_token() {
        let sealer = sealer(1, &[]);
        let answer = sealed(&sealer);
        let shown = String::from_utf8(answer.encode()).unwrap();
        for token in ["sent-token", "new-access", "new-refresh", "new-id-token"] {
            assert!(!shown.contains(token));
        }
        assert_eq!(answer.spent, Some(fingerprint(&"sent-token".into())));
        let OpenedAnswer::Tokens(opened) = sealer.open(&answer).unwrap() else { panic!() };
        assert_eq!((&opened.id, &opened.owner), (&commit().id, &commit().owner));
        assert_eq!(opened.sent.unwrap().expose_secret(), "sent-token");
        let DocumentWrite::Refresh { refresh_token, access_token, also: opened, .. } = opened.write
        else {
            panic!()
        };
        assert_eq!(refresh_token.unwrap().expose_secret(), "new-refresh");
        assert_eq!(access_token.expose_secret(), "new-access");
        assert_eq!(opened, also());
    }

    #[test]
    fn a_token_that_stays_is_not_marked_as_spent() {
        for same in [None, Some("sent-token".into())] {
            let mut commit = commit();
            let DocumentWrite::Refresh { refresh_token, .. } = &mut commit.write else { panic!() };
            *refresh_token = same;
            let sealed = sealer(1, &[]).seal(&"p".parse().unwrap(), &commit, Timestamp::default());
            assert_eq!(sealed.unwrap().spent, None);
        }
    }

    #[test]
    fn an_earlier_key_opens_and_a_missing_one_is_named() {
        let answer = sealed(&sealer(1, &[]));
        assert!(sealer(2, &[1]).open(&answer).is_ok());
        let unknown = UnsealableAnswer::UnknownKey { key: answer.key.clone() };
        assert_eq!(sealer(2, &[]).open(&answer).unwrap_err(), unknown);
    }

    #[test]
    fn tokens_cannot_be_moved_to_another_document() {
        let sealer = sealer(1, &[]);
        let moved = SealedAnswer { id: DocumentId::Integer(2), ..sealed(&sealer) };
        assert_eq!(sealer.open(&moved).unwrap_err(), UnsealableAnswer::Damaged);
        let cut = SealedAnswer { sealed: "AAAA".into(), ..sealed(&sealer) };
        assert_eq!(sealer.open(&cut).unwrap_err(), UnsealableAnswer::Damaged);
    }

    #[test]
    fn a_commit_without_new_tokens_is_not_sealed() {
        let write = DocumentWrite::Postpone {
            attempts: 0,
            in_doubt: false,
            questioned: false,
            failing_since: None,
            last_error: None,
            next_refresh_at: None,
            queued_until: Timestamp::default(),
        };
        let commit = Commit { write, ..commit() };
        let none = sealer(1, &[]).seal(&"p".parse().unwrap(), &commit, Timestamp::default());
        assert_eq!(none, None);
    }
}
