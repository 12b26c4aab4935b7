//! The content of the image, as far as it can be checked without a registry.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The programs of the image.
const PROGRAMS: [&str; 5] = [
    "evergrant",
    "evergrant-producer",
    "evergrant-worker",
    "evergrant-gateway",
    "evergrant-simulator",
];

fn project() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

fn cargo(folder: &Path, args: &[&str]) -> String {
    succeed(Command::new("cargo").args(args).args(["--locked", "--offline"]).current_dir(folder))
}

/// An image of the build context. It is removed when this is dropped.
struct Context {
    image: String,
    container: String,
}

impl Context {
    fn of_the_project() -> Self {
        let mut build = Command::new("docker");
        build.args(["build", "-q", "-f", "-"]).arg(project());
        build.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut building = build.spawn().unwrap();
        let mut file = building.stdin.take().unwrap();
        file.write_all(b"FROM scratch\nCOPY . /context\n").unwrap();
        drop(file);
        let built = building.wait_with_output().unwrap();
        assert!(built.status.success(), "docker build");
        let image = String::from_utf8(built.stdout).unwrap().trim().to_owned();
        let container = succeed(Command::new("docker").args(["create", &image, "none"]));
        Self { image, container }
    }

    fn copy_to(&self, folder: &Path) {
        let from = format!("{}:/context/.", self.container);
        succeed(Command::new("docker").args(["cp", &from]).arg(folder));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", &self.container]).output();
        let _ = Command::new("docker").args(["rmi", &self.image]).output();
    }
}

#[test]
fn the_build_context_is_complete_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    Context::of_the_project().copy_to(folder.path());
    let members = cargo(folder.path(), &["metadata", "--no-deps", "--format-version", "1"]);
    for program in PROGRAMS {
        assert!(members.contains(&format!("\"name\":\"{program}\"")), "{program}");
    }
    for private in [".env", ".git", "target"] {
        assert!(!folder.path().join(private).exists(), "{private}");
    }
}

#[test]
fn no_program_has_test_dependencies() {
    let file = std::fs::read_to_string(project().join("Dockerfile")).unwrap();
    assert!(file.contains("--package \"$program\"") && !file.contains("--workspace"));
    for program in PROGRAMS {
        let tree = cargo(project(), &["tree", "-p", program, "-e", "normal", "--prefix", "none"]);
        assert!(!tree.contains("testcontainers"), "{program}");
    }
}
