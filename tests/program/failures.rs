//! Each way to use the program wrongly gives one clear line, the exit code of the contract, and nothing else happens.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use crate::program::{Ended, Lab, SPEC, command, run, text, tree};

/// Specs that cannot be answered: name, JSON text, JSON pointer, other words of the error.
pub fn bad_specs() -> Vec<(&'static str, String, &'static str, Vec<&'static str>)> {
    let target = |t: &str| format!("{{\"targets\": [{t}]}}");
    let gap = "{\"property\": \"band_gap\", \"min\": 1}";
    let with = |more: &str| format!("{{\"targets\": [{gap}], {more}}}");
    let nested = format!("{}nelements=2{}", "(".repeat(10_000), ")".repeat(10_000));
    let negated = format!("{}nelements=2", "NOT ".repeat(10_000));
    vec![
        ("unknown property", target("{\"property\": \"bandgap_energy\", \"min\": 1}"), "/targets/0", vec!["band_gap"]),
        (
            "unknown unit",
            target("{\"property\": \"band_gap\", \"min\": 1, \"unit\": \"furlong\"}"),
            "/targets/0/unit",
            vec!["furlong"],
        ),
        (
            "wrong dimension",
            target("{\"property\": \"band_gap\", \"min\": 1, \"unit\": \"GPa\"}"),
            "/targets/0/unit",
            vec!["GPa", "pressure", "energy", "eV"],
        ),
        (
            "min above max",
            target("{\"property\": \"band_gap\", \"min\": 2, \"max\": 1}"),
            "/targets/0/min",
            vec!["`min` is above `max`"],
        ),
        ("NaN", target("{\"property\": \"band_gap\", \"min\": NaN}"), "", vec!["line 1"]),
        ("beyond all numbers", target("{\"property\": \"band_gap\", \"min\": 1e999}"), "", vec!["number out of range"]),
        ("no targets", "{\"targets\": []}".into(), "/targets", vec!["at least one target"]),
        ("targets left out", "{}".into(), "", vec!["targets"]),
        ("nothing wanted", target("{\"property\": \"band_gap\"}"), "/targets/0", vec!["min", "max", "goal"]),
        ("neither property nor index", target("{\"min\": 1}"), "/targets/0", vec!["property", "index"]),
        ("weight", target("{\"property\": \"band_gap\", \"min\": 1, \"weight\": -1}"), "/targets/0/weight", vec!["-1"]),
        ("unknown key", with("\"limt\": 5"), "", vec!["limt", "limit"]),
        ("limit of 0", with("\"limit\": 0"), "/limit", vec!["1 to 1000"]),
        ("limit below 0", with("\"limit\": -3"), "/limit", vec!["-3"]),
        ("limit too high", with("\"limit\": 1000000000"), "/limit", vec!["1 to 1000"]),
        ("offset too far", with("\"offset\": 18446744073709551615"), "/offset", vec!["10000", "filter"]),
        ("unknown policy", with("\"unknown\": \"guess\""), "/unknown", vec!["guess", "predict", "require", "ignore"]),
        ("unknown evidence", with("\"evidence\": \"heard\""), "/evidence", vec!["heard", "measured"]),
        ("unknown dataset", with("\"datasets\": [\"lap\"]"), "/datasets/0", vec!["`lap`", "lab"]),
        (
            "likeness to what nobody knows",
            with("\"like\": {\"material\": \"GaAz\"}"),
            "/like/material",
            vec!["there is no material `GaAz`"],
        ),
        (
            "likeness by a structure that is not there",
            with("\"like\": {\"material\": \"GaAs\", \"by\": \"structure\"}"),
            "/like/material",
            vec!["`GaAs` has no place in the space of structure", "ingest"],
        ),
        (
            "likeness in no space",
            with("\"like\": {\"material\": \"GaAs\", \"by\": \"smell\"}"),
            "/like/by",
            vec!["smell", "composition"],
        ),
        (
            "likeness of no weight",
            with("\"like\": {\"material\": \"GaAs\", \"weight\": 0}"),
            "/like/weight",
            vec!["1e-6 to 1e6"],
        ),
        ("no dataset at all", with("\"datasets\": []"), "/datasets", vec!["empty"]),
        ("filter cut off", with("\"filter\": \"elements HAS\""), "/filter", vec![]),
        ("filter on a field that is not", with("\"filter\": \"nosuchfield = 1\""), "/filter", vec!["nosuchfield"]),
        (
            "filter nested 10,000 deep",
            with(&format!("\"filter\": \"{nested}\"")),
            "/filter",
            vec!["more than 64 parentheses"],
        ),
        ("filter negated 10,000 times", with(&format!("\"filter\": \"{negated}\"")), "/filter", vec![]),
        ("not JSON", "{not json".into(), "", vec!["line 1"]),
        ("two documents", with("\"limit\": 1") + "{}", "", vec!["trailing"]),
        ("JSON nested 200,000 deep", "[".repeat(200_000), "", vec![]),
        ("nothing", String::new(), "", vec!["EOF"]),
        ("no UTF-8", "\u{fffd}".into(), "", vec!["line 1"]),
    ]
}

