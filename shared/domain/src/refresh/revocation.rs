//! What the answer to a token revocation means (RFC 7009).

use super::classify::{Dialect, ExchangeResult, answered_failure, read_body};
use super::error_body::ErrorBody;
use super::outcome::ExchangeFailure;
use crate::secrets::ExchangeSecrets;

/// What a token revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationOutcome {
    /// The token is no longer valid: it is revoked, or was not valid before (RFC 7009 §2.2).
    Revoked,
    /// The provider refused, or has certainly not taken the request: the token is as it was.
    Refused(ExchangeFailure),
    /// No answer came, or a server's error (5xx): the token may be revoked. Revoking it again does no harm.
    InDoubt(ExchangeFailure),
}

/// Says what the end of a revocation means. What it tells of a failure holds none of the `secrets`.
pub fn classify_revocation(
    exchange: ExchangeResult,
    dialect: &Dialect,
    mut secrets: ExchangeSecrets<'_>,
) -> RevocationOutcome {
    let answer = match exchange {
        ExchangeResult::Answered(answer) => answer,
        ExchangeResult::NotSent(what) | ExchangeResult::NotTried(what) => {
            return RevocationOutcome::Refused(ExchangeFailure::described(secrets.redact(&what)));
        }
        ExchangeResult::NoAnswer(what) => {
            return RevocationOutcome::InDoubt(ExchangeFailure::described(secrets.redact(&what)));
        }
    };
    let body = read_body(&answer.body);
    let succeeds = match (&dialect.answer.success, &body) {
        (Some(success), Some(body)) => success.holds(body),
        // The RFC has the status say it all.
        _ => true,
    };
    if succeeds && matches!(answer.status, 200..=299) {
        return RevocationOutcome::Revoked;
    }
    let error = body.as_ref().map(|body| ErrorBody::from_body(body, &dialect.answer));
    let error = error.unwrap_or_default();
    let failure = answered_failure(&answer, body.as_ref(), &error, &mut secrets);
    match answer.status {
        // The provider may have failed after it had revoked the token.
        500..=599 => RevocationOutcome::InDoubt(failure),
        _ => RevocationOutcome::Refused(failure),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::HttpAnswer;

    fn answer(status: u16, body: &str) -> RevocationOutcome {
        let body = body.as_bytes().to_vec();
        let exchange = ExchangeResult::Answered(HttpAnswer { status, retry_after_ms: None, body });
        let token = SecretString::from("R1-secret");
        let secrets = ExchangeSecrets::sent(&token, "c", None);
        classify_revocation(exchange, &Dialect::default(), secrets)
    }

    #[test]
    fn a_success_revokes_and_a_refusal_does_not() {
        for body in ["", "{}", "ok", r#"{"status":"revoked"}"#] {
            assert_eq!(answer(200, body), RevocationOutcome::Revoked, "{body}");
        }
        for status in [302, 400, 401, 429] {
            assert!(matches!(answer(status, ""), RevocationOutcome::Refused(_)), "{status}");
        }
    }

    #[test]
    fn an_error_of_the_server_leaves_it_in_doubt() {
        for status in [500, 502, 503, 599] {
            assert!(matches!(answer(status, ""), RevocationOutcome::InDoubt(_)), "{status}");
        }
    }

    #[test]
    fn what_a_provider_says_is_told_without_the_token() {
        let body = r#"{"error":"invalid_client","error_description":"no R1-secret here"}"#;
        let RevocationOutcome::Refused(failure) = answer(401, body) else { panic!("revoked") };
        assert_eq!(failure.code.as_deref(), Some("invalid_client"));
        assert!(!format!("{failure:?}").contains("R1-secret"));
    }

    #[test]
    fn a_lost_answer_leaves_it_in_doubt() {
        let ended = |exchange| {
            classify_revocation(exchange, &Dialect::default(), ExchangeSecrets::default())
        };
        assert!(matches!(
            ended(ExchangeResult::NoAnswer("x".into())),
            RevocationOutcome::InDoubt(_)
        ));
        assert!(matches!(
            ended(ExchangeResult::NotSent("x".into())),
            RevocationOutcome::Refused(_)
        ));
    }
}
