//! Lists the data files of providers: each is embedded under its name. They are data; no code is shared with
//! what the simulator judges.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const FOLDER: &str = "../shared/provider/presets";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let missing = |name| io::Error::other(format!("cargo gives no {name}"));
    let root = env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| missing("CARGO_MANIFEST_DIR"))?;
    let out = env::var_os("OUT_DIR").ok_or_else(|| missing("OUT_DIR"))?;
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(&root).join(FOLDER))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let line = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string())
    };
    let lines: String = files.iter().map(line).collect();
    fs::write(Path::new(&out).join("dialects.rs"), format!("&[\n{lines}]\n"))
}
