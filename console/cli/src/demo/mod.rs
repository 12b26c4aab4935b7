//! `evergrant demo`: everything that Evergrant does, in one process and one temporary file, against a
//! provider that rotates strictly, misbehaves, and keeps a ledger that tells what was lost.

mod figures;
mod proof;
mod scene;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evergrant_domain::DeadReason;
use evergrant_producer::ProducerSettings;
use evergrant_runtime::Process;
use evergrant_runtime::process::{self, ShutdownSignal};
use evergrant_telemetry::init_logs;

use crate::args::DemoArgs;
use crate::dlq::Dlq;
use crate::exit::Exit;
use crate::output::Output;
use crate::run::Engine;
use evergrant_operations::bulk::BulkActions;
use evergrant_operations::letters::{LetterFilter, LetterQueues};
use figures::Figures;
use proof::{Proof, Report};
use scene::{PROVIDER, Scene};
use view::View;

/// How often the figures are read.
const TICK_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the demo to its end, or until Ctrl-C. Done only if nothing was lost.
pub(crate) async fn demo(
    args: &DemoArgs,
    log_level: Option<String>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let shutdown = process::shutdown()?;
    let scene = Scene::set(args, log_level).await?;
    init_logs(&scene.config.telemetry)?;
    let quiet = Output::quiet();
    let words = if output.json { &quiet } else { output };
    scene.introduce(args, words);

    let process = Process::connect(&scene.config, "evergrant", shutdown).await?;
    let engine = Engine::new(&scene.config, &process, args.workers).await?;
    process.wait_until_ready().await?;
    scene.import(&*process.store, args).await?;

    let stop = ShutdownSignal::by_hand();
    let running = tokio::spawn(engine.run(stop.clone()));
    let mut show = Show { scene: &scene, process: &process, began: Instant::now() };
    let told = show.tell(words).await;
    // Whatever came of it: what was sent is written before the process ends.
    stop.begin();
    let ended = running.await?;
    let proof = Proof::from_scene(&scene, &*process.store).await?;
    let report = Report::new(&show, args, told?, proof);
    report.tell(output);
    Ok(report.exit(ended, &process.shutdown))
}

/// The demo as it goes on.
pub(crate) struct Show<'a> {
    scene: &'a Scene,
    process: &'a Process,
    began: Instant,
}

impl Show<'_> {
    /// Refreshes all, shows what died, and sends back what can be saved. The number that was sent
    /// back.
    async fn tell(&mut self, words: &Output) -> anyhow::Result<u64> {
        if !self.watch(0, u64::from(self.scene.users), words).await? {
            return Ok(0);
        }
        let before = self.figures();
        Proof::from_scene(self.scene, &*self.process.store).await?.tell(words);
        if before.dead.is_empty() {
            return Ok(0);
        }
        words.line("\nThe dead letters (evergrant dlq list):\n");
        let letters = LetterQueues {
            store: Arc::clone(&self.process.store),
            queue: Arc::clone(&self.process.queue),
            providers: vec![PROVIDER.parse()?],
        };
        let producer: ProducerSettings = self.scene.config.section()?;
        let bulk = BulkActions { letters, queued_for: producer.queued_for };
        let dlq = Dlq { bulk, output: words };
        dlq.list(&LetterFilter::default()).await?;
        let exhausted = before.dead_by(DeadReason::AttemptsExhausted);
        if exhausted == 0 {
            return Ok(0);
        }
        words.line(
            "\nThe provider has recovered. What had run out of attempts is sent back \
             (evergrant dlq redrive --reason attempts_exhausted --why …):\n",
        );
        self.scene.recover()?;
        let wanted =
            LetterFilter { reason: Some(DeadReason::AttemptsExhausted), ..LetterFilter::default() };
        let redriven = dlq.send_back_all(wanted, "the provider has recovered").await?;
        self.watch(before.settled(), redriven, words).await?;
        Ok(redriven)
    }

    /// Watches until, after the first `before`, so many grants are refreshed or reported. False if
    /// Ctrl-C came first.
    async fn watch(&self, before: u64, wanted: u64, words: &Output) -> anyhow::Result<bool> {
        let provider = PROVIDER.parse()?;
        let mut view = View::new(before, wanted, self.scene.limit_per_s, words);
        loop {
            let figures = self.figures();
            let queued = self.process.queue.depth(&provider).await?;
            view.show(&figures, queued);
            let all = figures.settled() >= before + wanted;
            if all && proof::unfinished(&*self.process.store).await? == 0 {
                view.finish();
                return Ok(true);
            }
            tokio::select! {
                () = self.process.shutdown.clone().wait() => {
                    view.finish();
                    return Ok(false);
                }
                () = tokio::time::sleep(TICK_INTERVAL) => {}
            }
        }
    }

    fn figures(&self) -> Figures {
        Figures::read(&self.process.metrics.render())
    }
}