#[test]
fn a_spec_that_cannot_be_answered_is_wrong_usage() {
    let lab = Lab::filled();
    let before = tree(&lab.data());
    for (name, spec, pointer, words) in bad_specs() {
        let ended = lab.suggest(&spec, &[]);
        eprintln!("{name}: {}", ended.err.chars().take(300).collect::<String>().trim_end());
        ended.failed(2, &["spec -: "]);
        ended.failed(2, &[pointer]);
        ended.failed(2, &words);
        assert!(ended.err.len() < 2_000, "{name}: a line of {} bytes", ended.err.len());
    }
    assert_eq!(tree(&lab.data()), before, "nothing was changed");
}

#[test]
fn a_limit_on_the_command_line_is_checked_like_the_spec_s() {
    let lab = Lab::filled();
    lab.suggest(SPEC, &["--limit", "0"]).failed(2, &["/limit", "1 to 1000"]);
    lab.suggest(SPEC, &["--limit", "1001"]).failed(2, &["/limit"]);
    for bad in ["-1", "x", "99999999999999999999999"] {
        assert_eq!(lab.suggest(SPEC, &["--limit", bad]).code, Some(2), "{bad}");
    }
}

#[test]
fn a_spec_file_that_is_not_there_is_wrong_usage() {
    let lab = Lab::filled();
    let missing = lab.path("missing.json");
    lab.run(&["suggest", text(&missing)]).failed(2, &["cannot read the spec", "missing.json"]);
    lab.run(&["suggest", text(lab.folder.path())]).failed(2, &["cannot read the spec"]);
}

#[test]
fn a_parquet_answer_needs_a_file_and_a_file_needs_a_folder() {
    let lab = Lab::filled();
    lab.suggest(SPEC, &["--format", "parquet"]).failed(2, &["--out FILE"]);
    let nowhere = lab.path("no/such/folder/answer.csv");
    lab.suggest(SPEC, &["--format", "csv", "--out", text(&nowhere)]).failed(1, &["cannot write", "answer.csv"]);
    assert!(!lab.path("no").exists());
}

#[test]
fn a_data_directory_that_is_not_there_is_not_made() {
    let lab = Lab::empty();
    let missing = lab.path("missing/deeper");
    let at = text(&missing);
    let (rows, map, spec) = (lab.path("rows.csv"), lab.path("map.toml"), lab.file("spec.json", SPEC));
    for arguments in [
        vec!["suggest", text(&spec)],
        vec!["show", "Si"],
        vec!["datasets"],
        vec!["history"],
        vec!["serve", "--listen", "127.0.0.1:0"],
        vec!["ingest", text(&rows), "--mapping", text(&map)],
    ] {
        run(&[&arguments[..], &["--data", at]].concat())
            .failed(1, &["there is no data directory", at, "mkdir -p", "--data"]);
        let from_environment = Ended::of(command(&arguments).env("MATGENOME_DATA", at));
        from_environment.failed(1, &["there is no data directory", at]);
    }
    let doctor = run(&["doctor", "--data", at]);
    assert_eq!((doctor.code, doctor.err.lines().count()), (Some(1), 1), "{doctor:?}");
    assert!(!lab.path("missing").exists(), "nothing was made");
}

