//! `matgenome screen`: what may be said of the formulas of a file.

use std::io::Read as _;
use std::path::Path;

use index::candidate::Verdict;
use index::scope::Viewer;
use index::screen::{ScreenAnswer, ScreenCandidate, ScreenSpec};
use index::{spec, tabular};

use crate::arguments::{Common, Screen, TextFormat};
use crate::open::{self, Bar};
use crate::output::{Failure, print_bytes, short, table, thousands, write_file};

/// Exit code: no candidate can meet the spec.
const NOTHING_MEETS: u8 = 4;

/// Headers that mean the formula, in lower case, the likeliest first.
const FORMULA: [&str; 7] =
    ["formula", "composition", "pretty_formula", "formula_pretty", "chemical_formula", "reduced_formula", "material"];

/// Rows of a table for people, at most.
const SHOWN: usize = 50;

/// A file of candidates.
struct File {
    header: csv::StringRecord,
    rows: Vec<csv::StringRecord>,
    formula: usize,
    separator: u8,
}

/// Screens the candidates of a file.
pub async fn run(common: &Common, arguments: &Screen) -> Result<u8, Failure> {
    let file = File::read(&arguments.candidates, arguments.formula.as_deref())?;
    let spec = match &arguments.spec {
        None => None,
        Some(path) => {
            let shown = path.display();
            let text = std::fs::read(path).map_err(|e| Failure::usage(format!("cannot read the spec {shown}: {e}")))?;
            Some(spec::from_json(&text).map_err(|e| Failure::usage(format!("spec {shown}: {e}")))?)
        }
    };
    let candidates = file.rows.iter().map(|row| ScreenCandidate::of(row.get(file.formula).unwrap_or_default()));
    let question = ScreenSpec { candidates: candidates.collect(), spec, properties: arguments.property.clone() };
    let hub = open::hub_to_list(common).await?;
    let bar = Bar::new();
    let mut watch = |done: usize, total: usize| {
        bar.count(done as u64, total as u64, "properties");
        true
    };
    let answer = tokio::task::block_in_place(|| hub.screen(&question, Viewer::Owner, &mut watch));
    bar.clear();
    let answer = answer.map_err(|e| match e {
        index::hub::HubError::Spec(e) => Failure::usage(e.to_string()),
        other => other.into(),
    })?;
    let format = arguments.format.unwrap_or(match &arguments.out {
        Some(_) => TextFormat::Csv,
        None => TextFormat::Table,
    });
    let bytes = match format {
        TextFormat::Table => people(&answer).into_bytes(),
        TextFormat::Json => {
            let mut bytes = serde_json::to_vec_pretty(&answer).map_err(Failure::new)?;
            bytes.push(b'\n');
            bytes
        }
        TextFormat::Csv => file.with(&answer)?,
    };
    match &arguments.out {
        Some(path) => write_file(path, &bytes)?,
        None => print_bytes(&bytes)?,
    }
    let open = |verdict: &Verdict| answer.meta.verdicts.get(verdict).is_some_and(|n| *n > 0);
    let none = question.spec.is_some() && !open(&Verdict::Pass) && !open(&Verdict::Unknown);
    Ok(if none { NOTHING_MEETS } else { 0 })
}

