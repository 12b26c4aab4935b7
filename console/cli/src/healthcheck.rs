//! `evergrant healthcheck`: for containers, whose images have no curl.

use std::time::Duration;

use evergrant_provider::install_tls;

use crate::exit::Exit;
use crate::output::Output;

/// Asks a URL and says whether it answers with success.
pub(crate) async fn check(url: &str, output: &Output) -> Exit {
    install_tls();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build();
    let answer = match client {
        Ok(client) => client.get(url).send().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) if answer.status().is_success() => Exit::Done,
        Ok(answer) => {
            output.message(&format!("{url} answers {}", answer.status()));
            Exit::Error
        }
        Err(error) => {
            output.message(&format!("{url} does not answer: {}", error.without_url()));
            Exit::Error
        }
    }
}
