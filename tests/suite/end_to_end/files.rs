//! Files with tokens: who can read them, and what they keep.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use evergrant_simulator::{SeedPlan, SimulatorConfig};
use evergrant_testkit::deployment::eventually;
use evergrant_testkit::embedded::EmbeddedDeployment;
use evergrant_testkit::program;
use serde_json::json;

fn said(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}: {out}{err}", output.status)
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a file").permissions().mode() & 0o777
}

fn holds(path: &Path, token: &str) -> bool {
    let content = std::fs::read(path).expect("read");
    content.windows(token.len()).any(|part| part == token.as_bytes())
}

/// Documents whose refresh tokens begin with `prefix`.
async fn import(evergrant: &EmbeddedDeployment, prefix: &str, count: u32) {
    let lines = (0..count).map(|id| {
        let token = format!("{prefix}-{id:04}-{}", "x".repeat(40));
        json!({ "_id": id, "userId": id, "refresh_token": token }).to_string()
    });
    let path = evergrant.folder.path().join("lines.jsonl");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("write");
    let import = evergrant.evergrant(&["import", path.to_str().expect("UTF-8")]).await;
    assert!(import.status.success(), "{}", said(&import));
    std::fs::remove_file(path).expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_private_despite_prepared_files() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    import(&evergrant, "token", 3).await;
    let folder = evergrant.folder.path();
    let (open, victim) = (folder.join("tokens.partial"), folder.join("victim"));
    std::fs::write(&open, "").expect("write");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).expect("permissions");
    std::fs::write(&victim, "untouched").expect("write");
    symlink(&victim, folder.join("linked.partial")).expect("link");
    symlink(&victim, folder.join("link.jsonl")).expect("link");
    for name in ["tokens.jsonl", "linked.jsonl", "link.jsonl"] {
        let path = folder.join(name);
        let export = ["export", path.to_str().expect("UTF-8"), "--force"];
        let export = evergrant.evergrant(&export).await;
        assert!(export.status.success(), "{}", said(&export));
        assert_eq!(mode(&path), 0o600, "{name}");
        assert!(!path.is_symlink() && holds(&path, "token-0002"), "{name}");
    }
    assert_eq!(std::fs::read(&victim).expect("read"), b"untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_during_use_is_complete_and_private() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    evergrant.import(SeedPlan { count: 300, ..SeedPlan::default() }).await;
    let mut run = evergrant.start(&["run"]);
    eventually("the first are refreshed", || async { evergrant.refreshed().await > 0 }).await;
    let copy = evergrant.folder.path().join("copy.db");
    let args = ["backup", copy.to_str().expect("UTF-8")];
    let backup = evergrant.evergrant(&args).await;
    assert!(backup.status.success(), "{}", said(&backup));
    assert_eq!(mode(&copy), 0o600);
    assert!(run.terminate().await.success(), "{}", run.logged());

    let mut variables = evergrant.variables.clone();
    variables.push(("EVERGRANT_STORE__URL".to_owned(), format!("sqlite:{}", copy.display())));
    let export = program::run("evergrant", &["export"], &variables).await;
    assert_eq!(String::from_utf8_lossy(&export.stdout).lines().count(), 300, "{}", said(&export));
    let again = evergrant.evergrant(&args).await;
    assert!(said(&again).contains("--force"), "{}", said(&again));
    let itself = evergrant.folder.path().join("evergrant.db");
    let itself = ["backup", itself.to_str().expect("UTF-8"), "--force"];
    let itself = evergrant.evergrant(&itself).await;
    assert!(said(&itself).contains("the file itself"), "{}", said(&itself));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_token_is_no_longer_in_the_file() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    import(&evergrant, "former", 40).await;
    let file = evergrant.folder.path().join("evergrant.db");
    let path = file.to_str().expect("UTF-8").to_owned();
    import(&evergrant, "present", 40).await;
    // The last connection to close checkpoints the write-ahead log.
    let EmbeddedDeployment { store, folder, .. } = evergrant;
    drop(store);
    assert!(!Path::new(&format!("{path}-wal")).exists(), "the file is still open");
    assert!(holds(&file, "present-0007") && !holds(&file, "former-"));
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_program_that_holds_tokens_leaves_no_core_dump() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    let mut run = evergrant.start(&["run"]);
    let limits = format!("/proc/{}/limits", run.id());
    let has_none = || {
        let limits = std::fs::read_to_string(&limits).unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        line.is_some_and(|line| line.split_whitespace().skip(4).take(2).eq(["0", "0"]))
    };
    eventually("the limit is set", || async { has_none() }).await;
    run.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_are_recorded_and_changed_records_are_found() {
    let evergrant = EmbeddedDeployment::new(SimulatorConfig::default()).await;
    import(&evergrant, "token", 3).await;
    let copy = evergrant.folder.path().join("copy.db");
    assert!(evergrant.evergrant(&["export"]).await.status.success());
    let backup = ["backup", copy.to_str().expect("UTF-8")];
    assert!(evergrant.evergrant(&backup).await.status.success());
    let listed = evergrant.evergrant(&["audit", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let actions: Vec<_> =
        listed.as_array().expect("a list").iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["backup", "export", "import"]);
    assert_eq!(
        (&listed[1]["progress"]["detail"], &listed[1]["outcome"]),
        (&json!("3 documents"), &json!("done"))
    );

    let verify = async || evergrant.evergrant(&["audit", "verify", "--json"]).await;
    let whole = verify().await;
    assert!(whole.status.success(), "{}", said(&whole));
    let known: serde_json::Value = serde_json::from_slice(&whole.stdout).expect("JSON");
    let known = known["last_hash"].as_str().expect("a hash");
    // As someone with access to the file would.
    let database =
        rusqlite::Connection::open(evergrant.folder.path().join("evergrant.db")).expect("open");
    let sql = "UPDATE audit SET entry = replace(entry, '\"export\"', '\"import\"') WHERE action = 'export'";
    assert_eq!(database.execute(sql, []).expect("change"), 1);
    let changed = verify().await;
    assert_eq!(changed.status.code(), Some(3), "{}", said(&changed));
    assert!(said(&changed).contains(r#""flaw":"changed","number":2"#), "{}", said(&changed));
    // The end of a chain proves nothing about later entries, but a kept hash does.
    database.execute("DELETE FROM audit WHERE number >= 2", []).expect("remove");
    assert!(verify().await.status.success());
    let known = evergrant.evergrant(&["audit", "verify", "--known", known]).await;
    assert_eq!(known.status.code(), Some(3), "{}", said(&known));
}
