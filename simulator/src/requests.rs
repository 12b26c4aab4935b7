//! Every request to the token endpoint since the first script, one by one.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde::Serialize;

use crate::ledger::TokenState;
use crate::provider::{Answer, Delivery};
use crate::stats::AnswerKind;
use crate::sync::lock;

/// One request to the token endpoint. It shows no token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// When it came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whose token was presented. None if it is a token of nobody.
    pub user_id: Option<String>,
    /// What the token was worth when it was presented.
    pub token: TokenState,
    /// The number, from 0, of the script's rule that answered.
    pub rule: Option<usize>,
    /// The status of the answer. None if the answer does not arrive whole.
    pub status: Option<u16>,
    /// Whether the answer brings new tokens.
    pub refreshed: bool,
}

/// How many refusals are kept.
const REFUSALS_MAX: usize = 100;

/// Why requests were refused, the latest last.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<VecDeque<String>>);

impl RefusalLog {
    pub(crate) fn note(&self, why: String) {
        let mut refusals = lock(&self.0);
        if refusals.len() == REFUSALS_MAX {
            refusals.pop_front();
        }
        refusals.push_back(why);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }
}

/// The requests. Only those that come while a script is played are kept.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Vec<RequestRecord>>);

impl RequestRecord {
    pub(crate) fn new(
        now_us: u64,
        user_id: Option<String>,
        token: TokenState,
        rule: Option<usize>,
        answer: &Answer,
    ) -> Self {
        let status = match &answer.delivery {
            Delivery::Reply(reply) => Some(reply.status),
            Delivery::Truncated(_) | Delivery::Reset | Delivery::Silence { .. } => None,
        };
        let refreshed = answer.kind == AnswerKind::Refreshed;
        Self { at_ms: now_us / 1_000, user_id, token, rule, status, refreshed }
    }
}

impl RequestLog {
    pub(crate) fn note(&self, request: RequestRecord) {
        lock(&self.0).push(request);
    }

    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        lock(&self.0).clone()
    }
}
