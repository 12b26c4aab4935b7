//! Licences and sources of the dependencies, as `deny.toml` requires, without a tool or a network.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The registry of crates.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// All crates of the lock file that are built on this platform.
fn packages() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    let output = cargo.args(["--filter-platform", host]).current_dir(project()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

/// The licences in `deny.toml`.
fn allowed() -> BTreeSet<String> {
    let rules = std::fs::read_to_string(project().join("deny.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    allowed.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

/// Whether an SPDX expression can be fulfilled: `OR` is a choice, `AND` is not. Crates use
/// parentheses only around a choice before `AND`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    if let Some((choice, rest)) =
        expression.strip_prefix('(').and_then(|it| it.split_once(") AND "))
    {
        return is_allowed(choice, allowed) && is_allowed(rest, allowed);
    }
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    expression
        .split(" OR ")
        .any(|choice| choice.split(" AND ").all(|licence| allowed.contains(licence.trim())))
}

#[test]
fn every_crate_has_a_licence_that_may_be_given_away() {
    let allowed = allowed();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(licence, &allowed), "{}: {licence}", package["name"]);
    }
}

#[test]
fn every_crate_comes_from_crates_io_or_is_here() {
    for package in packages() {
        let here = package["source"].is_null()
            && Path::new(package["manifest_path"].as_str().unwrap())
                .starts_with(project().canonicalize().unwrap());
        assert!(
            here || package["source"] == CRATES_IO,
            "{}: {}",
            package["name"],
            package["source"]
        );
    }
}

#[test]
fn what_is_installed_is_what_was_locked() {
    for file in ["README.md", "Dockerfile"] {
        let text = std::fs::read_to_string(project().join(file)).unwrap();
        for line in text
            .lines()
            .filter(|line| line.contains("cargo install") || line.contains("cargo build"))
        {
            assert!(line.contains("--locked"), "{file}: {line}");
        }
    }
}

#[test]
fn an_expression_of_licences_is_read() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned()]);
    for fine in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC"]
    {
        assert!(is_allowed(fine, &allowed), "{fine}");
    }
    for wrong in ["none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0"] {
        assert!(!is_allowed(wrong, &allowed), "{wrong}");
    }
}
