//! `evergrant doctor`: what can be reached, and whether it is as it should be.

use std::collections::BTreeMap;
use std::time::Duration;

use evergrant_shared::config::{Config, ConfigError};
use evergrant_shared::domain::ProviderId;
use evergrant_shared::operators::OperatorStore;
use evergrant_shared::ports::{DOCUMENTS_OF, Finding, JobQueue};
use evergrant_shared::provider::Provider;
use futures::future::join_all;
use tokio::net::TcpStream;

use crate::exit::Exit;
use crate::output::Output;

/// Looks at everything, and says what is not as it should be and what to do.
pub(crate) async fn examine(
    config: &Config,
    store: &dyn OperatorStore,
    queue: &dyn JobQueue,
    output: &Output,
) -> Result<Exit, ConfigError> {
    let mut findings = vec![Finding {
        what: "configuration".to_owned(),
        ok: true,
        detail: format!("valid; {} providers", config.providers.len()),
    }];
    let (stored, queued) = tokio::join!(store.inspect(), queue.inspect());
    findings.extend(stored.unwrap_or_else(|error| vec![failed("token store", &error)]));
    for finding in &mut findings {
        look_for_section(config, queue, finding).await;
    }
    findings.extend(queued.unwrap_or_else(|error| vec![failed("job queue", &error)]));
    findings.extend(join_all(config.providers()?.iter().map(reach)).await);
    findings.extend(problems(store).await);

    if output.json {
        output.json_list(&findings);
    } else {
        let rows = findings.iter().map(|finding| {
            let verdict = if finding.ok { "ok" } else { "WRONG" };
            vec![verdict.to_owned(), finding.what.clone(), finding.detail.clone()]
        });
        output.table(&["", "WHAT", "FOUND"], rows);
    }
    let all_ok = findings.iter().all(|finding| finding.ok);
    Ok(if all_ok { Exit::Done } else { Exit::Error })
}

/// Documents of a provider that is not in the settings, any more or yet, are refreshed by nobody.
async fn look_for_section(config: &Config, queue: &dyn JobQueue, finding: &mut Finding) {
    let Some(name) = finding.what.strip_prefix(DOCUMENTS_OF) else { return };
    let Ok(provider) = name.parse::<ProviderId>() else { return };
    if config.providers.contains_key(&provider) {
        return;
    }
    let waiting = match queue.depth(&provider).await {
        Ok(jobs) => format!("{jobs} jobs wait in its queues, which are left as they are"),
        Err(_) => "it has no queues, or they cannot be reached".to_owned(),
    };
    finding.ok = false;
    finding.detail = format!(
        "{}, and the settings have no section providers.{name}, so nobody refreshes them; {waiting}. \
         Add the section, or remove the documents and delete the queues",
        finding.detail
    );
}

/// What the processes that live say does not work. Each is told once, however many of them say it.
async fn problems(store: &dyn OperatorStore) -> Vec<Finding> {
    let processes = store.processes().await.unwrap_or_default();
    let now = store.now().await.unwrap_or_default();
    let living = processes.into_iter().filter(|process| !process.is_gone(now));
    let told: BTreeMap<String, String> = living
        .flat_map(|process| process.problems)
        .map(|problem| (problem.what, problem.detail))
        .collect();
    let finding = |(what, detail)| Finding { what, ok: false, detail };
    told.into_iter().map(finding).collect()
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Finding {
    Finding { what: what.to_owned(), ok: false, detail: error.to_string() }
}

/// A connection and no more: a request would count toward the provider's limit.
async fn reach(provider: &Provider) -> Finding {
    let what = format!("token endpoint of {}", provider.id);
    let host = provider.token_url.host_str().unwrap_or_default().to_owned();
    let port = provider.token_url.port_or_known_default().unwrap_or(443);
    let connecting = TcpStream::connect((host.as_str(), port));
    let (ok, detail) = match tokio::time::timeout(Duration::from_secs(5), connecting).await {
        Ok(Ok(_)) => (true, format!("{host}:{port} takes connections")),
        Ok(Err(error)) => {
            (false, format!("{host}:{port}: {error}; check token_url and the network"))
        }
        Err(_) => {
            (false, format!("{host}:{port} does not answer; check token_url and the network"))
        }
    };
    Finding { what, ok, detail }
}