impl File {
    fn read(path: &Path, named: Option<&str>) -> Result<File, Failure> {
        let shown = path.display();
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
        } else {
            std::fs::read(path).map(|read| bytes = read)
        };
        read.map_err(|e| Failure::usage(format!("cannot read the candidates {shown}: {e}")))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}');
        let first = text.lines().next().unwrap_or_default();
        let most = [b'\t', b';', b','].into_iter().max_by_key(|c| first.bytes().filter(|byte| byte == c).count());
        let separator = most.unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).from_reader(text.as_bytes());
        let refuse = |e: csv::Error| Failure::usage(format!("candidates {shown}: {e}"));
        let header = reader.headers().map_err(refuse)?.clone();
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().map_err(refuse)?;
        let lower: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
        let column = |name: &str| lower.iter().position(|own| own == name);
        let formula = match named {
            Some(named) => column(&named.trim().to_lowercase()),
            None => FORMULA.iter().find_map(|name| column(name)).or((header.len() == 1).then_some(0)),
        };
        let columns = || header.iter().collect::<Vec<_>>().join(", ");
        let formula = formula.ok_or_else(|| match named {
            Some(named) => {
                Failure::usage(format!("candidates {shown}: there is no column {named}; there are {}", columns()))
            }
            None => Failure::usage(format!(
                "candidates {shown}: no column is called formula or composition; name one with --formula COLUMN: {}",
                columns()
            )),
        })?;
        if rows.is_empty() {
            return Err(Failure::usage(format!(
                "candidates {shown}: there is no row below the header `{}`",
                columns()
            )));
        }
        Ok(File { header, rows, formula, separator })
    }

    /// The rows as they came, with what is said of each behind them.
    fn with(&self, answer: &ScreenAnswer) -> Result<Vec<u8>, Failure> {
        let (names, cells) = tabular::screened(answer);
        let mut out = csv::WriterBuilder::new().delimiter(self.separator).flexible(true).from_writer(Vec::new());
        let header = self.header.iter().chain(names.iter().map(String::as_str));
        out.write_record(header).map_err(Failure::new)?;
        for (row, cells) in self.rows.iter().zip(cells) {
            // a row that is too short must not move what is behind it
            let own = (0..self.header.len()).map(|at| row.get(at).unwrap_or_default());
            out.write_record(own.chain(cells.iter().map(String::as_str))).map_err(Failure::new)?;
        }
        out.into_inner().map_err(Failure::new)
    }
}

fn people(answer: &ScreenAnswer) -> String {
    let meta = &answer.meta;
    let judged = answer.results.iter().any(|result| result.verdict.is_some());
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for (key, value) in answer.results.iter().flat_map(|result| &result.properties) {
        if !keys.iter().any(|(known, _)| known == key) {
            keys.push((key, &value.unit));
        }
    }
    let mut header = vec!["formula".to_owned()];
    header.extend(judged.then(|| ["verdict", "probability"].map(String::from)).into_iter().flatten());
    header.extend(
        keys.iter().flat_map(|(key, unit)| [format!("{key} [{unit}]"), "90 % interval".into(), "evidence".into()]),
    );
    let mut shown = table(["formula"]);
    shown.set_header(header);
    for result in answer.results.iter().take(SHOWN) {
        let mut row = vec![result.formula.clone()];
        if let Some(error) = &result.error {
            row.push(error.clone());
            shown.add_row(row);
            continue;
        }
        if judged {
            row.push(result.verdict.map_or_else(String::new, |verdict| tabular::word(verdict).to_owned()));
            row.push(result.probability.map_or_else(|| "–".to_owned(), short));
        }
        for (key, _) in &keys {
            let value = result.properties.get(*key);
            let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), short);
            row.push(number(value.and_then(|value| value.value)));
            row.push(match value.and_then(|value| value.lower.zip(value.upper)) {
                Some((lower, upper)) => format!("{} to {}", short(lower), short(upper)),
                None => "–".to_owned(),
            });
            row.push(value.map_or_else(String::new, |value| value.evidence.to_string()));
        }
        shown.add_row(row);
    }
    let more = match answer.results.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("{} more: --out FILE or --format csv has them all\n", thousands(more as u64)),
    };
    let count = |verdict| thousands(meta.verdicts.get(&verdict).copied().unwrap_or_default() as u64);
    let verdicts = if judged {
        format!("{} pass, {} fail, {} unknown; ", count(Verdict::Pass), count(Verdict::Fail), count(Verdict::Unknown))
    } else {
        String::new()
    };
    format!(
        "{shown}\n{more}{verdicts}{} candidates, {} of them in the hub, {} could not be read; version {}, {:.1} s\n",
        thousands(answer.results.len() as u64),
        thousands(meta.known as u64),
        thousands(meta.errors as u64),
        meta.version,
        meta.took_ms / 1e3
    )
}
