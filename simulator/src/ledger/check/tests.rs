//! What the ledger says of documents, whatever their client has done.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::ledger::{DeathCause, GrantVerdict, LedgerDocument, LostCause, TokenState};
use crate::settings::SimulatorSettings;
use crate::test_bench::Bench;

fn with_status(document: &LedgerDocument, status: &str) -> LedgerDocument {
    LedgerDocument { evergrant: json!({"status": status}), ..document.clone() }
}

#[test]
fn a_document_that_holds_the_newest_token_is_live() {
    let bench = Bench::strict();
    let document = bench.sign_in("ada");
    assert_eq!(bench.verdict(&document), GrantVerdict::Live);
    let refreshed = bench.refreshed(&document).unwrap();
    assert_eq!(bench.verdict(&refreshed), GrantVerdict::Live);
}

#[test]
fn a_document_that_missed_a_rotation_is_lost() {
    let bench = Bench::strict();
    let document = bench.sign_in("ada");
    bench.refreshed(&document);
    assert_eq!(bench.verdict(&document), GrantVerdict::Lost(LostCause::RotatedAway));
}

#[test]
fn within_the_grace_it_is_live_and_then_lost() {
    let bench = Bench::with_grace(60);
    let document = bench.sign_in("ada");
    bench.refreshed(&document);
    bench.clock.advance_ms(59_999);
    assert_eq!(bench.verdict(&document), GrantVerdict::LiveInGrace);
    bench.clock.advance_ms(1);
    assert_eq!(bench.verdict(&document), GrantVerdict::Lost(LostCause::RotatedAway));
}

#[test]
fn a_second_presentation_loses_the_grant_even_for_who_holds_the_newest_token() {
    let bench = Bench::strict();
    let document = bench.sign_in("ada");
    let refreshed = bench.refreshed(&document).unwrap();
    assert!(bench.refreshed(&document).is_none());
    for held in [&document, &refreshed] {
        assert_eq!(bench.verdict(held), GrantVerdict::Lost(LostCause::KilledByReuse));
        assert_eq!(bench.handle.judge(held).reused, 1);
    }
    assert_eq!(bench.handle.stats().reused, 1);
}

#[test]
fn what_the_provider_killed_is_dead_if_the_document_was_good_then_and_lost_if_not() {
    let bench = Bench::with_grace(60);
    let document = bench.sign_in("ada");
    let refreshed = bench.refreshed(&document).unwrap();
    assert_eq!(bench.handle.revoke(&["ada", "nobody"]).revoked, 1);
    bench.clock.advance_ms(600_000);
    assert_eq!(bench.verdict(&refreshed), GrantVerdict::Dead(DeathCause::Revoked));
    assert_eq!(bench.verdict(&document), GrantVerdict::Dead(DeathCause::Revoked));

    let strict = Bench::strict();
    let document = strict.sign_in("ada");
    strict.refreshed(&document);
    strict.handle.revoke(&["ada"]);
    assert_eq!(strict.verdict(&document), GrantVerdict::Lost(LostCause::RotatedAway));
}

#[test]
fn a_grant_that_nobody_refreshed_in_time_is_dead_of_age() {
    let settings = SimulatorSettings { refresh_idle_s: Some(100), ..SimulatorSettings::default() };
    let bench = Bench::new(settings);
    let document = bench.sign_in("ada");
    bench.clock.advance_ms(99_000);
    let document = bench.refreshed(&document).unwrap();
    bench.clock.advance_ms(100_000);
    assert_eq!(bench.verdict(&document), GrantVerdict::Dead(DeathCause::Expired));
    assert!(bench.refreshed(&document).is_none());
    assert_eq!(bench.handle.summary().expired, 1);
}

#[test]
fn a_token_that_is_overwritten_mixed_up_or_foreign_is_lost() {
    let bench = Bench::strict();
    let (ada, bob) = (bench.sign_in("ada"), bench.sign_in("bob"));
    let held = |token: Value| LedgerDocument { refresh_token: token, ..ada.clone() };
    for (token, cause) in [
        (Value::Null, LostCause::NoToken),
        (json!(7), LostCause::NoToken),
        (json!(""), LostCause::ForeignToken),
        (json!("x".repeat(1_000_000)), LostCause::ForeignToken),
        (bob.refresh_token, LostCause::AnothersToken),
    ] {
        assert_eq!(bench.verdict(&held(token)), GrantVerdict::Lost(cause));
    }
}

