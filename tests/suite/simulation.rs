//! The simulation, and whether it detects broken builds.

use std::fmt::Write;

use evergrant_testkit::simulation::{
    Excuse, Fault, Sabotage, SeedOptions, SeedSweep, SweepSums, run,
};

/// The most excuses of one kind in a thousand exchanges.
const EXCUSED_PER_MILLE_MAX: u64 = 30;

#[test]
fn no_seed_of_five_hundred_violates_an_invariant() {
    let sums = SeedSweep::until_violated(0..500, SeedOptions::default()).run(|_| ());
    if let Some(outcome) = sums.first() {
        let (seed, violation) = (outcome.seed, outcome.violation.as_deref().unwrap_or_default());
        let replay = "cargo run --release -p evergrant-testkit --bin simulate -- --trace --seed";
        panic!("seed {seed}: {violation}\nfor every event: {replay} {seed}");
    }
    report("faults", &table_of_faults(&sums));
    let never = Fault::ALL.map(Fault::as_str).into_iter().filter(|name| sums.reached.of(name) == 0);
    assert_eq!(never.collect::<Vec<_>>(), Vec::<&str>::new(), "no seed has reached these faults");
    for excuse in Excuse::ALL.map(Excuse::as_str) {
        let most = sums.figures.exchanges * EXCUSED_PER_MILLE_MAX / 1_000;
        assert!(sums.excuses.of(excuse) <= most, "{excuse} is used more than {most} times");
    }
}

fn table_of_faults(sums: &SweepSums) -> String {
    let mut table = String::new();
    let exchanges = sums.figures.exchanges;
    writeln!(table, "Faults reached over {} seeds, {exchanges} exchanges", sums.seeds)
        .expect("a string takes it");
    for (name, count) in &sums.reached.0 {
        writeln!(table, "{count:>8}  {name}").expect("a string takes it");
    }
    writeln!(table, "Excuses used").expect("a string takes it");
    for (name, count) in &sums.excuses.0 {
        writeln!(table, "{count:>8}  {name}").expect("a string takes it");
    }
    table
}

#[test]
fn a_seed_replays_to_the_letter() {
    let options = SeedOptions { trace: true, ..SeedOptions::default() };
    for seed in 0..10 {
        let (once, again) = (run(seed, options), run(seed, options));
        assert!(once.trace.len() > 100, "seed {seed}: nothing happens");
        let differs = once.trace.iter().zip(&again.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.trace.len(), again.trace.len(), "seed {seed}");
    }
}

#[test]
fn every_sabotage_is_noticed_within_two_hundred_seeds() {
    let mut table = "Sabotages, and the seeds until each is noticed\n".to_owned();
    let mut unnoticed = Vec::new();
    for sabotage in Sabotage::ALL {
        let options = SeedOptions { sabotage: Some(sabotage), ..SeedOptions::default() };
        let sums = SeedSweep::until_violated(0..200, options).run(|_| ());
        let name = sabotage.as_str();
        match sums.first() {
            Some(outcome) => {
                let (seeds, by) = (outcome.seed + 1, outcome.violation.as_deref());
                writeln!(table, "{seeds:>8}  {name}: {}", by.unwrap_or_default())
            }
            None => {
                unnoticed.push(name);
                writeln!(table, "   never  {name}")
            }
        }
        .expect("a string takes it");
    }
    report("sabotages", &table);
    assert_eq!(unnoticed, Vec::<&str>::new());
}

#[test]
fn the_documentation_names_every_fault_excuse_and_sabotage() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FAULTS.md");
    let page = std::fs::read_to_string(path).expect("a page");
    let names = Fault::ALL.map(Fault::as_str).into_iter().chain(Excuse::ALL.map(Excuse::as_str));
    let names = names.chain(Sabotage::ALL.map(Sabotage::as_str));
    let missing = names.filter(|name| !page.contains(&format!("| `{name}` |")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Prints a table, and stores it for `tests/run`.
fn report(name: &str, table: &str) {
    println!("{table}");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.txt"));
    std::fs::write(path, table).expect("a folder that can be written");
}
