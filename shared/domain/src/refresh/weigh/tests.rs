use super::*;
use crate::{DocumentId, NewTokens};

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);
const CALM: DeathEvidence =
    DeathEvidence { belief: DeathBelief::ByShare, is_tripped: false, client_works: true };

struct Scene {
    watch: AnswerWatch,
    now: Timestamp,
    evidence: DeathEvidence,
    tenant: Option<&'static str>,
}

impl Scene {
    fn new() -> Self {
        let settings = WatchSettings { mass_death_min: 5, ..WatchSettings::default() };
        Self { watch: AnswerWatch::new(settings), now: NOW, evidence: CALM, tenant: None }
    }

    fn with(evidence: DeathEvidence) -> Self {
        Self { evidence, ..Self::new() }
    }

    fn weigh(&mut self, who: i64, questioned: bool, outcome: Outcome) -> &'static str {
        let grant = Grant { id: DocumentId::Integer(who), questioned, ..Grant::example(self.now) };
        self.watch.weigh(outcome, &grant, self.tenant, self.now, self.evidence).name()
    }

    fn death(&mut self, who: i64) -> &'static str {
        self.weigh(who, false, Outcome::GrantDead(ExchangeFailure::default()))
    }

    fn second_death(&mut self, who: i64) -> &'static str {
        self.weigh(who, true, Outcome::GrantDead(ExchangeFailure::default()))
    }

    fn refusal(&mut self, who: i64) -> &'static str {
        self.weigh(who, false, Outcome::Refused(ExchangeFailure::default(), RefusalScope::Unclear))
    }

    fn success(&mut self, who: i64) -> &'static str {
        self.weigh(who, false, Outcome::Refreshed(NewTokens::example("a", None)))
    }
}

#[test]
fn a_client_refusal_by_rule_opens_the_circuit() {
    let told = |scene: &mut Scene, who| {
        scene.weigh(who, false, Outcome::Refused(ExchangeFailure::default(), RefusalScope::Client))
    };
    assert_eq!(told(&mut Scene::new(), 1), "misconfigured");
    let mut scene = Scene::new();
    scene.success(1);
    assert_eq!(told(&mut scene, 2), "refused");
    scene.now = NOW.plus(Duration::from_secs(601));
    assert_eq!(told(&mut scene, 3), "misconfigured");
}

#[test]
fn a_death_is_believed_when_confirmed() {
    let mut scene = Scene::new();
    assert_eq!(scene.death(1), "unconfirmed");
    assert_eq!(scene.second_death(1), "grant_dead");
    let mut at_once = Scene::new();
    at_once.watch.settings.death_recheck = Duration::ZERO;
    assert_eq!(at_once.death(1), "grant_dead");
}

#[test]
fn a_disproved_death_makes_deaths_doubtful() {
    let mut scene = Scene::new();
    scene.death(1);
    scene.weigh(1, true, Outcome::Refreshed(NewTokens::example("a", None)));
    assert_eq!(scene.second_death(2), "unconfirmed");
    scene.now = NOW.plus(Duration::from_secs(601));
    assert_eq!(scene.second_death(2), "grant_dead");
}

#[test]
fn deaths_of_nearly_all_grants_at_once_are_not_believed() {
    let mut scene = Scene::new();
    let told: Vec<_> = (0..5).map(|who| scene.death(who)).collect();
    assert_eq!(told, ["unconfirmed", "unconfirmed", "unconfirmed", "unconfirmed", "suspicious"]);
    assert_eq!(scene.watch.revive_since(), Some(NOW.minus(Duration::from_secs(600))));
    assert_eq!(scene.watch.revive_since(), None);
}

#[test]
fn half_of_all_grants_may_die_while_the_others_succeed() {
    let mut scene = Scene::new();
    for who in 0..300 {
        assert_eq!(scene.success(2 * who), "refreshed");
        assert_eq!(scene.death(2 * who + 1), "unconfirmed");
        assert_eq!(scene.second_death(2 * who + 1), "grant_dead");
    }
}

#[test]
fn a_grant_that_dies_again_and_again_is_one_death() {
    let mut scene = Scene::new();
    for _ in 0..50 {
        assert_ne!(scene.second_death(1), "suspicious");
    }
}

#[test]
fn deaths_long_ago_do_not_count() {
    let mut scene = Scene::new();
    (0..4).for_each(|who| assert_eq!(scene.death(who), "unconfirmed"));
    scene.now = NOW.plus(Duration::from_secs(601));
    assert_eq!(scene.death(9), "unconfirmed");
}

#[test]
fn confirmed_deaths_are_believed_and_not_counted_later() {
    let mut scene = Scene::with(DeathEvidence { belief: DeathBelief::Trust, ..CALM });
    (0..50).for_each(|who| assert_eq!(scene.death(who), "grant_dead"));
    scene.evidence = CALM;
    assert_eq!(scene.death(51), "unconfirmed");
}

#[test]
fn a_changed_client_or_an_open_circuit_doubts_deaths() {
    let mut changed = Scene::with(DeathEvidence { belief: DeathBelief::Doubt, ..CALM });
    assert_eq!(changed.second_death(1), "suspicious");
    let mut tripped = Scene::with(DeathEvidence { is_tripped: true, ..CALM });
    assert_eq!(tripped.second_death(1), "unconfirmed");
}

#[test]
fn probes_that_only_find_deaths_accept_the_client() {
    let mut tripped = Scene::with(DeathEvidence { is_tripped: true, ..CALM });
    (1..5).for_each(|who| assert_eq!(tripped.second_death(who), "unconfirmed"));
    assert_eq!(tripped.second_death(1), "suspicious");
    tripped.success(6);
    assert_eq!(tripped.second_death(1), "unconfirmed");
}