#[test]
fn a_file_in_place_of_the_data_directory_is_left_alone() {
    let lab = Lab::empty();
    let file = lab.file("taken", "mine");
    let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
    for arguments in [vec!["datasets"], vec!["ingest", text(&rows), "--mapping", text(&map)], vec!["serve"]] {
        run(&[&arguments[..], &["--data", text(&file)]].concat()).failed(1, &["taken is not a directory", "--data"]);
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    // and in place of what is in it
    std::fs::write(lab.data().join("records"), "mine").unwrap();
    for arguments in [vec!["datasets"], vec!["ingest", text(&rows), "--mapping", text(&map)]] {
        lab.run(&arguments).failed_after_output(1, &["records"]);
    }
    assert_eq!(std::fs::read(lab.data().join("records")).unwrap(), b"mine");
}

/// Runs a command as a user who may not write the data directory. `None`, said aloud, where this cannot be arranged.
fn as_a_reader(lab: &Lab, arguments: &[&str]) -> Option<Ended> {
    let binary = lab.path("matgenome");
    if !binary.exists() && std::fs::hard_link(env!("CARGO_BIN_EXE_matgenome"), &binary).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_matgenome"), &binary).unwrap();
    }
    std::fs::set_permissions(lab.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    for (path, _) in tree(&lab.data()).into_iter().chain([(lab.data(), Vec::new())]) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let template = command(arguments);
    let mut command = std::process::Command::new(&binary);
    command.args(template.get_args()).args(["--data", text(&lab.data())]);
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if std::fs::write(lab.data().join("probe"), "").is_ok() {
        // permissions do not bind this user: become one whom they do
        std::fs::remove_file(lab.data().join("probe")).unwrap();
        command.uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(done) => {
            Some(Ended { code: done.status.code(), out: done.stdout, err: String::from_utf8(done.stderr).unwrap() })
        }
        Err(e) => {
            eprintln!("SKIPPED: no user can be had here who may not write the data directory: {e}");
            None
        }
    }
}

fn writable_again(path: &Path) {
    for (path, _) in [(path.to_owned(), Vec::new())].into_iter().chain(tree(path)) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

#[test]
fn an_empty_data_directory_on_a_read_only_disk() {
    let lab = Lab::empty();
    let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
    for arguments in [
        vec!["datasets"],
        vec!["datasets", "--no-bundled"],
        vec!["suggest", "-"],
        vec!["serve", "--listen", "127.0.0.1:0"],
        vec!["ingest", text(&rows), "--mapping", text(&map)],
    ] {
        let Some(ended) = as_a_reader(&lab, &arguments) else { return };
        if arguments[0] == "suggest" {
            ended.failed(2, &["spec -"]);
        } else {
            ended.failed_after_output(1, &["cannot use the data directory", text(&lab.data()), "ermission denied"]);
        }
    }
    assert!(tree(&lab.data()).is_empty());
}

#[test]
fn a_filled_data_directory_on_a_read_only_disk_is_read_and_not_written() {
    let lab = Lab::filled();
    let (rows, map) = (lab.file("new.csv", "run,formula,gap,rho,note\n77,ZnO,3.3,5.6,\n"), lab.path("map.toml"));
    let before = tree(&lab.data());
    let spec = lab.file("spec.json", SPEC);
    let Some(ended) = as_a_reader(&lab, &["ingest", text(&rows), "--mapping", text(&map), "--no-bundled"]) else {
        return;
    };
    ended.failed_after_output(1, &["ermission denied"]);
    let found = as_a_reader(&lab, &["suggest", text(&spec), "--format", "json"]).unwrap();
    assert!(!found.json()["candidates"].as_array().unwrap().is_empty());
    let same =
        as_a_reader(&lab, &["ingest", text(&lab.path("rows.csv")), "--mapping", text(&map), "--dry-run"]).unwrap();
    assert_eq!(same.code, Some(0), "{same:?}");
    assert_eq!(tree(&lab.data()), before, "nothing was changed");
    writable_again(&lab.data());
    // without its snapshot it is built, used, and not kept
    std::fs::remove_dir_all(lab.data().join("snapshots")).unwrap();
    let found = as_a_reader(&lab, &["suggest", text(&spec), "--format", "json"]).unwrap();
    assert!(!found.json()["candidates"].as_array().unwrap().is_empty());
    writable_again(&lab.data());
}

#[test]
fn a_port_in_use_is_said_before_anything_is_loaded() {
    let lab = Lab::empty();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["serve", "--listen", &address, "--data", text(&lab.data())])
        .failed(1, &["cannot listen", &address, "--listen"]);
    assert!(tree(&lab.data()).is_empty(), "nothing was loaded");
    for bad in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "256.1.1.1:80"] {
        lab.run(&["serve", "--listen", bad]).failed(1, &["cannot listen", bad]);
    }
    assert!(tree(&lab.data()).is_empty());
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let lab = Lab::empty();
    lab.suggest(SPEC, &["--device", "voodoo 9000"]).failed(1, &["voodoo 9000"]);
    lab.run(&["serve", "--listen", "127.0.0.1:0", "--device", "voodoo 9000"]).failed_after_output(1, &["voodoo 9000"]);
    let said = lab.run(&["doctor", "--device", "voodoo 9000"]);
    assert_eq!((said.code, said.err.lines().count()), (Some(1), 1), "{said:?}");
    assert!(said.text().contains("takes       nothing"), "{}", said.text());
    assert!(tree(&lab.data()).is_empty(), "nothing was made");
}

