//! Runs the steps of a case.

use std::sync::Mutex;
use std::time::Duration;

use super::TestCase;
use super::case::Step;
use super::documents::signed_in_again;
use super::scene::{Scene, text};

/// The polling interval of conditions.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long `hold` waits for the file.
const HOLD_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs one step.
pub(super) async fn take(scene: &mut Scene, case: &TestCase, step: &Step) -> Result<(), String> {
    match step {
        Step::Import { documents, text, flags, name } => {
            let lines = match text {
                Some(text) => text.clone(),
                None => {
                    let sets = documents.as_ref().unwrap_or(&case.documents);
                    scene.signed_in.lines(&scene.simulator, sets)?.join("\n")
                }
            };
            import(scene, &lines, flags, name.as_deref()).await
        }
        Step::Start { workers } => {
            scene.start(*workers);
            Ok(())
        }
        Step::Stop => scene.end(false).await,
        Step::Kill => scene.end(true).await,
        Step::Until { at_most_s, so } => {
            let limit = Duration::from_secs(*at_most_s);
            let met = async {
                while !so.is_met(scene).await? {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok::<(), String>(())
            };
            match tokio::time::timeout(limit, met).await {
                Ok(met) => met,
                Err(_) => Err(format!("not within {limit:?}: {so}")),
            }
        }
        Step::Quiet { for_ms } => {
            quiet(scene, Duration::from_millis(*for_ms)).await;
            Ok(())
        }
        Step::Wait { for_ms } => {
            tokio::time::sleep(Duration::from_millis(*for_ms)).await;
            Ok(())
        }
        Step::SignIn { user, document } => {
            let line = signed_in_again(&scene.simulator, document.as_deref(), user);
            import(scene, &line, &[], None).await
        }
        Step::Revoke { user } => {
            scene.simulator.revoke(&[user]);
            Ok(())
        }
        Step::Script { name } => {
            let script = case.scripts.get(name).ok_or_else(|| format!("no script {name}"))?;
            scene.simulator.play(script.clone()).map_err(text)
        }
        Step::Configure { name } => {
            let settings = case.other_settings.get(name);
            scene.configure(settings.ok_or_else(|| format!("no other settings {name}"))?).await
        }
        Step::Run { arguments, name } => {
            let said = scene.run(arguments).await;
            let name = name.clone().unwrap_or_else(|| arguments.join(" "));
            scene.told.insert(name, said);
            Ok(())
        }
        Step::Folder { name } => std::fs::create_dir_all(scene.path(name)).map_err(text),
        Step::File { name, text: content } => {
            std::fs::write(scene.path(name), content).map_err(text)
        }
        Step::Hold => hold(scene),
        Step::Release => scene.held.take().map(drop).ok_or_else(|| "nothing is held".to_owned()),
    }
}

/// Imports documents. The output is kept if the step has a name; otherwise it must succeed.
async fn import(
    scene: &mut Scene,
    lines: &str,
    flags: &[String],
    name: Option<&str>,
) -> Result<(), String> {
    let path = scene.path("tokens.jsonl");
    std::fs::write(&path, lines).map_err(text)?;
    let mut arguments = vec!["import".to_owned(), path.display().to_string()];
    arguments.extend_from_slice(flags);
    let said = scene.run(&arguments).await;
    match name {
        Some(name) => drop(scene.told.insert(name.to_owned(), said)),
        None if said.exit == Some(0) => {}
        None => return Err(format!("import: {}", said.text)),
    }
    Ok(())
}

/// Waits until the provider got no request for this time.
async fn quiet(scene: &Scene, time: Duration) {
    let mut seen = scene.simulator.requests().len();
    let mut since = tokio::time::Instant::now();
    while since.elapsed() < time {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = scene.simulator.requests().len();
        if now != seen {
            (seen, since) = (now, tokio::time::Instant::now());
        }
    }
}

/// Locks the file, as a long write does.
fn hold(scene: &mut Scene) -> Result<(), String> {
    let file = rusqlite::Connection::open(scene.path("evergrant.db")).map_err(text)?;
    file.busy_timeout(HOLD_TIMEOUT).map_err(text)?;
    file.execute_batch("BEGIN IMMEDIATE").map_err(text)?;
    scene.held = Some(Mutex::new(file));
    Ok(())
}
