//! One harmless question to the real token endpoint: what it says to a made-up refresh token.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use evergrant_budget::{Budget, BudgetSettings, SharedBudget};
use evergrant_domain::DocumentFields;
use evergrant_provider::{Provider, ProviderClient};
use evergrant_runtime::config::Config;
use evergrant_runtime::connect;
use evergrant_telemetry::ProcessMetrics;

use crate::args::TestArgs;
use crate::doctor::client::exchange_made_up;
use crate::doctor::row::{DoctorRow, Level};
use crate::exit::Exit;
use crate::output::Output;

/// How long a slot within the provider's limits is waited for.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks, and says what the answer tells of the client.
pub(super) async fn ask(config: &Config, test: &TestArgs, output: &Output) -> anyhow::Result<Exit> {
    let name = &test.name;
    let is = |provider: &Provider| provider.id.to_string() == *name;
    let Some(provider) = config.providers()?.into_iter().find(is) else {
        bail!(
            "there is no section providers.{name}; --live needs the client of a configured provider"
        );
    };
    let fields: DocumentFields = test.fields.iter().cloned().collect();
    provider
        .check_document(&fields)
        .map_err(anyhow::Error::msg)
        .context("give what a document would by --field PATH=VALUE")?;
    let client = ProviderClient::new(Arc::new(provider.clone()))?;
    let store = connect::store(config).await?;
    let budget = SharedBudget::start(
        store,
        BudgetSettings {
            provider: provider.id.clone(),
            limits: provider.limits.clone(),
            client: provider.fingerprint(),
            metrics: ProcessMetrics::default(),
        },
    );
    let Ok(permit) = tokio::time::timeout(PERMIT_TIMEOUT, budget.acquire()).await else {
        bail!(
            "nothing was sent: {name} had no free slot within a minute. It may be paused, or its \
             circuit open: see `evergrant providers list`"
        );
    };
    let (level, detail) = exchange_made_up(&provider, &client, &fields).await;
    permit.answered();
    let row = DoctorRow::new(level, format!("client of {name}"), detail);
    if output.json {
        output.json(&row);
    } else {
        output.table(&["", "LOOKED AT", "FOUND"], [row.cells()]);
    }
    Ok(if level == Level::Ok { Exit::Done } else { Exit::Partial })
}