#[test]
fn ingest_says_what_it_lacks() {
    let lab = Lab::filled();
    let before = tree(&lab.data());
    let (rows, map) = (lab.path("rows.csv"), lab.path("map.toml"));
    let no_map = lab.path("none.toml");
    lab.run(&["ingest", text(&rows), "--mapping", text(&no_map)]).failed(2, &["cannot read the mapping", "none.toml"]);
    let bad =
        lab.file("bad.toml", "[material]\nformula = \"formula\"\n[[value]]\ncolumn = \"gap\"\nproperty = \"gapp\"\n");
    lab.run(&["ingest", text(&rows), "--mapping", text(&bad)]).failed(2, &["no dataset is named", "--dataset"]);
    lab.run(&["ingest", text(&rows), "--mapping", text(&bad), "--dataset", "x"]).failed(2, &["gapp", "band_gap"]);
    lab.run(&["ingest", text(&rows), "--mapping", text(&map), "--dataset", "A B"])
        .failed(2, &["`A B`", "dataset name"]);
    let no_rows = lab.path("none.csv");
    lab.run(&["ingest", text(&no_rows), "--mapping", text(&map)]).failed(1, &["cannot read", "none.csv"]);
    let other = lab.file("other.csv", "a,b\n1,2\n");
    lab.run(&["ingest", text(&other), "--mapping", text(&map)]).failed(1, &["other.csv", "no column", "`a`, `b`"]);
    let empty = lab.file("empty.csv", "");
    lab.run(&["ingest", text(&empty), "--mapping", text(&map)]).failed(1, &["empty.csv", "no header line"]);
    let nowhere = lab.path("no/report.jsonl");
    let ended = lab.run(&["ingest", text(&rows), "--mapping", text(&map), "--report", text(&nowhere)]);
    ended.failed(1, &["cannot write", "report.jsonl"]);
    for usage in [vec!["ingest"], vec!["ingest", "--mapping", "m"], vec!["frobnicate"], vec![]] {
        assert_eq!(lab.run(&usage).code, Some(2), "{usage:?}");
    }
    assert_eq!(tree(&lab.data()), before, "nothing was changed");
}

#[test]
fn a_material_that_is_not_there_is_named() {
    let lab = Lab::filled();
    lab.run(&["show", "Unobtainium 42"]).failed(1, &["there is no material `Unobtainium 42`"]);
    lab.run(&["show", ""]).failed(1, &["there is no material"]);
}

impl Ended {
    /// As [`Ended::failed`], for commands that have already said on standard output what they read.
    #[track_caller]
    fn failed_after_output(&self, code: i32, words: &[&str]) {
        // the server says first that it is loading
        let lines: Vec<&str> = self.err.lines().filter(|line| !line.starts_with("matgenome: loading; ")).collect();
        let err = lines.join("\n") + "\n";
        Ended { code: self.code, out: Vec::new(), err }.failed(code, words);
    }
}