#[test]
fn documents_of_nobody_are_unknown_and_without_a_token_malformed() {
    let bench = Bench::strict();
    let read = |json: &str| bench.verdict(&LedgerDocument::from_json(json.as_bytes()).unwrap());
    assert_eq!(read(r#"{"userId":"eve","refresh_token":"abc"}"#), GrantVerdict::Unknown);
    assert_eq!(read(r#"{"userId":7,"refresh_token":"abc"}"#), GrantVerdict::Unknown);
    assert_eq!(read(r#"{"userId":"eve","refresh_token":{"a":1}}"#), GrantVerdict::Malformed);
    assert_eq!(read("{}"), GrantVerdict::Malformed);
}

#[test]
fn a_user_who_signs_in_again_has_a_grant_of_its_own() {
    let bench = Bench::strict();
    let first = bench.sign_in("ada");
    bench.handle.revoke(&["ada"]);
    let second = bench.sign_in("ada");
    assert_eq!(bench.verdict(&first), GrantVerdict::Dead(DeathCause::Revoked));
    assert_eq!(bench.verdict(&second), GrantVerdict::Live);
    assert_eq!(bench.handle.grants_of("ada").len(), 2);
}

#[test]
fn the_report_adds_up_and_tells_what_documents_get_wrong() {
    let bench = Bench::strict();
    let [live, given_up, dead, unreported, lost] =
        ["a", "b", "c", "d", "e"].map(|user| bench.sign_in(user));
    bench.handle.revoke(&["c", "d"]);
    bench.refreshed(&lost);
    let documents = [
        with_status(&live, "active"),
        with_status(&given_up, "needs_reauth"),
        with_status(&dead, "needs_reauth"),
        with_status(&unreported, "active"),
        lost.clone(),
        LedgerDocument::default(),
    ];
    let report = bench.handle.check(&documents);
    let sums = (report.total, report.live, report.dead, report.lost, report.malformed);
    assert_eq!(sums, (6, 2, 2, 1, 1));
    assert_eq!((report.live_given_up, report.dead_unreported), (1, 1));
    assert_eq!(report.misreported_ids, vec![given_up.id.clone(), unreported.id.clone()]);
    assert_eq!(report.lost_ids, vec![lost.id.clone()]);
    assert_eq!((report.lost_by.rotated_away, report.dead_by.revoked), (1, 2));
    assert_eq!(report.ledger_grants, 5);
}

#[test]
fn no_report_holds_a_token() {
    let bench = Bench::strict();
    let documents: Vec<_> = (0..5).map(|n| bench.sign_in(&format!("user-{n}"))).collect();
    documents.iter().for_each(|document| drop(bench.refreshed(document)));
    let report = serde_json::to_string(&bench.handle.check(&documents)).unwrap();
    let shown = format!("{report}{documents:?}{:?}", bench.handle.sign_in("ada"));
    assert!(!shown.contains("evgsim_"), "{shown}");
}

proptest! {
    /// A client that keeps what it is given, retries within the grace when a reply is lost, and
    /// lets no grace pass, loses nothing, whatever replies are lost.
    #[test]
    fn a_careful_client_loses_nothing_within_the_grace(lost in prop::collection::vec(any::<bool>(), 1..80)) {
        let bench = Bench::with_grace(60);
        let mut document = bench.sign_in("ada");
        for reply_is_lost in lost {
            bench.clock.advance_ms(500);
            let refreshed = bench.refreshed(&document).unwrap();
            if !reply_is_lost {
                document = refreshed;
            }
            let verdict = bench.verdict(&document);
            prop_assert!(matches!(verdict, GrantVerdict::Live | GrantVerdict::LiveInGrace));
        }
        prop_assert_eq!(bench.handle.stats().reused, 0);
    }

    /// The verdict of live is the provider's own: an exchange follows it.
    #[test]
    fn what_is_judged_live_can_be_refreshed_and_nothing_else(
        picks in prop::collection::vec((0usize..8, 0u64..40_000), 1..40),
    ) {
        let bench = Bench::with_grace(30);
        let mut held = vec![bench.sign_in("ada")];
        for (pick, wait_ms) in picks {
            bench.clock.advance_ms(wait_ms);
            let document = held[pick % held.len()].clone();
            let live = matches!(bench.verdict(&document), GrantVerdict::Live | GrantVerdict::LiveInGrace);
            let state = bench.handle.token_state(document.refresh_token.as_str().unwrap());
            prop_assert_eq!(live, matches!(state, TokenState::Live | TokenState::InGrace));
            let refreshed = bench.refreshed(&document);
            prop_assert_eq!(refreshed.is_some(), live);
            held.extend(refreshed);
        }
    }
}