#[test]
fn a_repeatedly_refused_grant_is_its_own_failure() {
    let mut scene = Scene::new();
    scene.success(0);
    (0..500).for_each(|_| assert_eq!(scene.refusal(1), "refused"));
}

#[test]
fn several_grants_refused_without_success_blame_the_client() {
    let mut scene = Scene::with(DeathEvidence { client_works: false, ..CALM });
    let told: Vec<_> = (0..5).map(|who| scene.refusal(who)).collect();
    assert_eq!(told, ["refused", "refused", "refused", "refused", "misconfigured"]);
    assert!(scene.watch.revive_since().is_some());
}

#[test]
fn a_tenants_withdrawn_consent_does_not_blame_the_client() {
    let refusal = || Outcome::Refused(ExchangeFailure::default(), RefusalScope::Consent);
    let mut scene = Scene::with(DeathEvidence { client_works: false, ..CALM });
    (0..19).for_each(|who| assert_eq!(scene.weigh(who, false, refusal()), "refused"));
    assert_eq!(scene.weigh(19, false, refusal()), "misconfigured");
}

#[test]
fn without_any_success_two_refused_grants_suffice() {
    let mut scene = Scene::with(DeathEvidence { client_works: false, ..CALM });
    let told: Vec<_> = (0..5).map(|turn| scene.refusal(turn % 2)).collect();
    assert_eq!(told.last(), Some(&"misconfigured"));
}

#[test]
fn refusals_of_half_of_the_grants_do_not_open_the_circuit() {
    let mut scene = Scene::new();
    for round in 0..100 {
        scene.success(0);
        (1..12).for_each(|who| assert_eq!(scene.refusal(100 * round + who), "refused"));
    }
}

#[test]
fn a_client_that_stops_working_is_noticed() {
    let mut scene = Scene::new();
    scene.success(0);
    let last = (1..21).map(|who| scene.refusal(who)).last();
    assert_eq!(last, Some("misconfigured"));
}

#[test]
fn each_refused_probe_keeps_the_circuit_open() {
    let mut scene = Scene::with(DeathEvidence { is_tripped: true, ..CALM });
    assert_eq!(scene.refusal(1), "misconfigured");
}

#[test]
fn a_withdrawn_consent_is_a_death_if_others_succeed() {
    let refusal = || Outcome::Refused(ExchangeFailure::default(), RefusalScope::Consent);
    let mut scene = Scene::new();
    assert_eq!(scene.weigh(1, false, refusal()), "unconfirmed");
    assert_eq!(scene.weigh(1, true, refusal()), "grant_dead");
    let mut unknown = Scene::with(DeathEvidence { client_works: false, ..CALM });
    assert_eq!(unknown.weigh(1, true, refusal()), "refused");
}

#[test]
fn an_html_page_for_all_grants_opens_the_circuit() {
    let page = || {
        Outcome::Ambiguous(ExchangeFailure { http_status: Some(200), ..ExchangeFailure::default() })
    };
    let mut scene = Scene::new();
    let told: Vec<_> = (0..5).map(|who| scene.weigh(who, false, page())).collect();
    assert_eq!(told[..4], ["ambiguous"; 4]);
    assert_eq!(told[4], "misconfigured");
    let mut new = Scene::with(DeathEvidence { client_works: false, ..CALM });
    assert_eq!(new.weigh(1, false, page()), "blank", "the first one is enough");
}

#[test]
fn throttles_count_different_grants_in_a_row() {
    let throttle = || Outcome::Throttled(ExchangeFailure::default(), 1);
    let mut scene = Scene::new();
    let alike = |scene: &mut Scene, who| {
        let grant = Grant { id: DocumentId::Integer(who), ..Grant::example(NOW) };
        match scene.watch.weigh(throttle(), &grant, None, NOW, CALM) {
            Outcome::Throttled(_, grants) => grants,
            other => panic!("{}", other.name()),
        }
    };
    assert_eq!([1, 1, 2, 3].map(|who| alike(&mut scene, who)), [1, 1, 2, 3]);
    scene.success(9);
    assert_eq!(alike(&mut scene, 3), 1);
}

#[test]
fn a_tenant_of_one_grant_and_a_wrong_secret_is_refused_and_not_its_grant() {
    let mut scene = Scene::new();
    scene.success(1);
    scene.tenant = Some("acme");
    let told: Vec<_> = (0..6).map(|_| scene.refusal(10)).collect();
    assert_eq!(told[3..], ["refused", "tenant_refused", "tenant_refused"]);
    assert_eq!(scene.success(10), "refreshed");
    (0..50).for_each(|_| assert_eq!(scene.refusal(10), "refused", "its client has worked"));
}

#[test]
fn a_refused_tenants_client_stops_no_other() {
    let mut scene = Scene::new();
    scene.success(1);
    scene.tenant = Some("acme");
    let told: Vec<_> = (10..16).map(|who| scene.refusal(who)).collect();
    assert_eq!(told[3..], ["refused", "tenant_refused", "tenant_refused"]);
    assert_eq!(scene.watch.revive_since(), None, "nobody else's dead grants are revived");
    scene.tenant = Some("other");
    assert_eq!(scene.refusal(2), "refused");
    assert_eq!(scene.success(3), "refreshed");
    scene.tenant = Some("acme");
    assert_eq!(scene.refusal(10), "tenant_refused", "another tenant's success is not its own");
    assert_eq!(scene.success(11), "refreshed");
    assert_eq!(scene.refusal(10), "refused");
}
