//! Who is asking: by Basic or by the form, never by both.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use super::refusal::Refusal;
use crate::settings::ClientAuth;

/// The one client that the provider knows.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Shows no secret.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Client {
    /// Checks the credentials of a request: its `Authorization` header and the form's own.
    pub(crate) fn authenticate(
        &self,
        allowed: ClientAuth,
        authorization: Option<&str>,
        form_id: Option<&str>,
        form_secret: Option<&str>,
    ) -> Result<(), Refusal> {
        match (authorization, form_secret) {
            (Some(_), Some(_)) => Err(Refusal::InvalidRequest(
                "client credentials both in the header and in the body: use one",
            )),
            (None, None) => Err(Refusal::InvalidClient("no client credentials")),
            (Some(_), None) if allowed == ClientAuth::Body => {
                Err(Refusal::InvalidClient("client credentials belong in the body"))
            }
            (None, Some(_)) if allowed == ClientAuth::Basic => {
                Err(Refusal::InvalidClient("client credentials belong in the header"))
            }
            (Some(header), None) => {
                let (id, secret) = basic(header)
                    .ok_or(Refusal::InvalidClient("the Authorization header is not Basic"))?;
                self.compare(&id, &secret)
            }
            (None, Some(secret)) => self.compare(form_id.unwrap_or(""), secret),
        }
    }

    fn compare(&self, id: &str, secret: &str) -> Result<(), Refusal> {
        if self.id == id && self.secret == secret {
            Ok(())
        } else {
            Err(Refusal::InvalidClient("the client id and secret do not match"))
        }
    }
}

/// Id and secret of a Basic header, each form-urlencoded inside.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

pub(crate) fn form_decoded(text: &str) -> Option<String> {
    // A single name without a value. A separator in it would not have been encoded.
    if text.contains(['&', '=']) {
        return Some(text.to_owned());
    }
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    Some(pairs.next().map_or(Cow::Borrowed(""), |(name, _)| name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client { id: "app one".into(), secret: "s:e+c&r=t".into() }
    }

    fn header(id: &str, secret: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
    }

    #[test]
    fn basic_credentials_are_form_urlencoded_inside() {
        let header = header("app+one", "s%3Ae%2Bc%26r%3Dt");
        assert_eq!(client().authenticate(ClientAuth::Any, Some(&header), None, None), Ok(()));
    }

    #[test]
    fn credentials_in_the_form_are_taken_as_they_are() {
        let auth = |id, secret| client().authenticate(ClientAuth::Any, None, id, secret);
        assert_eq!(auth(Some("app one"), Some("s:e+c&r=t")), Ok(()));
        assert!(matches!(auth(None, Some("s:e+c&r=t")), Err(Refusal::InvalidClient(_))));
        assert!(matches!(auth(Some("app one"), None), Err(Refusal::InvalidClient(_))));
    }

    #[test]
    fn both_at_once_is_a_bad_request_even_if_each_is_right() {
        let header = header("app+one", "s%3Ae%2Bc%26r%3Dt");
        let both = client().authenticate(ClientAuth::Any, Some(&header), None, Some("s:e+c&r=t"));
        assert!(matches!(both, Err(Refusal::InvalidRequest(_))));
    }

    #[test]
    fn a_client_is_refused_when_its_way_is_not_allowed_or_its_secret_is_wrong() {
        let right = header("app+one", "s%3Ae%2Bc%26r%3Dt");
        for (allowed, header) in [
            (ClientAuth::Body, right.as_str()),
            (ClientAuth::Any, &header("app+one", "wrong")),
            (ClientAuth::Any, "Basic !!!"),
            (ClientAuth::Any, "Bearer abc"),
            (ClientAuth::Any, ""),
        ] {
            let refused = client().authenticate(allowed, Some(header), None, None);
            assert!(matches!(refused, Err(Refusal::InvalidClient(_))), "{header}");
        }
        let body = client().authenticate(ClientAuth::Basic, None, Some("app one"), Some("x"));
        assert!(matches!(body, Err(Refusal::InvalidClient(_))));
    }
}
