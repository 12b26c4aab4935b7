//! What the provider's ledger says of the documents, and what the demo says at its end.

use std::time::Duration;

use evergrant_domain::GrantStatus;
use evergrant_ports::{GrantAdmin, GrantFilter, TransferStore};
use evergrant_runtime::process::ShutdownSignal;
use evergrant_simulator::{CheckReport, LedgerDocument};
use evergrant_worker::WorkerEnd;
use futures::TryStreamExt;
use serde_json::json;

use super::Show;
use super::figures::Figures;
use super::scene::Scene;
use crate::args::DemoArgs;
use crate::exit::Exit;
use crate::output::Output;

/// Grants that are neither refreshed nor reported.
pub(super) async fn unfinished(store: &dyn GrantAdmin) -> anyhow::Result<u64> {
    let mut grants = store.list(GrantFilter::default());
    let mut unfinished = 0;
    while let Some(grant) = grants.try_next().await? {
        let ended = matches!(
            grant.status,
            Some(GrantStatus::NeedsReauth | GrantStatus::Failed | GrantStatus::NoToken)
        );
        unfinished += u64::from(grant.generation == 0 && !ended);
    }
    Ok(unfinished)
}

/// The ledger's judgement of every document in the store.
pub(super) struct Proof(CheckReport);

impl Proof {
    pub(super) async fn from_scene(
        scene: &Scene,
        store: &dyn TransferStore,
    ) -> anyhow::Result<Self> {
        let mut report = scene.simulator.empty_report();
        let mut documents = store.export();
        while let Some(document) = documents.try_next().await? {
            let document = LedgerDocument::from_json(&serde_json::to_vec(&document)?)?;
            report.add(&document, scene.simulator.judge(&document));
        }
        Ok(Self(report))
    }

    /// Nothing was lost or presented twice; and if all were reached, what is dead is reported.
    pub(super) const fn holds(&self, all_were_reached: bool) -> bool {
        let Self(report) = self;
        let reported = !all_were_reached || report.dead_unreported == 0;
        report.lost == 0 && report.reused == 0 && report.unknown == 0 && reported
    }

    pub(super) fn tell(&self, words: &Output) {
        let Self(report) = self;
        words.line("What the provider's own ledger says of every document:\n");
        let row = |what: &str, count: u64, meaning: &str| {
            vec![count.to_string(), what.to_owned(), meaning.to_owned()]
        };
        let rows = [
            row("live", report.live, "the provider takes the token in the document"),
            row("dead", report.dead, "the user revoked the grant, or it expired, before the demo"),
            row("malformed", report.malformed, "the document holds no usable token"),
            row("LOST", report.lost, "the token in the document was rotated away: our fault"),
            row("REUSED", report.reused, "a token was presented after its rotation: our fault"),
        ];
        words.table(&["USERS", "GRANT", "MEANING"], rows);
    }
}

/// What the demo came to.
pub(super) struct Report {
    users: u32,
    workers: u16,
    seed: u64,
    elapsed: Duration,
    limit_per_s: u32,
    most_in_1s: u64,
    figures: Figures,
    redriven: u64,
    proof: Proof,
    interrupted: bool,
}

impl Report {
    pub(super) fn new(show: &Show<'_>, args: &DemoArgs, redriven: u64, proof: Proof) -> Self {
        Self {
            users: args.users,
            workers: args.workers,
            seed: args.seed,
            elapsed: show.began.elapsed(),
            limit_per_s: show.scene.limit_per_s,
            most_in_1s: show.scene.simulator.stats().max_in_1s,
            figures: show.figures(),
            redriven,
            proof,
            interrupted: show.process.shutdown.has_begun(),
        }
    }

    pub(super) fn tell(&self, output: &Output) {
        if output.json {
            return output.json(&self.to_json());
        }
        if self.redriven > 0 || self.interrupted {
            output.line("");
            self.proof.tell(output);
        }
        let Self { figures, elapsed, .. } = self;
        output.line(&format!(
            "\n{} refreshed in {:.1} s; at most {} requests in any second, of {} allowed.",
            figures.refreshed,
            elapsed.as_secs_f64(),
            self.most_in_1s,
            self.limit_per_s,
        ));
        match (self.proof.holds(!self.interrupted), self.interrupted) {
            (true, true) => output.line("Interrupted. What was sent is written: nothing is lost."),
            (true, false) => output.line(&next()),
            (false, _) => output.message(
                "error: a grant was lost. That is a fault of Evergrant: please report it, with the \
                 --seed and --users of this run",
            ),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let Self { figures, proof: Proof(ledger), .. } = self;
        json!({
            "users": self.users,
            "workers": self.workers,
            "seed": self.seed,
            "seconds": (self.elapsed.as_secs_f64() * 10.0).round() / 10.0,
            "refreshed": figures.refreshed,
            "retried": figures.retried,
            "throttled": figures.throttled,
            "dead_letters": figures.dead,
            "redriven": self.redriven,
            "limit_per_s": self.limit_per_s,
            "most_in_1s": self.most_in_1s,
            "ledger": {
                "live": ledger.live,
                "dead": ledger.dead,
                "malformed": ledger.malformed,
                "lost": ledger.lost,
                "reused": ledger.reused,
                "double_exchanges": ledger.double_exchanges,
                "dead_unreported": ledger.dead_unreported,
            },
            "nothing_lost": self.proof.holds(!self.interrupted),
            "interrupted": self.interrupted,
        })
    }

    pub(super) fn exit(&self, ended: WorkerEnd, shutdown: &ShutdownSignal) -> Exit {
        match (self.proof.holds(!self.interrupted), ended) {
            (false, _) | (_, WorkerEnd::GraceOver) => Exit::Error,
            (true, WorkerEnd::Cleanly) if shutdown.has_begun() => Exit::Interrupted,
            (true, WorkerEnd::Cleanly) => Exit::Done,
        }
    }
}

fn next() -> String {
    let program = std::env::args().next().unwrap_or_else(|| "evergrant".to_owned());
    format!(
        "No grant was lost.\n\n\
         For users of your own, with documents such as {{\"_id\": 1, \"userId\": \"…\", \
         \"refresh_token\": \"…\"}}:\n\n    \
         {program} init                  # asks, and writes evergrant.toml\n    \
         {program} --config evergrant.toml import tokens.jsonl\n    \
         {program} --config evergrant.toml run\n\n\
         Everything is in one file then, evergrant.db. To move to MongoDB and RabbitMQ: \
         {program} migrate --help"
    )
}
