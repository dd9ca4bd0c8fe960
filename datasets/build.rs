//! Lists the Parquet files of `bundled/`, so that the program carries them.

use std::io::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let folder = Path::new(&root).join("bundled");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names: Vec<_> = fs::read_dir(&folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .collect();
    names.sort();
    let target = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut out = fs::File::create(Path::new(&target).join("bundled_files.rs"))?;
    writeln!(out, "pub(super) static FILES: &[(&str, &[u8])] = &[")?;
    for path in &names {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(|| io::Error::other("file name"))?;
        writeln!(out, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())?;
    }
    writeln!(out, "];")
}
