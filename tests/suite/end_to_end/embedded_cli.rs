//! The commands of the embedded edition: moving between stores, forecasts, setup, and unusual
//! disks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use evergrant_domain::Timestamp;
use evergrant_ports::{ImportDocument, wall_clock};
use evergrant_runtime::config::Config as SimulatorSettings;
use evergrant_runtime::connect;
use evergrant_simulator::{SeedPlan, SimulatorConfig, SimulatorSettings as Behaviour};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;
use evergrant_testkit::{mongodb, program};
use futures::TryStreamExt;
use serde_json::{Value, json};

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}: {out}{err}", output.status)
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

/// Documents of every kind that applications have, some of them refreshed.
async fn lived_in() -> EmbeddedDeployment {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    evergrant.import(SeedPlan { count: 1_200, dead_share: 0.1, ..SeedPlan::default() }).await;
    let strange = [
        json!({"_id": "text", "z": 1, "a": {"$numberLong": "5"}, "refresh_token": "r", "f": 0.1}),
        json!({"_id": {"$uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8"}, "when": {"$date": "2026-01-31T12:00:00Z"}}),
        json!({"_id": {"b": 1, "a": [2, null, {"c": 5_000_000_000_i64}]}, "list": [], "none": null}),
        json!({"_id": 7, "dotted.name": "$x", "nested": {"token": "ü\u{0}"}}),
        json!({"_id": -1.5, "true": true}),
    ];
    let lines = strange.map(|document| document.to_string()).join("\n");
    let path = evergrant.folder.path().join("strange.jsonl");
    std::fs::write(&path, lines).expect("write");
    let import = evergrant.evergrant(&["import", path.to_str().expect("UTF-8")]).await;
    assert!(import.status.success(), "{}", said(&import));
    let mut run = evergrant.start(&["run"]);
    eventually("the live are refreshed, the dead reported", || async {
        evergrant.unfinished().await == 0
    })
    .await;
    assert!(run.terminate().await.success(), "{}", run.logged());
    evergrant
}

