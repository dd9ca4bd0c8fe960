//! `kill -9` at random moments of two ingests at once and of a server that searches: every acknowledged row is there
//! exactly once, no half batch is visible, and every answer equals a model's.
//!
//! Every file is a batch: all of its rows carry its number, as value (band gap) and as note. A batch owns whole groups
//! of materials, so a group always shows one batch. `MATGENOME_CRASH_ROUNDS` says how many rounds (6), `MATGENOME_SEED`
//! which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::crash::{Random, seed};
use crate::program::{Lab, command, text};
use crate::server::{Server, poll};

/// Groups of materials; a batch writes all rows of some groups.
const GROUPS: u64 = 8;
/// Rows of a group.
const ROWS: u64 = 25;
/// Elements with which each row of a group has a formula of its own.
const METALS: [&str; 8] = ["Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr"];

/// The formula of a row: one material each.
fn formula(group: u64, row: u64) -> String {
    format!("{}F{}", METALS[group as usize], row + 1)
}

/// The material that a row speaks about: its formula with the elements in the order of the alphabet.
fn material(group: u64, row: u64) -> String {
    let metal = METALS[group as usize];
    let fluorine = if row == 0 { "F".to_owned() } else { format!("F{}", row + 1) };
    if metal < "F" { format!("{metal}{fluorine}") } else { format!("{fluorine}{metal}") }
}

/// A batch: the groups that it writes and its number.
#[derive(Debug, Clone)]
struct Batch {
    number: u64,
    groups: Vec<u64>,
    key: Option<String>,
}

impl Batch {
    fn csv(&self) -> String {
        let mut csv = String::from("run,formula,gap,rho,note\n");
        for &group in &self.groups {
            for row in 0..ROWS {
                // gaps within the bounds of the property, and different for each batch and row
                let gap = self.gap(row);
                csv += &format!("{group}-{row},{},{gap},{},batch {}\n", formula(group, row), row + 1, self.number);
            }
        }
        csv
    }

    fn gap(&self, row: u64) -> f64 {
        gap(self.number, row)
    }
}

fn gap(number: u64, row: u64) -> f64 {
    1.0 + (number % 1000) as f64 * 0.008 + row as f64 * 0.0001
}

/// An ingest that runs.
struct Running {
    batch: Batch,
    child: Child,
}

fn start(lab: &Lab, batch: Batch) -> Running {
    let file = lab.file(&format!("batch-{}.csv", batch.number), &batch.csv());
    let (map, data) = (lab.path("map.toml"), lab.data());
    let mut arguments = vec!["ingest", text(&file), "--mapping", text(&map), "--data", text(&data), "--no-bundled"];
    if let Some(key) = &batch.key {
        arguments.extend(["--idempotency-key", key]);
    }
    let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Running { batch, child }
}

/// Waits for its end; whether it said that its rows are in.
fn acknowledged(running: Running) -> (Batch, bool) {
    let ended = running.child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    match ended.status.code() {
        Some(0) => assert!(said.contains("version "), "done, and no version named: {said}"),
        None => {}
        Some(code) => panic!("code {code}: {said} {}", String::from_utf8_lossy(&ended.stderr)),
    }
    // a line that was printed is an acknowledgement, also where the process was killed before it could exit
    let committed = said.contains("committed as version ") && said.ends_with('\n');
    (running.batch, ended.status.code() == Some(0) || committed)
}

/// What is in the table: for each group the number of the batch that all its rows show.
fn shown(lab: &Lab) -> BTreeMap<u64, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(table) = datasets::table::Table::open(&lab.data()).await.unwrap() else { return BTreeMap::new() };
        assert_eq!(table.verify().await.unwrap(), Vec::<String>::new());
        let mut rows: BTreeMap<u64, BTreeMap<String, u64>> = BTreeMap::new();
        for file in table.files().unwrap() {
            for batch in table.batches(&file).await.unwrap() {
                let columns = datasets::columns::RecordColumns::read(&batch).unwrap();
                for record in (0..columns.len()).map(|row| columns.record(row)) {
                    let (group, row) = record.id.strip_prefix("lab/").unwrap().split_once('-').unwrap();
                    let number: u64 = record.attributes["note"].strip_prefix("batch ").unwrap().parse().unwrap();
                    let want = gap(number, row.parse().unwrap());
                    let found = record.measurements.iter().find(|m| &*m.property == "band_gap").unwrap().value;
                    assert!((found - want).abs() < 1e-12, "{}: {found}, not {want}", record.id);
                    let twice = rows.entry(group.parse().unwrap()).or_default().insert(record.id.clone(), number);
                    assert_eq!(twice, None, "{} is there twice", record.id);
                }
            }
        }
        rows.into_iter()
            .map(|(group, rows)| {
                assert_eq!(rows.len() as u64, ROWS, "group {group} is not whole: {rows:?}");
                let numbers: BTreeSet<u64> = rows.values().copied().collect();
                assert_eq!(numbers.len(), 1, "group {group} shows several batches: {numbers:?}");
                (group, *numbers.first().unwrap())
            })
            .collect()
    })
}

