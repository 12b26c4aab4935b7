//! Runs the cases in `tests/cases`.

use evergrant_testkit::cases;

/// A case mostly waits.
const AT_ONCE: usize = 6;

/// Runs all cases, or those whose name contains EVERGRANT_TEST_CASE.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_right() {
    let wanted = std::env::var("EVERGRANT_TEST_CASE").unwrap_or_default();
    let mut files = cases::files();
    files.retain(|file| file.to_string_lossy().contains(&wanted));
    assert!(!files.is_empty(), "no case's name contains {wanted:?}");
    let reports = cases::play_all(files, AT_ONCE).await;
    for report in &reports {
        let word = if report.wrong.is_empty() { "right" } else { "WRONG" };
        println!("{:5.1} s  {word}  {}", report.took.as_secs_f64(), report.name);
    }
    let wrong: Vec<_> = reports.iter().filter(|report| !report.wrong.is_empty()).collect();
    let told =
        |report: &&cases::CaseReport| format!("{}\n  {}", report.name, report.wrong.join("\n  "));
    let all: Vec<_> = wrong.iter().map(told).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} are wrong:\n{}",
        wrong.len(),
        reports.len(),
        all.join("\n")
    );
}
