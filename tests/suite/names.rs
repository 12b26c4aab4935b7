//! Names follow the glossary: `docs/GLOSSARY.md` has the words that may stand alone.

use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const FOLDERS: [&str; 9] = [
    "bench",
    "console",
    "gateway",
    "producer",
    "shared",
    "simulator",
    "testkit",
    "tests",
    "worker",
];
/// Types and functions of the former vocabulary, each replaced by the standard term.
const REPLACED: &str = "Turns Turn Pace Places Place Nets Caught Rescuer Rescues Estate Left Settled Written \
     Rebury Ask Punctuality Gate InHand Board Desk Keeper OnlyLook Look Looking Told Teller Door Seen Watched \
     Watcher Way PATIENCE disowned hand_on estate_of take_back";
/// The same for modules.
const REPLACED_MODULES: &str = "turns pace nets rescuer rescues take_back cell punctuality gate board keeper \
     only_look dial detached reports door seen watched frame way story walk in_brief in_full one_machine";
const ENDINGS: [&str; 6] = ["_INTERVAL", "_TIMEOUT", "_MAX", "_MIN", "_DELAY", "_TTL"];
const UNITS: [&str; 5] = ["MS", "MINUTE", "HOUR", "DAY", "WEEK"];
const TESTS: [&str; 4] = ["tests", "testkit", "bench", "simulator/tests"];

/// The project's sources, except this one, by their path in the project.
fn read(folder: &Path, into: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        let full = Path::new(ROOT).join(&path);
        if full.is_dir() && !path.ends_with("target") {
            read(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("names.rs") {
            into.push((path, std::fs::read_to_string(full).unwrap()));
        }
    }
}

/// What `check` reports for each line of code, without comments and quoted text.
fn assert_none(rule: &str, check: impl Fn(&Path, &str) -> Option<String>) {
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| read(Path::new(folder), &mut files));
    let mut wrong = Vec::new();
    for (path, text) in files {
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default();
            let line: String = line.split('"').step_by(2).collect();
            wrong.extend(check(&path, &line).map(|name| format!("{}: {name}", path.display())));
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|it: char| !it.is_alphanumeric() && it != '_').filter(|word| !word.is_empty())
}

#[test]
fn a_public_type_has_two_words_or_is_in_the_glossary() {
    let glossary = std::fs::read_to_string(format!("{ROOT}/docs/GLOSSARY.md")).unwrap();
    let terms: Vec<_> =
        glossary.lines().filter_map(|line| line.split('|').nth(1)).flat_map(words).collect();
    let rule = "name a type by two words, or define its word in docs/GLOSSARY.md";
    assert_none(rule, |_, line| {
        let keywords = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
        let rest = keywords.iter().find_map(|it| line.strip_prefix(it))?;
        let name = words(rest).next()?;
        let is_one_word = name.chars().filter(char::is_ascii_uppercase).count() < 2;
        let is_term = terms.iter().any(|term| term.eq_ignore_ascii_case(name));
        (is_one_word && !is_term).then(|| name.to_owned())
    });
}

#[test]
fn replaced_words_do_not_come_back() {
    assert_none("use the standard term of docs/GLOSSARY.md", |path, line| {
        let module = path.with_extension("");
        if let Some(name) = REPLACED_MODULES.split(' ').find(|it| module.ends_with(it)) {
            return Some(format!("the module {name}"));
        }
        words(line).find(|word| REPLACED.split(' ').any(|it| it == *word)).map(str::to_owned)
    });
}

#[test]
fn a_constant_duration_says_what_it_is() {
    assert_none(&format!("end the constant in one of {ENDINGS:?}"), |path, line| {
        let is_test = TESTS.iter().any(|it| path.starts_with(it));
        let is_test = is_test || path.file_stem()?.to_str()?.ends_with("tests");
        let declared = line.split_once("const ").filter(|_| !line.starts_with(' '))?;
        let (name, value) = declared.1.split_once(':')?;
        let is_clear = UNITS.contains(&name) || ENDINGS.iter().any(|it| name.ends_with(it));
        (!is_test && !is_clear && value.starts_with(" Duration")).then(|| name.to_owned())
    });
}
