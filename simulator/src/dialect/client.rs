//! Who is asking, in the provider's own way of asking.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::file::ClientWay;
use crate::oauth::{Client, form_decoded};

/// Checks the `Authorization` header. `Err` is what is wrong with it.
pub(super) fn check_header(
    way: ClientWay,
    client: &Client,
    authorization: Option<&str>,
) -> Result<(), &'static str> {
    if !way.is_header() {
        return match authorization {
            None => Ok(()),
            Some(_) => Err("there is an Authorization header, which this provider does not take"),
        };
    }
    let pair = authorization.and_then(pair_of);
    let pair =
        pair.ok_or("the client's credentials belong in the Authorization header, as Basic")?;
    let (id, secret) = pair.split_once(':').ok_or("the Basic header has no colon")?;
    let is_right = match way {
        ClientWay::BasicSecretOnly => id == client.secret && secret.is_empty(),
        ClientWay::BasicRaw => id == client.id && secret == client.secret,
        _ => {
            let is = |text, wanted: &str| form_decoded(text).is_some_and(|text| text == wanted);
            is(id, &client.id) && is(secret, &client.secret)
        }
    };
    if is_right { Ok(()) } else { Err("the client's id or secret in the Basic header is wrong") }
}

/// Id and secret of a Basic header, as they are.
fn pair_of(header: &str) -> Option<String> {
    let (scheme, credentials) = header.split_once(' ')?;
    let pair = STANDARD.decode(credentials.trim()).ok()?;
    scheme.eq_ignore_ascii_case("basic").then(|| String::from_utf8(pair).ok())?
}
