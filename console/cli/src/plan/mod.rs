//! `evergrant plan`: what will become of the grants at the present pace, before it happens.

mod chart;

use std::sync::Arc;
use std::time::Duration;

use evergrant_domain::ProviderId;
use evergrant_domain::forecast::{Forecast, ForecastHorizon, ProviderClosure};
use evergrant_ports::Store;
use evergrant_producer::outlook;
use evergrant_provider::Provider;
use evergrant_runtime::config::Config;
use serde_json::json;

use crate::exit::Exit;
use crate::output::{Output, or_dash};

/// How far ahead it is looked.
const HORIZONS_DAYS: [u32; 2] = [7, 30];

/// Says what will happen. Partly done is said if a grant would be lost.
pub(crate) async fn plan(
    config: &Config,
    store: &dyn Store,
    output: &Output,
) -> anyhow::Result<Exit> {
    let providers: Vec<_> = config.some_providers()?.into_iter().map(Arc::new).collect();
    let default_provider = config.default_provider();
    let forecasts = outlook(store, &providers, default_provider.as_ref(), &HORIZONS_DAYS).await?;
    if output.json {
        let all: Vec<_> = forecasts
            .iter()
            .map(|(provider, forecast)| {
                let known = providers.iter().find(|known| known.id == *provider);
                let assumed = known.map(|known| &known.assumed);
                json!({ "provider": provider, "forecast": forecast, "assumed": assumed })
            })
            .collect();
        output.json_list(&all);
    } else {
        tell(&forecasts, output);
        providers
            .iter()
            .filter_map(|provider| told_assumed(provider))
            .for_each(|words| output.message(&words));
    }
    let lost = |forecast: &Forecast| {
        forecast.dead_already > 0
            || forecast.sealed > 0
            || forecast.horizons.iter().any(|horizon| horizon.expiring_unrefreshed > 0)
    };
    if forecasts.iter().all(|(_, forecast)| forecast.grants == 0) {
        return Ok(Exit::Nothing);
    }
    Ok(if forecasts.iter().any(|(_, forecast)| lost(forecast)) {
        Exit::Partial
    } else {
        Exit::Done
    })
}

/// What the dates rest on, if nobody has told it: a refresh token that dies sooner is lost.
fn told_assumed(provider: &Provider) -> Option<String> {
    let schedule = &provider.policy.schedule;
    let life = |life: Duration| humantime::format_duration(life).to_string();
    let value = |name: &&str| match *name {
        "access_lifetime" => format!("access_lifetime = \"{}\"", life(schedule.access_lifetime)),
        name => {
            format!("{name} = \"{}\"", life(schedule.refresh_idle_lifetime.unwrap_or_default()))
        }
    };
    let assumed: Vec<String> = provider.assumed.iter().map(value).collect();
    (!assumed.is_empty()).then(|| {
        format!(
            "{}: where its answers do not tell, {} is assumed: neither the settings nor the preset tell it",
            provider.id,
            assumed.join(" and ")
        )
    })
}

fn tell(forecasts: &[(ProviderId, Forecast)], output: &Output) {
    let header = [
        "PROVIDER",
        "GRANTS",
        "DUE NOW",
        "DONE BY",
        "WITHIN",
        "REFRESHES",
        "EXPIRE FIRST",
        "SLACK",
        "RATE/S",
        "NEEDED/S",
    ];
    let rows = forecasts.iter().flat_map(|(provider, forecast)| {
        forecast.horizons.iter().map(move |horizon| row(provider, forecast, horizon))
    });
    output.table(&header, rows);
    for (provider, forecast) in forecasts {
        if let Some(words) = forecast.shut.map(|shut| told_shut(provider, shut)) {
            output.message(&words);
        }
        if forecast.dead_already > 0 {
            output.message(&format!(
                "{provider}: {} grants have not been refreshed in time; their users must sign in again",
                forecast.dead_already
            ));
        }
        if forecast.sealed > 0 {
            output.message(&format!(
                "{provider}: {} grants hold a refresh token that the application has sealed; nothing is \
                 sent for them, and they will be lost: see evergrant doctor",
                forecast.sealed
            ));
        }
        output.line(&format!("\n{provider}, refreshes a day:"));
        for line in chart::lines(forecast) {
            output.line(&line);
        }
    }
}

/// That nothing is refreshed, which the table counts with.
fn told_shut(provider: &ProviderId, shut: ProviderClosure) -> String {
    match shut {
        ProviderClosure::Until(until) => {
            format!("{provider}: nothing is refreshed until {until}; this is counted with that")
        }
        ProviderClosure::WithoutEnd => format!(
            "{provider}: nothing is refreshed while its circuit is open or it is paused; what expires is \
             what is lost if it stays so: see evergrant doctor and evergrant providers list"
        ),
    }
}

fn row(provider: &ProviderId, forecast: &Forecast, horizon: &ForecastHorizon) -> Vec<String> {
    let rate = |rate: Option<f64>| or_dash(rate.map(|rate| format!("{rate:.2}")));
    vec![
        provider.to_string(),
        forecast.grants.to_string(),
        forecast.due_now.to_string(),
        or_dash(forecast.due_now_done_at),
        format!("{} days", horizon.days),
        horizon.refreshes.to_string(),
        horizon.expiring_unrefreshed.to_string(),
        or_dash(horizon.slack_s.map(readable)),
        rate(forecast.rate_per_s),
        rate(horizon.rate_needed_per_s),
    ]
}

/// A time in the two largest units that it has.
fn readable(seconds: i64) -> String {
    let duration = Duration::from_secs(seconds.unsigned_abs());
    let (days, hours, minutes) = (
        duration.as_secs() / 86_400,
        duration.as_secs() / 3_600 % 24,
        duration.as_secs() / 60 % 60,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", duration.as_secs()),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        let told = [5, 61, 3_700, 90_000, 1_209_600].map(readable);
        assert_eq!(told, ["5 s", "1 min", "1 h 1 min", "1 d 1 h", "14 d 0 h"]);
    }
}