async fn export(evergrant: &EmbeddedDeployment, url: &str) -> Vec<u8> {
    let mut variables = evergrant.variables.clone();
    variables.push(("EVERGRANT_STORE__URL".to_owned(), url.to_owned()));
    let database =
        format!("migrate-{}", evergrant.folder.path().file_name().expect("a name").display());
    variables.push(("EVERGRANT_STORE__DATABASE".to_owned(), database.replace('.', "-")));
    let export = program::run("evergrant", &["export"], &variables).await;
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    export.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_to_mongodb_and_back_changes_no_byte() {
    let mut evergrant = lived_in().await;
    let name = evergrant.folder.path().file_name().expect("a name").display().to_string();
    evergrant.set("STORE__DATABASE", &format!("migrate-{name}").replace('.', "-"));
    let here = evergrant.variables[0].1.clone();
    let there = mongodb::url().await;
    let back = format!("sqlite:{}", evergrant.folder.path().join("back.db").display());
    let migrate = |from: String, to: String| {
        // The server's URL may contain a password, which is refused in arguments.
        let mut variables = evergrant.variables.clone();
        variables.push(("EVERGRANT_MIGRATE_FROM".to_owned(), from));
        variables.push(("EVERGRANT_MIGRATE_TO".to_owned(), to));
        async move { json_of(&program::run("evergrant", &["migrate", "--json"], &variables).await) }
    };
    let first = migrate(here.clone(), there.clone()).await;
    assert_eq!((&first["documents"], &first["written"]), (&json!(1_205), &json!(1_205)));
    // Again: everything is there, and nothing is written twice.
    let again = migrate(here.clone(), there.clone()).await;
    assert_eq!((&again["written"], &again["there_already"]), (&json!(0), &json!(1_205)));
    let second = migrate(there.clone(), back.clone()).await;
    assert_eq!(second["sha256"], first["sha256"]);

    let before = export(&evergrant, &here).await;
    assert!(before == export(&evergrant, &there).await, "MongoDB's export differs");
    assert!(before == export(&evergrant, &back).await, "the way back differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_resumes_and_refuses_a_foreign_store() {
    let evergrant = lived_in().await;
    let here = evergrant.variables[0].1.clone();
    let to = |name: &str| format!("sqlite:{}", evergrant.folder.path().join(name).display());
    // The rest of an interrupted migration: the beginning, with holes in the last batch.
    let half: Vec<Value> = {
        let mut documents = evergrant.store.export().try_collect::<Vec<_>>().await.expect("read");
        documents.truncate(710);
        documents.drain(600..610);
        documents
    };
    let variables = [("EVERGRANT_STORE__URL".into(), to("half.db").into())];
    let settings = SimulatorSettings::from_parts(None, variables, &[]).expect("settings");
    let store = connect::store(&settings).await.expect("a store");
    for document in half {
        let Value::Object(fields) = document else { panic!("no document") };
        store.import(vec![ImportDocument(fields)]).await.expect("import");
    }
    drop(store);
    let args = ["migrate", "--from", &here, "--to", &to("half.db"), "--json"];
    let report = json_of(&evergrant.evergrant(&args).await);
    assert_eq!((&report["there_already"], &report["written"]), (&json!(700), &json!(505)));

    let foreign = evergrant.folder.path().join("foreign.jsonl");
    std::fs::write(&foreign, r#"{"_id": "aaa", "refresh_token": "r"}"#).expect("write");
    let mut variables = evergrant.variables.clone();
    variables.push(("EVERGRANT_STORE__URL".to_owned(), to("foreign.db")));
    let path = foreign.to_str().expect("UTF-8");
    assert!(program::run("evergrant", &["import", path], &variables).await.status.success());
    let args = ["migrate", "--from", &here, "--to", &to("foreign.db")];
    let refused = evergrant.evergrant(&args).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("the document aaa"), "{}", said(&refused));
}

/// With these users, rate and lifetime, a third of the users is not reached in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_plans_forecast_of_expiries_comes_true() {
    const USERS: u32 = 600;
    const LIFETIME_S: u64 = 40;
    let behaviour = Behaviour { refresh_idle_s: Some(LIFETIME_S), ..Behaviour::default() };
    let mut evergrant = EmbeddedDeployment::new(SimulatorConfig {
        settings: behaviour,
        ..SimulatorConfig::default()
    })
    .await;
    evergrant.set("PROVIDERS__SIMULATOR__LIMITS", r#"["10/s"]"#);
    // So many deaths must not blame the client.
    evergrant.set("PROVIDERS__SIMULATOR__MASS_DEATH_PERCENT", "100");
    import_with_an_end(&evergrant, USERS, Duration::from_secs(LIFETIME_S)).await;
    // Refreshed grants live on.
    let longer = |settings: &mut Behaviour| settings.refresh_idle_s = None;
    evergrant.simulator.change(longer).expect("change");

    let plan = evergrant.evergrant(&["plan", "--json"]).await;
    let planned_at = Instant::now();
    let mut run = evergrant.start(&["run"]);
    assert_eq!(plan.status.code(), Some(3), "{}", said(&plan));
    let week = &json_of(&plan)[0]["forecast"]["horizons"][0];
    let expected = week["expiring_unrefreshed"].as_u64().expect("a count");
    eventually("the first is sent", || async { evergrant.simulator.stats().requests > 0 }).await;
    // Until a busy machine has started the program, ten users are lost in each second.
    let late = u64::try_from(planned_at.elapsed().as_millis() / 100).expect("a short time");
    eventually("each is refreshed or dead", || async { evergrant.unfinished().await == 0 }).await;
    run.terminate().await;
    let never = evergrant.grants().await.iter().filter(|grant| grant.generation == 0).count();
    let difference = (expected + late).abs_diff(never as u64);
    assert!(difference * 20 <= u64::from(USERS), "expected {expected}, and {never} expired");
    assert!(expected > 100, "nearly all were reached: {expected}");
}

/// Users whose documents say when their grants expire unused.
async fn import_with_an_end(evergrant: &EmbeddedDeployment, users: u32, lifetime: Duration) {
    let plan = SeedPlan { count: users, ..SeedPlan::default() };
    let now = wall_clock();
    let date = |at: Timestamp| json!({ "$date": at.to_string() });
    let documents = evergrant.simulator.seed(plan).expect("a plan").map(|document| {
        let mut document = serde_json::to_value(document).expect("JSON");
        document["evergrant"] = json!({
            "provider": "simulator", "status": "active", "generation": {"$numberLong": "0"},
            "attempts": 0, "next_refresh_at": date(now), "refresh_idle_until": date(now.plus(lifetime)),
        });
        match document {
            Value::Object(fields) => ImportDocument(fields),
            _ => panic!("no document"),
        }
    });
    evergrant.store.import(documents.collect()).await.expect("import");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_init_works_with_private_secrets() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    let folder = evergrant.folder.path().join("new");
    let secret = evergrant.folder.path().join("secret");
    std::fs::write(&secret, "evergrant-simulator-secret\n").expect("write");
    let (folder, secret) = (folder.to_str().expect("UTF-8"), secret.to_str().expect("UTF-8"));
    let url = evergrant.variables.iter().find(|(name, _)| name.ends_with("TOKEN_URL"));
    let url = &url.expect("the provider's URL").1;
    let args = [
        "init",
        "--folder",
        folder,
        "--provider",
        "acme",
        "--token-url",
        url,
        "--client-id",
        "evergrant",
        "--client-secret-file",
        secret,
    ];
    let init = program::run("evergrant", &args, &[]).await;
    assert!(init.status.success(), "{}", said(&init));
    let config = format!("{folder}/evergrant.toml");
    let doctor = program::run("evergrant", &["--config", &config, "doctor"], &[]).await;
    assert!(doctor.status.success(), "{}", said(&doctor));
    for file in ["evergrant.toml", "acme-client-secret", "rescue-key", "evergrant.db"] {
        let path = Path::new(folder).join(file);
        let mode = std::fs::metadata(&path).expect(file).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file} can be read by others");
    }
    let again = program::run("evergrant", &args, &[]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("--force"), "{}", said(&again));
    assert!(
        !said(&init).contains("simulator-secret") && !said(&doctor).contains("simulator-secret")
    );
}

/// Runs `evergrant` with a folder on a small disk of its own. None if this user may not mount.
fn on_a_small_disk(folder: &Path, options: &str, script: &str) -> Option<Output> {
    let mounted = format!("mount -t tmpfs -o {options} none \"$1\" && shift && {script}");
    let evergrant = program::path("evergrant");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &mounted, "sh"]).arg(folder).arg(evergrant).arg(folder);
    let can = Command::new("unshare").args(["-m", "true"]).output().ok()?.status.success();
    can.then(|| command.output().expect("run unshare"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_without_damage() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    let path = evergrant.folder.path().join("many.jsonl");
    let many = (0..20_000)
        .map(|id| json!({"_id": id, "refresh_token": format!("{id:0>500}")}).to_string());
    std::fs::write(&path, many.collect::<Vec<_>>().join("\n")).expect("write");
    let disk = evergrant.folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let script = format!(
        "export EVERGRANT_STORE__URL=sqlite:$2/e.db; \"$1\" import {}; echo \"import: $?\"; \
         \"$1\" export - --unaudited | wc -l",
        path.display()
    );
    let Some(output) = on_a_small_disk(&disk, "size=4m", &script) else {
        eprintln!("not tried: this user may not mount");
        return;
    };
    let said = said(&output);
    assert!(said.contains("import: 1") && said.contains("the disk is full"), "{said}");
    let kept: u64 =
        said.lines().filter_map(|line| line.trim().parse().ok()).next_back().unwrap_or(0);
    assert!(kept > 0 && kept.is_multiple_of(500) && kept < 20_000, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_is_refused() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    let disk = evergrant.folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let script = "export EVERGRANT_STORE__URL=sqlite:$2/e.db; \"$1\" tokens list; \
                  mount -o remount,ro \"$2\"; \"$1\" tokens list; echo \"then: $?\"";
    let Some(output) = on_a_small_disk(&disk, "size=4m", script) else {
        eprintln!("not tried: this user may not mount");
        return;
    };
    let said = said(&output);
    assert!(said.contains("then: 1") && said.contains("e.db"), "{said}");
    assert!(said.contains("cannot be written") || said.contains("cannot be opened"), "{said}");
}
