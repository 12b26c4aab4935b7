//! What an administrator can do.

use crate::handle::ForgiveRequest;
use crate::ledger::{DeathCause, GrantVerdict, LostCause, SeedPlan};
use crate::test_bench::Bench;

#[test]
fn seeding_is_decided_by_its_seed() {
    let plan =
        SeedPlan { count: 2_000, dead_share: 0.05, malformed_share: 0.01, ..SeedPlan::default() };
    let (one, two) = (Bench::strict(), Bench::strict());
    let (documents, same) = (one.seed(plan.clone()), two.seed(plan.clone()));
    assert!(documents.iter().zip(&same).all(|(a, b)| a.refresh_token == b.refresh_token));
    let report = one.handle.check(&documents);
    assert!((70..130).contains(&report.dead), "{report:?}");
    assert!((8..40).contains(&report.malformed), "{report:?}");
    assert!(report.dead_by.revoked > 0 && report.dead_by.expired > 0);
    assert_eq!(report.live + report.dead + report.malformed, 2_000);
    let other = Bench::strict().seed(SeedPlan { seed: Some(9), ..plan });
    assert!(documents.iter().zip(&other).any(|(a, b)| a.id != b.id));
}

#[test]
fn seeded_users_and_ids_are_never_the_same_twice() {
    let bench = Bench::strict();
    let plan = SeedPlan { count: 50, ..SeedPlan::default() };
    let mut documents = bench.seed(plan.clone());
    documents.extend(bench.seed(plan));
    let ids: std::collections::HashSet<_> =
        documents.iter().map(|document| document.id.to_string()).collect();
    assert_eq!(ids.len(), 100);
    assert!(documents.iter().all(|document| bench.verdict(document) == GrantVerdict::Live));
}

#[test]
fn plans_that_cannot_be_are_refused() {
    let bench = Bench::strict();
    for plan in [
        SeedPlan { count: 0, ..SeedPlan::default() },
        SeedPlan { dead_share: -0.1, ..SeedPlan::default() },
        SeedPlan { dead_share: 0.6, malformed_share: 0.6, ..SeedPlan::default() },
        SeedPlan { prefix: "x".repeat(201), ..SeedPlan::default() },
    ] {
        assert!(bench.handle.seed(plan).is_err());
    }
}

#[test]
fn forgiving_revives_the_dead_and_ends_the_faults() {
    let bench = Bench::strict();
    let [dead, fallen, lost] = ["ada", "bob", "cyd"].map(|user| bench.sign_in(user));
    bench.handle.revoke(&["ada"]);
    bench.handle.change(|settings| settings.faults.invalid_grant = 1.0).unwrap();
    bench.refreshed(&fallen);
    bench.handle.change(|settings| settings.faults.invalid_grant = 0.0).unwrap();
    bench.refreshed(&lost);
    bench.refreshed(&lost);
    bench.handle.change(|settings| settings.faults.http_500 = 1.0).unwrap();

    let forgiven = bench.handle.forgive(&ForgiveRequest::default());
    assert_eq!((forgiven.forgiven, forgiven.still_lost), (2, 1));
    assert_eq!(bench.handle.settings().faults.http_500, 0.0);
    assert!(bench.refreshed(&dead).is_some() && bench.refreshed(&fallen).is_some());
    assert_eq!(bench.verdict(&lost), GrantVerdict::Lost(LostCause::KilledByReuse));
}

#[test]
fn forgiving_can_be_for_some_users_and_leave_the_faults() {
    let bench = Bench::strict();
    let [ada, bob] = ["ada", "bob"].map(|user| bench.sign_in(user));
    bench.handle.revoke(&["ada", "bob"]);
    bench.handle.change(|settings| settings.faults.http_500 = 0.5).unwrap();
    let users = Some(vec!["ada".to_owned(), "nobody".to_owned()]);
    let forgiven = bench.handle.forgive(&ForgiveRequest { users, keep_faults: true });
    assert_eq!((forgiven.forgiven, forgiven.unknown_users), (1, 1));
    assert_eq!(bench.verdict(&ada), GrantVerdict::Live);
    assert_eq!(bench.verdict(&bob), GrantVerdict::Dead(DeathCause::Revoked));
    assert_eq!(bench.handle.settings().faults.http_500, 0.5);
}
