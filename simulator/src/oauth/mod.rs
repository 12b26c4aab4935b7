//! The token endpoint's language: RFC 6749, sections 2.3.1, 5 and 6. Pure.

mod client_auth;
mod refusal;
mod reply;
mod request;

pub(crate) use client_auth::{Client, form_decoded};
pub(crate) use refusal::Refusal;
pub(crate) use reply::{
    ExpiresIn, Reply, Success, dead, echo, html_error, not_found, quota, server_error, success,
};
pub(crate) use reply::{refused, retry_after, throttled};
pub(crate) use request::{TokenRequest, parse, refresh_form};
