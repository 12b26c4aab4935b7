//! What a provider says: in its dialect if it has one, else as RFC 6749 does.

use super::{Answer, Provider, RawRequest, at_once};
use crate::dialect::{AskingClient, DialectRefusal, NewTokens, ProviderDialect};
use crate::faults::Fault;
use crate::oauth::{self, ExpiresIn, Refusal, Reply, Success, TokenRequest};
use crate::settings::SimulatorSettings;
use crate::stats::AnswerKind;
use crate::token::TokenId;

impl Provider {
    /// Reads a request in a dialect. `Err` is the answer to one that cannot be taken.
    pub(super) fn read_in<'a>(
        &'a self,
        dialect: &ProviderDialect,
        raw: RawRequest<'a>,
        now_us: u64,
    ) -> Result<TokenRequest<'a>, Box<Answer>> {
        let key = self.client_key.as_ref();
        let asking = AskingClient { client: &self.client, key, now_us };
        dialect.read(asking, raw, &self.scope).map_err(|refusal| {
            let (why, reply) = match refusal {
                DialectRefusal::NotThere(why) => (why, oauth::not_found()),
                DialectRefusal::Wrong(why) => (why, dialect.refused(now_us)),
            };
            tracing::info!(%why, "the request was refused");
            self.refusals.note(why);
            Box::new(at_once(AnswerKind::InvalidClient, reply))
        })
    }

    pub(super) fn throttled_reply(
        &self,
        settings: &SimulatorSettings,
        wait_us: u64,
        now_us: u64,
    ) -> Reply {
        match &self.dialect {
            Some(dialect) => dialect.throttled(Some(wait_us.div_ceil(1_000_000).max(1)), now_us),
            None => oauth::throttled(settings.retry_after, settings.quota_body, wait_us, now_us),
        }
    }

    pub(super) fn dead_reply(&self, settings: &SimulatorSettings, now_us: u64) -> Reply {
        match &self.dialect {
            Some(dialect) => dialect.dead(now_us),
            None => oauth::dead(settings.dead_reply),
        }
    }

    /// The reply of a fault that leaves the token alone. A reset has none that anyone would see.
    pub(super) fn untouched(
        &self,
        fault: Fault,
        settings: &SimulatorSettings,
        now_us: u64,
    ) -> (AnswerKind, Reply) {
        let wait_s = settings.fault_retry_after_s;
        let wait =
            wait_s.and_then(|wait_s| oauth::retry_after(settings.retry_after, wait_s, now_us));
        let dialect = self.dialect.as_ref();
        match (fault, dialect) {
            (Fault::Throttle429, Some(dialect)) => {
                (AnswerKind::Throttled, dialect.throttled(None, now_us))
            }
            (Fault::Throttle429, None) => {
                (AnswerKind::Throttled, oauth::quota(settings.quota_body, wait))
            }
            (Fault::Http503, _) => (AnswerKind::ServerError, oauth::server_error(503, wait)),
            (Fault::HtmlError, _) => (AnswerKind::ServerError, oauth::html_error()),
            (Fault::InvalidClient, Some(dialect)) => {
                (AnswerKind::InvalidClient, dialect.refused(now_us))
            }
            (Fault::InvalidClient, None) => {
                let refusal = Refusal::InvalidClient("the client is not known");
                (AnswerKind::InvalidClient, oauth::refused(refusal))
            }
            _ => (AnswerKind::ServerError, oauth::server_error(500, None)),
        }
    }

    pub(super) fn tokens(
        &self,
        id: Option<TokenId>,
        successor: Option<u32>,
        fault: Option<Fault>,
        request: &TokenRequest<'_>,
        settings: &SimulatorSettings,
    ) -> (AnswerKind, Reply) {
        let id = id.unwrap_or(TokenId { grant: u32::MAX, number: 0 });
        let successor = successor.map(|number| TokenId { number, ..id });
        let refresh_token = successor.map(|id| self.codec.refresh_token(id));
        let now_us = self.clock.now_us();
        let access_token = self.codec.access_token(successor.unwrap_or(id), now_us as u32);
        if let Some(dialect) = &self.dialect {
            let tokens = NewTokens {
                access_token: &access_token,
                refresh_token: refresh_token.as_deref().unwrap_or(&request.refresh_token),
                is_rotated: refresh_token.is_some(),
            };
            return (AnswerKind::Refreshed, dialect.success(&tokens, now_us));
        }
        let success = Success {
            access_token,
            refresh_token,
            expires_in: match fault {
                Some(Fault::ExpiresInString) => ExpiresIn::String,
                Some(Fault::ExpiresInMissing) => ExpiresIn::Missing,
                _ => ExpiresIn::Number,
            },
            access_token_s: settings.access_token_s,
            scope: &request.scope,
        };
        (AnswerKind::Refreshed, oauth::success(&success))
    }
}
