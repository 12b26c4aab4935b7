//! A request to the token endpoint, read and checked.

use std::borrow::Cow;

use url::form_urlencoded;

use super::client_auth::Client;
use super::refusal::Refusal;
use crate::settings::ClientAuth;

/// A sound refresh request of a known client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) refresh_token: Cow<'a, str>,
    /// The scope that is granted: the one asked for, or all of it.
    pub(crate) scope: Cow<'a, str>,
}

/// The form's fields that matter, each at most once.
#[derive(Default)]
struct Form<'a> {
    grant_type: Option<Cow<'a, str>>,
    refresh_token: Option<Cow<'a, str>>,
    scope: Option<Cow<'a, str>>,
    client_id: Option<Cow<'a, str>>,
    client_secret: Option<Cow<'a, str>>,
}

/// The form by which a client asks for new tokens, with its credentials in it.
pub(crate) fn refresh_form(client: &Client, refresh_token: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", refresh_token)
        .append_pair("client_id", &client.id)
        .append_pair("client_secret", &client.secret)
        .finish()
}

/// Reads a request. The client is checked before what it asks for.
pub(crate) fn parse<'a>(
    client: &Client,
    allowed: ClientAuth,
    granted_scope: &'a str,
    authorization: Option<&str>,
    content_type: Option<&str>,
    body: &'a [u8],
) -> Result<TokenRequest<'a>, Refusal> {
    let media_type = content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Refusal::InvalidRequest("the body must be application/x-www-form-urlencoded"));
    }
    let form = Form::read(body)?;
    let (id, secret) = (form.client_id.as_deref(), form.client_secret.as_deref());
    client.authenticate(allowed, authorization, id, secret)?;
    match form.grant_type.as_deref() {
        Some("refresh_token") => {}
        None => return Err(Refusal::InvalidRequest("grant_type is missing")),
        Some(_) => return Err(Refusal::UnsupportedGrantType),
    }
    let refresh_token = form.refresh_token.filter(|token| !token.is_empty());
    let refresh_token = refresh_token.ok_or(Refusal::InvalidRequest("refresh_token is missing"))?;
    Ok(TokenRequest { refresh_token, scope: narrowed(granted_scope, form.scope)? })
}

impl<'a> Form<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "grant_type" => &mut form.grant_type,
                "refresh_token" => &mut form.refresh_token,
                "scope" => &mut form.scope,
                "client_id" => &mut form.client_id,
                "client_secret" => &mut form.client_secret,
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err(Refusal::InvalidRequest("a parameter occurs more than once"));
            }
        }
        Ok(form)
    }
}

/// The scope asked for if it is part of what was granted.
fn narrowed<'a>(granted: &'a str, asked: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, Refusal> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(granted.into());
    };
    let is_granted = |word: &str| granted.split_whitespace().any(|one| one == word);
    if asked.split_whitespace().all(is_granted) { Ok(asked) } else { Err(Refusal::InvalidScope) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn read(body: &str) -> Result<TokenRequest<'_>, Refusal> {
        let client = Client { id: "app".into(), secret: "s".into() };
        parse(&client, ClientAuth::Any, "read write", None, Some(FORM), body.as_bytes())
    }

    #[test]
    fn a_refresh_request_reads() {
        let body = "grant_type=refresh_token&refresh_token=a%2Bb&client_id=app&client_secret=s&x=1";
        let request = read(body).unwrap();
        assert_eq!((&*request.refresh_token, &*request.scope), ("a+b", "read write"));
    }

    #[test]
    fn the_scope_can_be_narrowed_and_not_widened() {
        let body = "grant_type=refresh_token&refresh_token=t&client_id=app&client_secret=s&scope=";
        assert_eq!(read(&format!("{body}write")).unwrap().scope, "write");
        assert_eq!(read(&format!("{body}write+all")), Err(Refusal::InvalidScope));
    }

    #[test]
    fn what_is_missing_doubled_or_of_another_kind_is_refused() {
        let invalid = |body| matches!(read(body), Err(Refusal::InvalidRequest(_)));
        assert!(invalid("client_id=app&client_secret=s&refresh_token=t"));
        assert!(invalid("client_id=app&client_secret=s&grant_type=refresh_token"));
        assert!(invalid("client_id=app&client_secret=s&grant_type=refresh_token&refresh_token="));
        assert!(invalid("client_id=app&client_id=app&client_secret=s"));
        let other = "client_id=app&client_secret=s&grant_type=authorization_code";
        assert_eq!(read(other), Err(Refusal::UnsupportedGrantType));
        assert!(matches!(read(""), Err(Refusal::InvalidClient(_))));
    }

    #[test]
    fn the_body_must_be_a_form() {
        let client = Client { id: "app".into(), secret: "s".into() };
        for content_type in [None, Some("application/json")] {
            let read = parse(&client, ClientAuth::Any, "", None, content_type, b"{}");
            assert!(matches!(read, Err(Refusal::InvalidRequest(_))));
        }
        let charset = Some("Application/X-WWW-Form-Urlencoded; charset=utf-8");
        let read = parse(&client, ClientAuth::Any, "", None, charset, b"");
        assert!(matches!(read, Err(Refusal::InvalidClient(_))));
    }
}
