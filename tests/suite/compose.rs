//! The stack of `docker-compose.yml`, as a user starts it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use evergrant_rescue::SealingKeys;
use evergrant_runtime::config::Config;
use evergrant_testkit::deployment::eventually;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use secrecy::ExposeSecret;
use serde_json::Value;

/// A running stack. It is removed when this is dropped, with its volumes.
struct Stack {
    variables: Vec<(&'static str, String)>,
    program: Vec<&'static str>,
}

fn image(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run tests/run, which builds the image"))
}

impl Stack {
    /// A stack of this name; dropping one removes all of that name.
    fn new(name: &str) -> Self {
        let session = std::env::var("EVERGRANT_TEST_SESSION").unwrap_or("evergrant-test".into());
        let password = || uuid::Uuid::new_v4().simple().to_string();
        let variables = vec![
            ("COMPOSE_PROJECT_NAME", format!("{session}-{name}")),
            ("EVERGRANT_IMAGE", image("EVERGRANT_TEST_IMAGE")),
            ("RABBITMQ_IMAGE", image("EVERGRANT_TEST_RABBITMQ_4_IMAGE")),
            ("MONGODB_IMAGE", image("EVERGRANT_TEST_MONGODB_IMAGE")),
            ("RABBITMQ_PASSWORD", password()),
            ("MONGODB_PASSWORD", password()),
            ("MONGODB_ROOT_PASSWORD", password()),
            ("PROVIDER_TOKEN_URL", "http://simulator:8080/token".into()),
            ("PROVIDER_ALLOW_HTTP", "true".into()),
            ("PROVIDER_LIMITS", "[]".into()),
            ("PROVIDER_CLIENT_SECRET", password()),
            ("RESCUE_KEY", SealingKeys::generate().expose_secret().to_owned()),
            ("RABBITMQ_PORT", "0".into()),
            ("RABBITMQ_MANAGEMENT_PORT", "0".into()),
            ("MONGODB_PORT", "0".into()),
            ("SIMULATOR_PORT", "0".into()),
            ("CONSOLE_PORT", "0".into()),
        ];
        let v2 = Command::new("docker").args(["compose", "version"]).output();
        let has_v2 = v2.is_ok_and(|output| output.status.success());
        let program = if has_v2 { vec!["docker", "compose"] } else { vec!["docker-compose"] };
        Self { variables, program }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.program[0]);
        command
            .args(&self.program[1..])
            .args(["--profile", "simulator"])
            .args(args)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    async fn compose(&self, args: &[&str]) -> String {
        let output = succeed(self.command(args)).await;
        String::from_utf8(output.stdout).unwrap()
    }

    /// A command of `evergrant`, as the README shows it.
    async fn evergrant(&self, args: &[&str], input: Option<&Path>) -> String {
        let mut command = self.command(&[&["run", "--rm", "-T", "evergrant"], args].concat());
        if let Some(input) = input {
            command.stdin(std::fs::File::open(input).unwrap());
        }
        String::from_utf8(succeed(command).await.stdout).unwrap()
    }

    /// The address of a service's port on this machine.
    async fn port(&self, service: &str, port: &str) -> String {
        self.compose(&["port", service, port]).await.trim().to_owned()
    }

    fn variable(&self, name: &str) -> &str {
        &self.variables.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.command(&["logs", "--tail", "60"]).output();
            let logs = logs.map(|output| output.stdout).unwrap_or_default();
            let _ = std::io::stderr().write_all(&logs);
        }
        let _ = self.command(&["down", "--volumes", "--timeout", "10"]).output();
    }
}

