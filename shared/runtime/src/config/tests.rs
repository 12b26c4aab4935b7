use std::ffi::OsString;

use secrecy::ExposeSecret;

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables =
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::from_parts(None, variables, &[])
}

fn wrong(variables: &[(&str, &str)]) -> String {
    match load(variables).and_then(|config| config.providers()) {
        Ok(_) => panic!("accepted {variables:?}"),
        Err(error) => error.to_string(),
    }
}

const AUTODESK: [(&str, &str); 3] = [
    ("EVERGRANT_PROVIDERS__AUTODESK__PRESET", "autodesk"),
    ("EVERGRANT_PROVIDERS__AUTODESK__CLIENT_ID", "12345"),
    ("EVERGRANT_PROVIDERS__AUTODESK__CLIENT_SECRET", "00678"),
];

#[test]
fn the_default_settings_are_valid() {
    let config = load(&[]).unwrap();
    assert_eq!(config.store.database, "app");
    assert!(config.providers().unwrap().is_empty());
}

#[test]
fn a_provider_is_its_preset_and_what_is_overridden() {
    let config = load(&AUTODESK).unwrap();
    let provider = &config.providers().unwrap()[0];
    assert_eq!(provider.token_url.host_str(), Some("developer.api.autodesk.com"));
    let client = provider.client.as_ref().unwrap();
    assert_eq!(client.id, "12345");
    assert_eq!(client.secret.as_ref().unwrap().expose_secret(), "00678");
    assert_eq!(config.default_provider().unwrap().as_str(), "autodesk");

    let more = [("EVERGRANT_PROVIDERS__AUTODESK__LIMITS", r#"["5/s", "100/min"]"#)];
    let config = load(&[AUTODESK.as_slice(), &more].concat()).unwrap();
    assert_eq!(config.providers().unwrap()[0].limits.len(), 2);
}

#[test]
fn file_environment_and_flags_override_in_that_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evergrant.toml");
    std::fs::write(
        &file,
        "[store]\ndatabase = \"file\"\ncollection = \"file\"\n[queue]\nprefix = \"file\"\n",
    )
    .unwrap();
    let variables = [("EVERGRANT_STORE__COLLECTION", "env"), ("EVERGRANT_QUEUE__PREFIX", "env")]
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let flags = [("queue.prefix", Some("flag".to_owned())), ("store.database", None)];
    let config = Config::from_parts(Some(&file), variables, &flags).unwrap();
    assert_eq!(config.store.database, "file");
    assert_eq!(config.store.collection, "env");
    assert_eq!(config.queue.prefix, "flag");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-file\n").unwrap();
    let path = file.to_str().unwrap();
    let variables = [
        ("EVERGRANT_PROVIDERS__P__TOKEN_URL", "https://example.com/token"),
        ("EVERGRANT_PROVIDERS__P__CLIENT_ID", "id"),
        ("EVERGRANT_PROVIDERS__P__CLIENT_SECRET_FILE", path),
    ];
    let provider = &load(&variables).unwrap().providers().unwrap()[0];
    assert_eq!(
        provider.client.as_ref().unwrap().secret.as_ref().unwrap().expose_secret(),
        "from-file"
    );

    let missing = [("EVERGRANT_STORE__URL_FILE", "/nowhere/url")];
    assert!(wrong(&missing).contains("store.url_file"));
}

#[test]
fn a_wrong_setting_is_named_with_what_would_be_right() {
    for (name, value, expected) in [
        ("EVERGRANT_STORE__URL", "http://x", "store.url is wrong: it must begin with mongodb://"),
        ("EVERGRANT_QUEUE__URL", "localhost", "queue.url is wrong: it must begin with amqp://"),
        ("EVERGRANT_STORE__URL", "sqlite:", "store.url is wrong: it names no file"),
        ("EVERGRANT_QUEUE__URL", "kafka://x", "amqp:// or amqps:// or sqlite:"),
        ("EVERGRANT_QUEUE__SHARDS", "0", "queue.shards is wrong: it must be from 1 to 256"),
        ("EVERGRANT_QUEUE__SHARDS", "many", "queue.shards is wrong: expected u16"),
        ("EVERGRANT_QUEUE__RETRY_LADDER", r#"["5s","1s"]"#, "queue.retry_ladder is wrong"),
        ("EVERGRANT_STOER__URL", "x", "there is no setting stoer"),
        ("EVERGRANT_TELEMETRY__LISTEN", "9464", "telemetry.listen is wrong: it must be an address"),
        (
            "EVERGRANT_TELEMETRY__LOG_FORMAT",
            "xml",
            "telemetry.log_format is wrong: expected one of",
        ),
        ("EVERGRANT_STORE__DEFAULT_PROVIDER", "nobody", "there is no section providers.nobody"),
        ("EVERGRANT_PROVIDERS__P__CLIENT_ID", "x", "providers.p.token_url is missing"),
        ("EVERGRANT_PROVIDERS__P__LIMITS", r#"["0/s"]"#, "a limit is a whole number from 1"),
        ("EVERGRANT_PROVIDERS__P__LIMITS", r#"["-5/min"]"#, "a limit is a whole number from 1"),
        ("EVERGRANT_PROVIDERS__P__TOKEN_URL", "ftp://x", "providers.p.token_url is wrong"),
    ] {
        let error = wrong(&[(name, value)]);
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
}

#[test]
fn a_token_has_a_place_of_its_own() {
    let (access, refresh, state) = (
        "EVERGRANT_STORE__FIELDS__ACCESS_TOKEN",
        "EVERGRANT_STORE__FIELDS__REFRESH_TOKEN",
        "EVERGRANT_STORE__STATE_FIELD",
    );
    for (name, place, expected) in [
        (
            refresh,
            "access_token",
            "store.fields.access_token is wrong: it must be a place of its own",
        ),
        (refresh, "access_token.refresh", "not within store.fields.access_token"),
        (access, "refresh_token.access", "not within store.fields.refresh_token"),
        (state, "refresh_token.state", "store.state_field is wrong"),
        (refresh, "evergrant.refresh", "not within store.state_field"),
        (state, "meta..grant", "store.state_field is wrong"),
        (refresh, "tokens.$refresh", "store.fields.refresh_token is wrong"),
        (access, "tokens.", "store.fields.access_token is wrong"),
        (access, "a\0b", "store.fields.access_token is wrong"),
    ] {
        let error = wrong(&[(name, place)]);
        assert!(error.contains(expected), "{place}: {error}");
    }
    let beside =
        [(access, "tokens.access"), (refresh, "tokens.access_not"), (state, "tokens.state")];
    assert!(load(&beside).is_ok());
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let mut variables = AUTODESK.to_vec();
    variables.push(("EVERGRANT_PROVIDERS__AUTODESK__LIMITS", r#"["10/s", "1000/min"]"#));
    let error = wrong(&variables);
    let expected = "providers.autodesk.limits is wrong: 1000/min never binds beside 10/s";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_error_never_repeats_a_secret() {
    let secret = "hunter2-hunter2";
    let url = format!("mysql://user:{secret}@host");
    for name in ["EVERGRANT_STORE__URL", "EVERGRANT_QUEUE__URL", "EVERGRANT_QUEUE__SHARDS"] {
        assert!(!wrong(&[(name, &url)]).contains(secret), "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evergrant.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{secret}\" oops\n")).unwrap();
    let error = Config::from_parts(Some(&file), [], &[]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret), "{error}");
}

#[test]
fn settings_print_without_their_secrets() {
    let config = load(&AUTODESK).unwrap();
    assert!(!format!("{config:?}{:?}", config.providers()).contains("00678"));
}

#[test]
fn other_variables_of_the_same_prefix_are_left_alone() {
    assert!(load(&[("EVERGRANT_CONFIG", "x"), ("EVERGRANT_IMAGE", "y")]).is_ok());
}

#[test]
fn only_who_exchanges_tokens_needs_the_clients_secret() {
    let config = load(&AUTODESK[..2]).unwrap();
    assert_eq!(config.some_providers().unwrap().len(), 1);
    let refused = config.exchanging_providers().unwrap_err().to_string();
    assert!(refused.contains("providers.autodesk.client_secret is missing"), "{refused}");
    let public = ("EVERGRANT_PROVIDERS__AUTODESK__CLIENT_AUTH", "none");
    assert!(load(&[AUTODESK[0], AUTODESK[1], public]).unwrap().exchanging_providers().is_ok());
}