const SPEC: &str = r#"{"targets": [{"property": "density", "goal": "minimize"}, {"property": "band_gap", "min": 4.0}],
                       "unknown": "require", "limit": 1000}"#;

/// What a search must say of these groups: how many materials, how many pass, and which.
fn check_answer(answer: &Value, groups: &BTreeMap<u64, u64>) {
    let all = groups.len() as u64 * ROWS;
    assert_eq!(answer["meta"]["searched"].as_u64(), Some(all), "{}", answer["meta"]);
    let passes = |number: u64| (0..ROWS).filter(|&row| gap(number, row) >= 4.0).count() as u64;
    let passing: u64 = groups.values().map(|&number| passes(number)).sum();
    assert_eq!(answer["meta"]["passing"]["band_gap"].as_u64(), Some(passing), "{}", answer["meta"]);
    // every material's gap is the one that the newest batch of its group says
    let found = answer["candidates"].as_array().unwrap();
    assert_eq!(found.len() as u64, all.min(1000), "{}", answer["meta"]);
    let mut want: BTreeMap<String, f64> = BTreeMap::new();
    for (&group, &number) in groups {
        want.extend((0..ROWS).map(|row| (material(group, row), gap(number, row))));
    }
    for candidate in found {
        let verdicts = candidate["targets"].as_array().unwrap();
        let name = candidate["material"].as_str().unwrap();
        let value = verdicts.iter().find(|v| v["property"] == "band_gap").unwrap()["value"].as_f64().unwrap();
        let want = want.remove(name).unwrap_or_else(|| panic!("{name} is no material of these, or is there twice"));
        assert!((value - want).abs() < 1e-9, "{name}: {value}, not {want}");
    }
    assert!(want.is_empty(), "not answered: {want:?}");
}

