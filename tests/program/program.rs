//! Runs the program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The program, with nothing of the caller's environment that it would listen to, on the CPU.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matgenome"));
    for name in ["MATGENOME_DATA", "MATGENOME_DEVICE", "MATGENOME_LOG", "MATGENOME_INGEST_TOKEN"] {
        command.env_remove(name);
    }
    // what a test does not ask for must not take its processors
    command.env("MATGENOME_NO_PREDICTIONS", "1");
    command.env("MATGENOME_DEVICE", "cpu").args(arguments).stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ended {
    pub fn of(command: &mut Command) -> Ended {
        let done = command.output().unwrap();
        Ended { code: done.status.code(), out: done.stdout, err: String::from_utf8(done.stderr).unwrap() }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_slice(&self.out).unwrap()
    }

    /// The command failed in the one way in which commands fail: this code, one line on standard error that holds these
    /// words, and nothing on standard output.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("matgenome: ") && self.err.ends_with('\n'), "{:?}", self.err);
        assert_eq!(self.err.lines().count(), 1, "one line: {:?}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in: {}", self.err);
        }
        assert!(self.out.is_empty(), "standard output: {}", String::from_utf8_lossy(&self.out));
    }
}

pub fn run(arguments: &[&str]) -> Ended {
    Ended::of(&mut command(arguments))
}

/// Runs with a text on standard input.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // a program that does not read its input closes it, which is no failure of this test
    let _ = child.stdin.take().unwrap().write_all(input);
    let done = child.wait_with_output().unwrap();
    Ended { code: done.status.code(), out: done.stdout, err: String::from_utf8(done.stderr).unwrap() }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All files below a folder with their contents, for "nothing was changed".
pub fn tree(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.push((path.clone(), Vec::new()));
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for (path, bytes) in tree(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() { std::fs::create_dir_all(target).unwrap() } else { std::fs::write(target, bytes).unwrap() }
    }
}

/// A small data directory: one dataset of a lab.
pub struct Lab {
    pub folder: tempfile::TempDir,
}

const ROWS: &str = "\
run,formula,gap,rho,note
1,GaAs,1.42,5.32,\"wafer, polished\"
2,Si,1.12,2.33,
3,InP,1.34,4.81,
4,CdTe,1.5,5.85,
5,AlSb,1.6,4.26,
6,NaCl,8.5,2.16,
7,PbS,0.41,,
8,GaN,3.4,6.15,
9,Ge,0.67,5.32,
10,Mg2Si,0.77,1.99,
";

const MAPPING: &str = r#"
[dataset]
name = "lab"
title = "Gaps"
contributor = "A lab"
licence = "CC0-1.0"
citation = "A lab, 2026"
origin = "https://example.org"

[record]
id = ["run"]

[material]
formula = "formula"

[defaults]
evidence = "measured"
source = "doi:10.1000/gaps"

[[value]]
column = "gap"
property = "band_gap"
unit = "eV"

[[value]]
column = "rho"
property = "density"
unit = "g/cm^3"

[attributes]
note = "note"
"#;

impl Lab {
    /// A folder with the files, and an empty data directory in it.
    pub fn empty() -> Lab {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(lab.data()).unwrap();
        lab.file("map.toml", MAPPING);
        lab.file("rows.csv", ROWS);
        lab
    }

    /// The data directory with the rows in it, and its snapshot built.
    pub fn filled() -> Lab {
        let lab = Lab::empty();
        let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
        let done = lab.run(&["ingest", text(&rows), "--mapping", text(&map)]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert_eq!(lab.run(&["datasets"]).code, Some(0));
        lab
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn arguments<'a>(data: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--data", text(data), "--no-bundled"]].concat()
    }

    /// Runs a command on the data directory, without the bundle.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        run(&Lab::arguments(&self.data(), arguments))
    }

    /// Suggests by a spec on standard input.
    pub fn suggest(&self, spec: &str, more: &[&str]) -> Ended {
        let arguments = [&["suggest", "-"], more].concat();
        run_with_input(&Lab::arguments(&self.data(), &arguments), spec.as_bytes())
    }

    /// Ingests a CSV text with the mapping of the lab.
    pub fn ingest(&self, rows: &str, more: &[&str]) -> Ended {
        let (rows, map) = (self.file("more.csv", rows), self.path("map.toml"));
        self.run(&[&["ingest", text(&rows), "--mapping", text(&map)], more].concat())
    }
}

/// A spec that some of the lab's materials meet.
pub const SPEC: &str = r#"{
  "targets": [{"property": "band_gap", "min": 1.1, "max": 1.6, "unit": "eV", "weight": 2},
              {"property": "density", "max": 5000, "unit": "kg/m^3"}],
  "filter": "NOT elements HAS ANY \"Pb\",\"Cd\"", "unknown": "require", "evidence": "measured"}"#;

pub fn materials(answer: &Value) -> Vec<String> {
    let candidates = answer["candidates"].as_array().unwrap();
    candidates.iter().map(|c| c["material"].as_str().unwrap().to_owned()).collect()
}
