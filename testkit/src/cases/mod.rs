//! Cases: real problems of providers, documents and operators, as data in `tests/cases`.
//!
//! A case is a file with documents, settings, a script for the provider, steps, and the expected
//! result. It runs on the embedded edition, as a separate process, against a simulator. In every
//! case, unless it says how many, no grant may be lost, no spent or foreign token may be sent, and
//! no valid grant may be given up. No token may be printed.

mod case;
mod condition;
mod documents;
mod observed;
mod right;
mod scene;
mod steps;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;

pub use case::TestCase;

use observed::ObservedState;
use scene::Scene;

/// The timeout of a case. Conditions time out earlier.
const CASE_TIMEOUT: Duration = Duration::from_secs(180);

/// The result of a case.
#[derive(Debug)]
pub struct CaseReport {
    /// The file's name without its ending.
    pub name: String,
    /// Failures, one per line.
    pub wrong: Vec<String>,
    /// Its duration.
    pub took: Duration,
}

/// The files of all cases, sorted by name.
///
/// # Panics
/// If the folder cannot be read.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let entries = folder.read_dir().expect("the folder of the cases");
    let paths = entries.map(|entry| entry.expect("an entry of the folder").path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

/// Runs cases, `at_once` at a time, and reports each in the order of their names.
pub async fn play_all(files: Vec<PathBuf>, at_once: usize) -> Vec<CaseReport> {
    let mut reports: Vec<_> =
        futures::stream::iter(files).map(play_file).buffer_unordered(at_once).collect().await;
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    reports
}

async fn play_file(path: PathBuf) -> CaseReport {
    let began = tokio::time::Instant::now();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // In a task of its own, so that a panic fails only the case.
    let played = tokio::spawn(tokio::time::timeout(CASE_TIMEOUT, play(path)));
    let wrong = match played.await {
        Ok(Ok(Ok(wrong))) => wrong,
        Ok(Ok(Err(why))) => vec![why],
        Ok(Err(_)) => vec![format!("it took more than {CASE_TIMEOUT:?}")],
        Err(panic) => vec![format!("it panicked: {panic}")],
    };
    CaseReport { name, wrong, took: began.elapsed() }
}

/// Runs one case. Returns the failures; `Err` if it could not run.
async fn play(path: PathBuf) -> Result<Vec<String>, String> {
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("cannot be read: {error}"))?;
    let case = TestCase::parse(&text)?;
    let mut scene = Scene::new(&case).await?;
    for (number, step) in case.steps.iter().enumerate() {
        if let Err(why) = steps::take(&mut scene, &case, step).await {
            return Err(format!("step {}: {why}\n{}", number + 1, scene::tail(&scene.log())));
        }
    }
    let observed = ObservedState::from_scene(&mut scene).await?;
    Ok(case.right.compare(&observed))
}