async fn succeed(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said =
        || String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}", said());
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compose_stack_refreshes_500_users() {
    let stack = Stack::new("compose");
    stack.compose(&["up", "-d", "--no-build", "--scale", "worker=4"]).await;
    let simulator = format!("http://{}", stack.port("simulator", "8080").await);
    let mongodb = format!(
        "mongodb://evergrant:{}@{}/?authSource=admin&directConnection=true",
        stack.variable("MONGODB_PASSWORD"),
        stack.port("mongodb", "27017").await
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.jsonl");
    let http = evergrant_testkit::http_client();
    eventually("the provider answers", || async {
        http.get(format!("{simulator}/healthz")).send().await.is_ok()
    })
    .await;
    let seed = http.post(format!("{simulator}/admin/seed"));
    let seeded = seed.json(&serde_json::json!({"count": 500})).send().await.unwrap();
    std::fs::write(&file, seeded.bytes().await.unwrap()).unwrap();

    let imported = stack.evergrant(&["import", "-"], Some(&file)).await;
    assert!(imported.contains("imported 500 documents"), "{imported}");
    let client = mongodb::Client::with_uri_str(&mongodb).await.unwrap();
    let tokens = client.database("app").collection::<Document>("tokens");
    eventually("all are refreshed", || async {
        let refreshed = tokens.count_documents(doc! { "evergrant.generation": 1 }).await;
        refreshed.unwrap_or(0) == 500
    })
    .await;

    let documents = stack.evergrant(&["export", "-"], None).await;
    let check = http.post(format!("{simulator}/ledger/check")).body(documents);
    let report: Value = check.send().await.unwrap().json().await.unwrap();
    assert_eq!((&report["live"], &report["lost"]), (&500.into(), &0.into()), "{report}");
    eventually("producer, workers and the console are healthy", || async {
        // It fails while the container of a finished command is being removed.
        let listed = stack.command(&["ps"]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).matches("(healthy)").count() >= 9
    })
    .await;
    assert_is_no_administrator(&stack, &tokens).await;
    let console = format!("http://{}/", stack.port("console", "8480").await);
    let page = http.get(&console).send().await.unwrap();
    assert!(page.url().path() == "/login", "without a login there is no console: {}", page.url());
    // As in the README, except for the terminal that asks for the password.
    std::fs::write(&file, "correct horse battery\n").unwrap();
    let users = ["--users-file", "/var/lib/evergrant/users"];
    let user = ["run", "--rm", "-T", "console", "evergrant", "console", "user"];
    let add = ["add", "me", "--role", "operator", "--password-file", "-"];
    let mut adding = stack.command(&[&user[..], &add, &users].concat());
    adding.stdin(std::fs::File::open(&file).unwrap());
    succeed(adding).await;
    let listed = stack.compose(&[&user[..], &["list"], &users].concat()).await;
    assert!(listed.contains("me") && listed.contains("operator"), "{listed}");
    let doctor = stack.evergrant(&["doctor"], None).await;
    assert!(!doctor.contains("evgsim_"), "{doctor}");
    stack.compose(&["down", "--volumes", "--timeout", "45"]).await;
    assert_eq!(stack.compose(&["ps", "-q"]).await.trim(), "");
}

/// The programs' user at both servers.
async fn assert_is_no_administrator(stack: &Stack, tokens: &Collection<Document>) {
    let management = stack.port("rabbitmq", "15672").await;
    let whoami = evergrant_testkit::http_client().get(format!("http://{management}/api/whoami"));
    let password = Some(stack.variable("RABBITMQ_PASSWORD"));
    let answer = whoami.basic_auth("evergrant", password).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401, "it may administer RabbitMQ");
    let admin = tokens.client().database("admin");
    let user = doc! { "createUser": "eve", "pwd": "eve", "roles": ["root"] };
    assert!(admin.run_command(user).await.is_err(), "it may administer MongoDB");
}

/// Evergrant's variables of a service.
async fn variables_of(stack: &Stack, service: &str) -> Vec<(String, String)> {
    let said = stack.compose(&["config"]).await;
    let of_service = said.lines().skip_while(|line| *line != format!("  {service}:")).skip(1);
    let lines = of_service.take_while(|line| line.starts_with("   "));
    let variables = lines.filter_map(|line| {
        let (name, value) = line.trim().split_once(':')?;
        let value = value.trim().trim_matches(['"', '\'']);
        name.starts_with("EVERGRANT_").then(|| (name.to_owned(), value.to_owned()))
    });
    variables.collect()
}

async fn settings_of(stack: &Stack, service: &str) -> Config {
    let variables = variables_of(stack, service).await.into_iter();
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    Config::from_parts(None, variables, &[]).unwrap()
}

#[tokio::test]
async fn each_container_has_only_the_secrets_it_needs() {
    let stack = Stack::new("compose-secrets");
    let secrets = ["PROVIDER_CLIENT_SECRET", "RESCUE_KEY", "MONGODB_ROOT_PASSWORD"];
    for (service, its_own) in [
        ("producer", &[][..]),
        ("console", &[]),
        ("worker", &["PROVIDER_CLIENT_SECRET", "RESCUE_KEY"]),
    ] {
        let variables = variables_of(&stack, service).await;
        assert!(variables.iter().any(|(name, _)| name == "EVERGRANT_STORE__URL"), "{service}");
        let has = |secret: &&str| variables.iter().any(|(_, it)| it == stack.variable(secret));
        assert_eq!(secrets.into_iter().filter(has).collect::<Vec<_>>(), its_own, "{service}");
    }
}

#[tokio::test]
async fn the_autodesk_preset_sets_url_and_limits() {
    let mut stack = Stack::new("compose-preset");
    let of_simulator = ["PROVIDER_TOKEN_URL", "PROVIDER_ALLOW_HTTP", "PROVIDER_LIMITS"];
    let is_of_simulator = |name: &str| of_simulator.contains(&name);
    stack.variables.retain(|(name, _)| !is_of_simulator(name));
    stack.variables.extend([
        ("PROVIDER_NAME", "autodesk".to_owned()),
        ("PROVIDER_PRESET", "autodesk".to_owned()),
        ("PROVIDER_CLIENT_ID", "an-id".to_owned()),
        ("PROVIDER_TOKEN_URL", String::new()),
        ("PROVIDER_ALLOW_HTTP", String::new()),
        ("PROVIDER_LIMITS", String::new()),
    ]);
    for service in ["producer", "worker", "console"] {
        let config = settings_of(&stack, service).await;
        let provider = config.providers().unwrap().remove(0);
        assert_eq!(provider.id.as_str(), "autodesk");
        assert_eq!(provider.token_url.host_str(), Some("developer.api.autodesk.com"), "{service}");
        assert!(!provider.limits.is_empty(), "{service}");
    }
}
