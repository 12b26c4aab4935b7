//! Refreshes one claimed grant: permit, exchange, decision, commit.

use std::sync::PoisonError;

use evergrant_budget::Permit;
use evergrant_domain::decide::decide_given_back;
use evergrant_domain::{Grant, Outcome, classify, decide};
use evergrant_ports::Commit;
use evergrant_rescue::UnreadAnswer;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::lane::Lane;
use crate::pipeline::job_delivery::{Claim, JobDelivery};
use crate::pipeline::settle::{PendingCommit, hold, route, settle_unsent, write};
use crate::recovery::revive_deaths::revive_deaths;
use crate::recovery::unread::keep_unread;

/// Refreshes a claimed grant and settles the outcome.
pub(crate) async fn refresh(lane: &Lane, mut work: JobDelivery, grant: Grant, claim: &Claim) {
    let deadline = claim.sent_at + lane.settings.permit_wait;
    let permit = tokio::select! {
        // The order matters: a claim that took long may be past its deadline already. The lease
        // then might not outlive the request, even if the permit is ready.
        biased;
        () = tokio::time::sleep_until(deadline) => return give_back(lane, work, &grant, claim).await,
        permit = permit(lane) => permit,
        () = lane.stop.cancelled() => return release(lane, work, claim).await,
    };
    let Some(admitted) = permit else { return };
    // The timer above stops while the machine is suspended, but the lease does not.
    if claim.is_older_than(lane.settings.permit_wait, &lane.clock) {
        drop(admitted);
        return give_back(lane, work, &grant, claim).await;
    }
    let AdmittedRequest { slot, trial, permit } = admitted;
    // Frees the permit for the next claim.
    drop(work.flow_permit.take());
    let sent_at = Instant::now();
    lane.flow.sent(lane.budget.spacing());
    let exchanging = exchange(lane, &grant, permit);
    let outcome = lane.leases.keep_during(&grant.id, claim, exchanging).await;
    let answered_at = Instant::now();
    let now = claim.now();
    let tenant = lane.provider.tenant_of(&grant.fields);
    let (outcome, doubted_since) = {
        let mut watch = lane.watch.lock().unwrap_or_else(PoisonError::into_inner);
        (watch.weigh(outcome, &grant, tenant, now, lane.budget.evidence()), watch.revive_since())
    };
    if let Some(since) = doubted_since {
        revive_deaths(lane, since);
    }
    report(lane, &grant, &outcome);
    let settlement = decide(&lane.provider.policy, &grant, &outcome, now);
    lane.metrics.count_exchange(&lane.provider.id, &outcome, settlement.route);
    lane.budget.note(&settlement.signal);
    drop(trial);
    if let Outcome::Unreadable(failure, body) = outcome {
        let status = failure.http_status.unwrap_or_default();
        let unread = UnreadAnswer::to_grant(&grant, &claim.owner, status, body, now);
        let keeping = keep_unread(lane, work, &unread, settlement, answered_at);
        lane.leases.keep_during(&grant.id, claim, keeping).await;
        return lane.flow.done(sent_at);
    }
    let commit = Commit::of_grant(&grant, &claim.owner, settlement.write.clone());
    // The permit is kept until the outcome is written, so that answers do not pile up before a slow
    // store.
    let flow_permit = Some(slot);
    let writing = write(lane, PendingCommit { settlement, commit, flow_permit, answered_at });
    let writing = lane.leases.keep_during(&grant.id, claim, writing);
    let Some(written) = hold(lane, &mut work, writing).await else { return };
    lane.flow.done(sent_at);
    route(lane, work, written).await;
}

/// The right to send one request.
struct AdmittedRequest {
    /// The flow permit for a request under way.
    slot: OwnedSemaphorePermit,
    /// See [`Lane::trial`].
    trial: Option<OwnedSemaphorePermit>,
    permit: Permit,
}

/// The budget's permit comes last, because it is valid for now only. None only when the process is
/// ending.
async fn permit(lane: &Lane) -> Option<AdmittedRequest> {
    let slot = lane.flow.exchanges.semaphore().acquire_owned().await.ok()?;
    let trial = lane.trial().await;
    Some(AdmittedRequest { slot, trial, permit: lane.budget.acquire().await })
}

async fn exchange(lane: &Lane, grant: &Grant, permit: Permit) -> Outcome {
    let started = Instant::now();
    lane.metrics.sent(&lane.provider.id);
    let exchange = lane.endpoint.exchange(&grant.refresh_token, &grant.fields).await;
    permit.answered();
    lane.metrics.answered(&lane.provider.id, started.elapsed());
    let secrets = lane.provider.secrets(&grant.refresh_token, &grant.fields);
    classify(exchange, &lane.provider.dialect, secrets)
}

/// No permit came in time, and the lease might not outlive the request: the job comes again later.
async fn give_back(lane: &Lane, work: JobDelivery, grant: &Grant, claim: &Claim) {
    let settlement = decide_given_back(&lane.provider.policy, grant, claim.now());
    settle_unsent(lane, work, grant, settlement, claim).await;
}

/// The worker stops: releases the lease. The unacknowledged delivery comes again.
async fn release(lane: &Lane, work: JobDelivery, claim: &Claim) {
    if let Err(error) = lane.store.release(&[work.job.id], &claim.owner).await {
        tracing::warn!(%error, "a lease was not released: it ends when its time runs out");
    }
}

fn report(lane: &Lane, grant: &Grant, outcome: &Outcome) {
    let Some(failure) = outcome.failure() else {
        tracing::debug!(generation = grant.generation + 1, "token refreshed");
        return;
    };
    let (provider, kind) = (&lane.provider.id, outcome.name());
    let (status, code) = (failure.http_status, failure.code.as_deref());
    let description = failure.description.as_deref();
    match outcome {
        Outcome::Misconfigured(_) => {
            tracing::error!(
                kind,
                status,
                code,
                description,
                "token refresh failed: the provider refuses every grant, so its circuit opens and no grant ends; \
                 check the client's settings"
            )
        }
        Outcome::TenantRefused(_) => {
            let client = lane.provider.tenant_of(&grant.fields);
            tracing::error!(
                client,
                kind,
                status,
                code,
                description,
                "token refresh failed: the provider refuses every grant of one tenant's client, so its grants wait \
                 and none ends; check that client's settings"
            )
        }
        Outcome::Suspicious(_) => tracing::error!(
            kind,
            status,
            code,
            description,
            "token refresh failed: the provider reports so many dead grants at once that it is not \
                 believed, so its circuit opens and no grant ends; check the client's settings and the \
                 provider's status. If these users must sign in again, run: evergrant providers confirm {provider}"
        ),
        Outcome::Unreadable(..) | Outcome::Blank(_) => {
            tracing::error!(
                kind,
                status,
                description,
                "token refresh failed: no token was found in the provider's success, so nothing more is sent \
                 to it; correct the settings, then run: evergrant providers probe {provider}"
            )
        }
        Outcome::GrantDead(_) => {
            tracing::warn!(kind, status, code, description, "the grant is dead")
        }
        _ => tracing::info!(kind, status, code, description, "token refresh failed"),
    }
}