fn check_searches(lab: &Lab, server: Option<&Server>, groups: &BTreeMap<u64, u64>) {
    let Some(server) = server else {
        let ended = lab.suggest(SPEC, &["--format", "json"]);
        assert!(matches!(ended.code, Some(0 | 4)), "{ended:?}");
        return check_answer(&serde_json::from_slice(&ended.out).unwrap(), groups);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let newest = runtime.block_on(datasets::table::Table::open(&lab.data())).unwrap().unwrap().version();
    // it follows the table
    let answer = poll("the newest version to be searched", || {
        let answer = server.post("/v1/suggest", SPEC.as_bytes());
        if answer.status == 503 {
            return None; // it has just been started
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        (answer["meta"]["version"].as_u64() == Some(newest)).then_some(answer)
    });
    check_answer(&answer, groups);
}

/// Files under the data directory that a killed process leaves grow with the kills; cleaning takes all of them.
fn leftovers(lab: &Lab) -> Vec<PathBuf> {
    crate::program::tree(&lab.data().join("records")).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn kill_9_at_any_moment_of_ingest_and_search() {
    let mut random = Random(seed());
    let rounds = std::env::var("MATGENOME_CRASH_ROUNDS").ok().and_then(|t| t.parse().ok()).unwrap_or(6u64);
    let lab = Lab::empty();
    // the time of one ingest, to know where moments lie
    let begin = std::time::Instant::now();
    let first = Batch { number: 1, groups: (0..GROUPS).collect(), key: None };
    assert!(acknowledged(start(&lab, first)).1);
    let whole = begin.elapsed().as_millis() as u64;
    let mut newest: BTreeMap<u64, u64> = (0..GROUPS).map(|group| (group, 1)).collect();
    assert_eq!(shown(&lab), newest);
    let mut server: Option<Server> = None;
    let mut number = 1;
    let (mut killed, mut lost) = (0, 0);
    for round in 0..rounds {
        if server.is_none() && random.below(3) > 0 {
            server = Some(Server::start(&lab.data(), &["--no-bundled"]));
        }
        // two at once; in half of the rounds they write some of the same groups
        let apart = random.below(2) == 0;
        let mut running: Vec<Running> = (0..2)
            .map(|n| {
                number += 1;
                let groups: Vec<u64> =
                    (0..GROUPS).filter(|group| if apart { group % 2 == n } else { random.below(3) > 0 }).collect();
                let groups = if groups.is_empty() { vec![random.below(GROUPS)] } else { groups };
                let key = (random.below(2) == 0).then(|| format!("batch {number}"));
                start(&lab, Batch { number, groups, key })
            })
            .collect();
        let mut ended: Vec<(Batch, bool)> = Vec::new();
        let kill_server = random.below(3) == 0;
        // each at a moment of its own, counted from the start of both
        let begin = std::time::Instant::now();
        let mut moments: Vec<(u64, usize)> = Vec::new();
        for n in 0..running.len() {
            if random.below(4) > 0 {
                moments.push((random.below(whole.max(2)), n));
            }
        }
        moments.sort_unstable();
        for (moment, n) in moments {
            std::thread::sleep(Duration::from_millis(moment).saturating_sub(begin.elapsed()));
            killed += u64::from(running[n].child.try_wait().unwrap().is_none());
            running[n].child.kill().unwrap(); // SIGKILL
        }
        ended.extend(running.into_iter().map(acknowledged));
        if kill_server {
            server = None; // SIGKILL too
        }
        let now = shown(&lab);
        for group in 0..GROUPS {
            let before = newest[&group];
            let writers: Vec<&(Batch, bool)> = ended.iter().filter(|(b, _)| b.groups.contains(&group)).collect();
            let found = now[&group];
            if found == before {
                assert!(
                    writers.iter().all(|(_, acknowledged)| !acknowledged),
                    "round {round}, group {group}: an acknowledged batch is lost: {ended:?}"
                );
            } else {
                assert!(
                    writers.iter().any(|(b, _)| b.number == found),
                    "round {round}, group {group}: batch {found} of {ended:?}"
                );
            }
        }
        // a batch is all there or not at all: a batch that shows in one group shows in each of its groups, but where
        // the other batch of the round came after it
        for (batch, _) in &ended {
            let shows = batch.groups.iter().filter(|g| now[g] == batch.number).count();
            let others = batch
                .groups
                .iter()
                .filter(|g| ended.iter().any(|(b, _)| b.number == now[g] && b.number != batch.number));
            assert!(
                shows == 0 || shows + others.count() == batch.groups.len(),
                "round {round}: half of batch {} is there: {now:?}, {ended:?}",
                batch.number
            );
        }
        check_searches(&lab, server.as_ref().filter(|_| round % 2 == 0), &now);
        newest = now;
        // the same command again brings a batch that was cut off to its end, once
        if let Some((batch, _)) = ended.iter().find(|(_, acknowledged)| !acknowledged).filter(|_| random.below(2) == 0)
        {
            lost += 1;
            let was_there = batch.key.is_some() && batch.groups.iter().any(|g| newest[g] == batch.number);
            let (batch, done) = acknowledged(start(&lab, batch.clone()));
            assert!(done);
            let now = shown(&lab);
            let complete = batch.groups.iter().all(|g| now[g] == batch.number);
            // a key that went through before the kill is not applied again over the other batch
            assert!(complete || batch.key.is_some(), "{batch:?}: {now:?}");
            assert!(!was_there || now == newest, "applied twice: {batch:?}");
            newest = now;
        }
        eprintln!("round {round}: {:?}", ended.iter().map(|(b, a)| (b.number, *a)).collect::<Vec<_>>());
    }
    eprintln!("{rounds} rounds, {killed} killed while they ran, {lost} run again, an ingest takes {whole} ms");
    let before = leftovers(&lab).len();
    let cleaned = lab.run(&["compact", "--older-than-hours", "0"]);
    assert_eq!(cleaned.code, Some(0), "{cleaned:?}");
    assert_eq!(shown(&lab), newest, "cleaning takes no row");
    assert!(leftovers(&lab).iter().all(|path| !path.to_string_lossy().contains('#')), "of {before} files");
    check_searches(&lab, None, &newest);
    assert_eq!(lab.run(&["verify"]).code, Some(0));
}
