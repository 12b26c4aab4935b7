use evergrant_provider::{HttpConfig, HttpSettings, preset_names};
use futures::{StreamExt, stream};

use super::*;

#[tokio::test]
async fn each_preset_passes_against_its_own_dialect() {
    let tried = stream::iter(preset_names()).map(async |name| {
        let subject = TrialSubject::from_preset(name).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        (name, try_out(&subject).await.unwrap_or_else(|error| panic!("{name}: {error:#}")))
    });
    let tried: Vec<(&str, Vec<TrialStep>)> = tried.buffered(4).collect().await;
    let wrong: Vec<String> = tried
        .iter()
        .flat_map(|(name, steps)| steps.iter().map(move |step| (name, step)))
        .filter(|(_, step)| !step.ok)
        .map(|(name, step)| format!("{name}: {step:?}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), tried.len(), wrong.join("\n"));
    for (name, steps) in &tried {
        assert!(steps.len() >= 5, "{name}");
    }
}

#[tokio::test]
async fn the_stand_in_is_reached_without_the_proxy_of_the_settings() {
    let mut subject = TrialSubject::from_preset("slack").unwrap();
    let nobody = HttpConfig { proxy: Some("http://127.0.0.1:1".into()), ..HttpConfig::default() };
    subject.provider.http = HttpSettings::of_config(&nobody, "http").unwrap();
    let steps = try_out(&subject).await.unwrap();
    assert!(steps.iter().all(|step| step.ok), "{steps:?}");
}

#[tokio::test]
async fn what_differs_from_the_file_is_told() {
    for (setting, value) in [
        ("client_auth", "body"),
        ("scope", "a scope that is not asked for"),
        ("token_url", "https://slack.com/elsewhere"),
    ] {
        let mut subject = TrialSubject::from_preset("slack").unwrap();
        subject.file.insert(setting.to_owned(), toml::Value::from(value));
        let steps = try_out(&subject).await.unwrap();
        let is_told = steps.iter().any(|step| !step.ok && step.tried == "refresh");
        assert!(is_told, "{setting}: {steps:?}");
    }
    let mut subject = TrialSubject::from_preset("slack").unwrap();
    subject.provider.dialect.answer = Default::default();
    subject.provider.dialect.rules.clear();
    let steps = try_out(&subject).await.unwrap();
    assert!(steps.iter().any(|step| !step.ok && step.tried == "a wrong client"), "{steps:?}");
}
