//! Reads a request as strictly as the provider does.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use url::form_urlencoded;

use super::ProviderDialect;
use super::assertion::{ClientKey, WantedAssertion};
use super::client::check_header;
use super::file::{ClientWay, text_of};
use super::pattern::TextPattern;
use crate::oauth::{Client, TokenRequest};
use crate::provider::RawRequest;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const FORM: &str = "application/x-www-form-urlencoded";

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialectRefusal {
    /// The token endpoint is not there.
    NotThere(String),
    /// It is not as the provider wants it.
    Wrong(String),
}

/// Who asks, by which key, and when.
#[derive(Clone, Copy)]
pub(crate) struct AskingClient<'a> {
    pub(crate) client: &'a Client,
    pub(crate) key: Option<&'a ClientKey>,
    pub(crate) now_us: u64,
}

impl ProviderDialect {
    /// Reads a request.
    pub(crate) fn read<'a>(
        &self,
        asking: AskingClient<'_>,
        raw: RawRequest<'a>,
        scope: &'a str,
    ) -> Result<TokenRequest<'a>, DialectRefusal> {
        if !self.serves(raw.path) {
            return Err(DialectRefusal::NotThere(format!(
                "the token endpoint is not at {}",
                raw.path
            )));
        }
        let token = self.check(asking, raw).map_err(DialectRefusal::Wrong)?;
        Ok(TokenRequest { refresh_token: token.into(), scope: Cow::Borrowed(scope) })
    }

    /// The refresh token of a request that is right.
    fn check(&self, asking: AskingClient<'_>, raw: RawRequest<'_>) -> Result<String, String> {
        let shape = &self.file.request;
        let method = shape.method.as_deref().unwrap_or("POST");
        if raw.method != method {
            return Err(format!("the method is {} and must be {method}", raw.method));
        }
        let mut tokens = Vec::new();
        let known = |name: &str| asking.value(name);
        for (name, template) in &shape.headers {
            let pattern = TextPattern::new(&text_of(template), known);
            let sent = raw.header(name).filter(|sent| pattern.fits(sent));
            let sent = sent.ok_or_else(|| format!("the header {name} is missing or wrong"))?;
            tokens.extend(pattern.token(sent));
        }
        if let Some(wanted) = &shape.user_agent
            && raw.header("user-agent") != Some(wanted)
        {
            return Err(format!("the User-Agent must be {wanted}"));
        }
        if !shape.headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
            let header = raw.header("authorization");
            check_header(self.file.client_auth, asking.client, header)?;
        }
        let sent = self.parameters(raw)?;
        tokens.extend(self.check_parameters(asking, sent)?);
        tokens.dedup();
        match tokens.as_slice() {
            [token] if !token.is_empty() => Ok(token.clone()),
            _ => Err("there is not one refresh token in the request".to_owned()),
        }
    }

    /// The parameters as they were sent, each once.
    fn parameters(&self, raw: RawRequest<'_>) -> Result<BTreeMap<String, String>, String> {
        let is_get = raw.method == "GET";
        let is_json = self.file.request.body.as_deref() == Some("json");
        let media = raw.header("content-type").unwrap_or("").split(';').next().unwrap_or("").trim();
        let wanted = if is_json { "application/json" } else { FORM };
        if is_get && !raw.body.is_empty() {
            return Err("a GET has no body".to_owned());
        }
        if !is_get && !media.eq_ignore_ascii_case(wanted) {
            return Err(format!("the body must be {wanted}"));
        }
        let pairs: Vec<(String, String)> = if is_json && !is_get {
            let members: BTreeMap<String, Value> = serde_json::from_slice(raw.body)
                .map_err(|_| "the body is no JSON object".to_owned())?;
            members.iter().map(|(name, value)| (name.clone(), text_of(value))).collect()
        } else {
            let form = if is_get { raw.query.as_bytes() } else { raw.body };
            form_urlencoded::parse(form).into_owned().collect()
        };
        let mut once = BTreeMap::new();
        for (name, value) in pairs {
            if once.insert(name.clone(), value).is_some() {
                return Err(format!("the parameter {name} is there twice"));
            }
        }
        Ok(once)
    }

    /// What each parameter must be, by its name in this dialect.
    fn wanted(&self) -> BTreeMap<String, String> {
        let (shape, way) = (&self.file.request, self.file.client_auth);
        let standard = [
            ("grant_type", Some("refresh_token")),
            ("refresh_token", Some("{refresh_token}")),
            ("scope", self.file.scope.as_deref()),
            ("client_id", (!way.is_header()).then_some("{client_id}")),
            ("client_secret", (way == ClientWay::Body).then_some("{client_secret}")),
        ];
        let sent = standard.into_iter().filter(|(name, _)| !shape.omit.iter().any(|o| o == name));
        let mut wanted: BTreeMap<String, String> = sent
            .filter_map(|(name, value)| {
                let name = shape.names.get(name).map_or(name, String::as_str);
                Some((name.to_owned(), value?.to_owned()))
            })
            .collect();
        let own = shape.parameters.iter();
        wanted.extend(own.map(|(name, value)| (name.clone(), text_of(value))));
        wanted
    }

    fn check_parameters(
        &self,
        asking: AskingClient<'_>,
        mut sent: BTreeMap<String, String>,
    ) -> Result<Vec<String>, String> {
        let mut tokens = Vec::new();
        for (name, template) in self.wanted() {
            let pattern = TextPattern::new(&template, |name| asking.value(name));
            let value = sent.remove(&name);
            let value = value.ok_or_else(|| format!("the parameter {name} is missing"))?;
            if !pattern.fits(&value) {
                return Err(format!("the parameter {name} is wrong"));
            }
            tokens.extend(pattern.token(&value));
        }
        if self.file.client_auth == ClientWay::PrivateKeyJwt {
            self.check_assertion(asking, &mut sent)?;
        }
        if self.file.scope.is_none() {
            // Less than was granted may be asked for anywhere.
            sent.remove(self.file.request.names.get("scope").map_or("scope", String::as_str));
        }
        match sent.keys().next() {
            None => Ok(tokens),
            Some(name) => Err(format!("the parameter {name} is not known here")),
        }
    }

    fn check_assertion(
        &self,
        asking: AskingClient<'_>,
        sent: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        if sent.remove("client_assertion_type").as_deref() != Some(ASSERTION_TYPE) {
            return Err("the parameter client_assertion_type is missing or wrong".to_owned());
        }
        let shape = &self.file.request;
        let id = asking.client.id.as_str();
        let wanted = WantedAssertion {
            issuer: shape.assertion_issuer.as_deref().unwrap_or(id),
            subject: id,
            audience: shape.assertion_audience.as_deref(),
            key: asking.key,
            now_us: asking.now_us,
        };
        let assertion = sent.remove("client_assertion").unwrap_or_default();
        wanted.check(&assertion).map_err(str::to_owned)
    }
}

impl<'a> AskingClient<'a> {
    /// A value that requests hold and the provider knows.
    fn value(self, name: &str) -> Option<&'a str> {
        match name {
            "client_id" => Some(&self.client.id),
            "client_secret" => Some(&self.client.secret),
            _ => None,
        }
    }
}
