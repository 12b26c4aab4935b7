//! The output of the operator's commands, verbatim. Run with `INSTA_UPDATE=always` to accept the
//! present output.

mod scene;

use std::process::Output;

use scene::{Scene, normal};

/// A command's output and exit code.
fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| normal(&String::from_utf8_lossy(bytes));
    let mut printed = text(&output.stdout);
    for line in text(&output.stderr).lines() {
        printed.push_str(&format!("[stderr] {line}\n"));
    }
    printed.push_str(&format!("[exit {}]", output.status.code().unwrap_or_default()));
    printed
}

/// The output of commands, each under its own line.
async fn session(scene: &Scene, commands: &[&[&str]]) -> String {
    let mut session = String::new();
    for args in commands {
        let output = scene.evergrant.evergrant(args).await;
        let typed = args.join(" ");
        session.push_str(&format!("$ evergrant {}\n", typed.escape_debug()));
        session.push_str(&format!("{}\n\n", printed(&output)));
    }
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters() {
    let scene = Scene::new().await;
    let session = session(
        &scene,
        &[
            &["dlq", "list"],
            &["dlq", "list", "--output", "json"],
            &["dlq", "list", "--output", "jsonl", "--reason", "grant_dead"],
            &["dlq", "show", "--user", "ann"],
            &["dlq", "show", "--user", "ann", "--output", "jsonl"],
            &["dlq", "show", "--limit", "1", "--reason", "attempts_exhausted"],
            &["dlq", "list", "--user", "nobody"],
            &["dlq", "redrive"],
            &["dlq", "redrive", "--reason", "grant_dead"],
            &["dlq", "redrive", "--reason", "grant_dead", "--dry-run"],
            &["dlq", "redrive", "--reason", "grant_dead", "--why", "cured"],
            &["dlq", "redrive", "--all", "--why", "cured", "--yes"],
            &["dlq", "list"],
            &["dlq", "discard", "--all", "--why", "no more use", "--yes"],
            &["dlq", "list"],
            &["dlq", "resume", "00000000000000000000", "--yes"],
            &["dlq", "list", "--provider", "other"],
        ],
    );
    insta::assert_snapshot!("dead_letters", session.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let scene = Scene::new().await;
    let session = session(
        &scene,
        &[
            &["tokens", "list"],
            &["tokens", "list", "--email-prefix", "ann", "--output", "json"],
            &["tokens", "list", "--status", "needs_reauth", "--limit", "1"],
            &["tokens", "list", "--due-within", "0s"],
            &["tokens", "list", "--expires-within", "1h"],
            &["tokens", "count"],
            &["tokens", "show", "1"],
            &["tokens", "show", "404"],
            &["tokens", "pause", "3", "1", "404"],
            &["tokens", "refresh", "3"],
            &["tokens", "resume", "3"],
            &["tokens", "refresh", "3"],
            &["tokens", "forget", "3", "--output", "json"],
            &["tokens", "list", "--status", "dead"],
            &["tokens", "list", "--after", "nonsense"],
        ],
    );
    insta::assert_snapshot!("tokens", session.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_processes_and_the_record() {
    let scene = Scene::new().await;
    scene.has_lived().await;
    let session = session(
        &scene,
        &[
            &["workers"],
            &["top", "--once"],
            &["providers", "list"],
            &[
                "providers",
                "pause",
                "simulator",
                "--for",
                "2h",
                "--why",
                "their\u{1b}[31m maintenance",
            ],
            &["providers", "probe", "simulator"],
            &["providers", "limit", "simulator", "10/s,600/min"],
            &["providers", "resume", "simulator", "--output", "jsonl"],
            &["providers", "resume", "other"],
            &["audit", "--who", "ann@host"],
            &["audit", "--action", "token_forget"],
            &["audit", "--action", "nonsense"],
        ],
    );
    insta::assert_snapshot!("providers_processes_and_the_record", session.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_a_page_and_every_shell_its_completions() {
    let scene = Scene::new().await;
    let folder = scene.evergrant.folder.path().join("man");
    let there = folder.to_str().expect("UTF-8");
    let missing = scene.evergrant.evergrant(&["man", there]).await;
    assert_eq!(missing.status.code(), Some(1), "{}", printed(&missing));
    std::fs::create_dir(&folder).expect("a folder");
    let written = scene.evergrant.evergrant(&["man", there]).await;
    assert!(written.status.success(), "{}", printed(&written));
    for page in ["evergrant.1", "evergrant-dlq-redrive.1", "evergrant-tokens-forget.1"] {
        let page = std::fs::read_to_string(folder.join(page)).expect(page);
        assert!(page.starts_with(".") && page.contains("evergrant"), "{page}");
    }
    for (shell, holds) in [("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let output = scene.evergrant.evergrant(&["completions", shell]).await;
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(script.contains(holds) && script.contains("redrive"), "{shell}: {script}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_coloured_where_no_terminal_is() {
    let scene = Scene::new().await;
    for args in [["dlq", "redrive"].as_slice(), &["dlq", "list", "--no-color"], &["top", "--once"]]
    {
        let output = scene.evergrant.evergrant(args).await;
        let all = [output.stdout, output.stderr].concat();
        assert!(!all.contains(&0x1b), "{args:?}: {}", String::from_utf8_lossy(&all));
    }
}
