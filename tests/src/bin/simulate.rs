//! Runs the simulation, seed after seed, on as many threads as there are cores.
//!
//! ```text
//! cargo run --release -p evergrant-tests --bin simulate -- --seeds 20000
//! cargo run --release -p evergrant-tests --bin simulate -- --seed 4711 --trace
//! ```
//!
//! `--from N` begins with the seed N, `--sabotage NAME` runs a build that is broken on purpose. It
//! exits with 1 if an invariant was violated, and prints the seed, which fails again whenever it is run.
#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use evergrant_tests::simulation::{Figures, Options, Outcome, Sabotage, run};

struct Args {
    from: u64,
    seeds: u64,
    options: Options,
    /// Go on after a violation.
    keep_going: bool,
}

fn args() -> Result<Args, String> {
    let mut args = Args { from: 0, seeds: 1_000, options: Options::default(), keep_going: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text}: no number"));
        match word.as_str() {
            "--seeds" => args.seeds = number(value()?)?,
            "--from" => args.from = number(value()?)?,
            "--seed" => (args.from, args.seeds) = (number(value()?)?, 1),
            "--trace" => args.options.trace = true,
            "--keep-going" => args.keep_going = true,
            "--sabotage" => args.options.sabotage = Some(value()?.parse::<Sabotage>()?),
            _ => return Err(format!("{word}: not an argument")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(wrong) => {
            println!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (figures, failed) = run_all(&args);
    let seconds = began.elapsed().as_secs_f64();
    println!("{:>20} {}", "seeds", figures.1);
    print!("{}", figures.0);
    println!("{:>20} {seconds:.1} ({:.0} seeds a second)", "seconds", figures.1 as f64 / seconds);
    println!("{:>20} {}", "violations", failed.len());
    for outcome in &failed {
        let violation = outcome.violation.as_deref().unwrap_or_default();
        println!("seed {}: {violation}", outcome.seed);
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sums, of how many seeds, and those that failed.
fn run_all(args: &Args) -> ((Figures, u64), Vec<Outcome>) {
    let next = AtomicU64::new(args.from);
    let sums = Mutex::new(((Figures::default(), 0), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= args.from + args.seeds {
                return;
            }
            let outcome = run(seed, args.options);
            if args.options.trace {
                println!("{}", outcome.trace.join("\n"));
            }
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.0.0 += outcome.figures;
            sums.0.1 += 1;
            if outcome.violation.is_some() {
                sums.1.push(outcome);
                if !args.keep_going {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (figures, mut failed) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|outcome| outcome.seed);
    (figures, failed)
}
