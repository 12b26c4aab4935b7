//! Exchanges: a POST for each token, with reqwest.

use anyhow::{Context, ensure};
use mongodb::bson::Document;

use super::{per_s, timed};
use crate::provider::CLIENT;

/// Exchanges the tokens of `documents`, `at_once` at a time; returns exchanges a second.
pub(crate) async fn measure(
    token_url: &str,
    documents: &[Document],
    at_once: usize,
) -> anyhow::Result<f64> {
    let token = |document: &Document| document.get_str("refresh_token").map(str::to_owned);
    let tokens: Vec<String> = documents.iter().map(token).collect::<Result<_, _>>()?;
    let (http, url) = (evergrant_testkit::http_client(), token_url.to_owned());
    let exchange = move |token| {
        let (http, url) = (http.clone(), url.clone());
        async move { exchange(&http, &url, token).await.map(drop) }
    };
    Ok(per_s(documents.len(), timed(tokens, at_once, exchange).await?))
}

/// Exchanges one token and returns the provider's answer.
pub(crate) async fn exchange(
    http: &reqwest::Client,
    url: &str,
    token: String,
) -> anyhow::Result<serde_json::Value> {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let (id, secret) = CLIENT;
    let sent = http.post(url).basic_auth(id, Some(secret)).form(&form).send().await;
    let answer = sent.context("exchange")?;
    ensure!(answer.status().is_success(), "the provider answered {}", answer.status());
    answer.json().await.context("read an answer")
}
