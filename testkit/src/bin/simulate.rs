//! Runs the simulation, seed by seed, on one thread per core.
//!
//! ```text
//! cargo run --release -p evergrant-testkit --bin simulate -- --seeds 20000
//! cargo run --release -p evergrant-testkit --bin simulate -- --seed 4711 --trace
//! ```
//!
//! `--from N` begins with the seed N, `--keep-going` continues after a violation, `--threads N`
//! runs N seeds concurrently, and `--sabotage NAME` runs a build that is broken on purpose. The
//! exit code is 1 if an invariant was violated; the printed seed reproduces the failure.
#![allow(clippy::print_stdout, reason = "the figures are this program's output")]

use std::process::ExitCode;
use std::time::Instant;

use evergrant_testkit::simulation::{Sabotage, SeedOptions, SeedSweep};

fn args() -> Result<SeedSweep, String> {
    let (mut from, mut seeds) = (0, 1_000);
    let mut sweep = SeedSweep::until_violated(0..0, SeedOptions::default());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text}: no number"));
        match word.as_str() {
            "--seeds" => seeds = number(value()?)?,
            "--from" => from = number(value()?)?,
            "--seed" => (from, seeds) = (number(value()?)?, 1),
            "--trace" => sweep.options.trace = true,
            "--threads" => sweep.threads = Some(usize::try_from(number(value()?)?).unwrap_or(1)),
            "--keep-going" => sweep.keep_going = true,
            "--sabotage" => sweep.options.sabotage = Some(value()?.parse::<Sabotage>()?),
            _ => return Err(format!("{word}: not an argument")),
        }
    }
    sweep.seeds = from..from + seeds;
    Ok(sweep)
}

fn main() -> ExitCode {
    let sweep = match args() {
        Ok(sweep) => sweep,
        Err(wrong) => {
            println!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let sums = sweep.run(|outcome| {
        if sweep.options.trace {
            println!("{}", outcome.trace.join("\n"));
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("{:>20} {}", "seeds", sums.seeds);
    print!("{}", sums.figures);
    for (kind, tally) in [("reached", &sums.reached), ("excused", &sums.excuses)] {
        tally.0.iter().for_each(|(name, count)| println!("{kind:>20} {name} {count}"));
    }
    println!("{:>20} {seconds:.1} ({:.0} seeds a second)", "seconds", sums.seeds as f64 / seconds);
    println!("{:>20} {}", "violations", sums.failed.len());
    for outcome in &sums.failed {
        let violation = outcome.violation.as_deref().unwrap_or_default();
        println!("seed {}: {violation}", outcome.seed);
    }
    if sums.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
