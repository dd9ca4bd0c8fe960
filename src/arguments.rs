//! The command line: every command and flag, declared once; help and usage errors follow from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Find materials for a target spec, in an open hub of measured and computed records.
#[derive(Debug, Parser)]
#[command(name = "matgenome", version, about, long_about = None, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done with refused rows (ingest), \
                        4 nothing meets the spec (suggest, screen)")]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Data directory [default: the platform's data directory]
    #[arg(long, global = true, env = "MATGENOME_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Device that searches: auto, cpu, or part of an adapter's name (see `doctor`)
    #[arg(long, global = true, env = "MATGENOME_DEVICE", value_name = "NAME", default_value = "auto")]
    pub device: String,
    /// The most device memory that data may take, in MiB [default: as much as the driver gives]
    #[arg(long, global = true, env = "MATGENOME_DEVICE_MEMORY", value_name = "MIB")]
    pub device_memory: Option<u32>,
    /// Leave an empty data directory empty, instead of loading the bundled datasets
    #[arg(long, global = true)]
    pub no_bundled: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the web API and its documentation
    Serve(Serve),
    /// Put the rows of files into a dataset
    Ingest(Ingest),
    /// Find candidates for a target spec
    Suggest {
        /// The spec as a JSON file, or - for standard input
        spec: PathBuf,
        /// Number of candidates, in place of the spec's
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Form of the answer
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Write the answer to a file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Find the materials that are like one
    Similar(Similar),
    /// Find materials that could stand in for one, without some elements
    Substitute(Substitute),
    /// Say of each formula of a file whether it could meet a spec, and what its properties may be
    Screen(Screen),
    /// Predict what is not known, ahead of the questions about it; a server does so in the background
    Predict {
        /// Keys of the properties [default: all that can be predicted]
        #[arg(value_name = "PROPERTY")]
        properties: Vec<String>,
    },
    /// Show all that is known of a material, with its sources
    Show {
        /// Id, formula or name
        material: String,
        /// Also what is predicted of the properties that nothing is known of
        #[arg(long)]
        predicted: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the property dictionary, and the datasets' own properties
    Properties {
        /// Only properties whose key, name or group contains this
        search: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the datasets with their terms and counts
    Datasets {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the commits of the table
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write records to a file that others read, and that `ingest` takes back
    Export(Export),
    /// Say what machine this is, which devices there are, which one is taken, and why
    Doctor,
    /// Merge small data files into large ones, and remove what failed or killed jobs left behind
    Compact {
        /// Remove only files that no version names and that are at least this many hours old; give more than the
        /// longest job takes
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        older_than_hours: u32,
    },
    /// Read all stored records, and say what is not as it was committed
    Verify,
    /// Train the encoders that predictions rest on from the hub's own public values, in place of those that come with the program
    Train {
        /// Steps of each of the four encoders; more are better, up to a point
        #[arg(long, value_name = "N", default_value_t = 8000, value_parser = clap::value_parser!(usize))]
        steps: usize,
        /// File to write them to [default: where the hub of the data directory looks for them]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Pack the datasets of a data directory as the bundle that comes with the program
    #[command(hide = true)]
    Bundle {
        /// Folder to write the Parquet files and the catalogue to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "The ingest token may be given in the environment variable MATGENOME_INGEST_TOKEN instead of a file. \
                        Without one, nothing is taken in over HTTP."
)]
pub struct Serve {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Take data in over HTTP from whoever has the token in this file
    #[arg(long, value_name = "FILE")]
    pub ingest_token_file: Option<PathBuf>,
    /// Largest upload: bytes, or with KiB, MiB, GiB, kB, MB, GB
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = size)]
    pub max_upload: u64,
    /// Do not predict what is not known in the background
    #[arg(long, env = "MATGENOME_NO_PREDICTIONS", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_predictions: bool,
    /// How many days jobs that have ended are kept, with their reports
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub keep_jobs: u32,
}

/// Reads a size such as `500MB`.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write a whole number and B, kB, MB, GB, KiB, MiB or GiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number, such as 500MB")?;
    match number.checked_mul(scale) {
        Some(0) => Err("nothing fits into that".into()),
        Some(bytes) => Ok(bytes),
        None => Err("that is too large".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (text, bytes) in [("4GiB", 4 << 30), ("500 MB", 500_000_000), ("1", 1), ("7KiB", 7168), (" 2kB ", 2000)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GiB", "4 gigabytes", "-1", "1.5GB", "0", "0MB", "99999999999GiB", "184467440737095516160"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}

/// Arguments of `ingest`.
#[derive(Debug, Args)]
pub struct Ingest {
    /// Files, archives or folders: CSV, Excel, ODS, JSON, TOML, YAML, Parquet, Arrow, CIF, POSCAR, XYZ, OPTIMADE,
    /// FreeCAD cards, exports of a hub
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Dataset to put the records into; needed where the mapping does not name it
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Which column is what; without it, or where it says nothing of material and values, a mapping is proposed from
    /// headers and first rows, and used
    #[arg(long, value_name = "MAP.toml")]
    pub mapping: Option<PathBuf>,
    /// How the values came to be, where no mapping says it: measured, computed or derived
    #[arg(long, value_name = "EVIDENCE")]
    pub evidence: Option<datasets::record::Evidence>,
    /// Write the proposed mapping to a file, to be looked at and mended, and do nothing else
    #[arg(long, value_name = "MAP.toml")]
    pub write_mapping: Option<PathBuf>,
    /// Read and check, show the proposed mapping, and write nothing to the hub
    #[arg(long)]
    pub dry_run: bool,
    /// Write what was refused or flagged as JSON Lines
    #[arg(long, value_name = "REPORT.jsonl")]
    pub report: Option<PathBuf>,
    /// Folder for the refused rows, as files of the format that they came from
    #[arg(long, value_name = "DIR")]
    pub refused: Option<PathBuf>,
    /// Print what became of the job as JSON, as the web API does
    #[arg(long, conflicts_with = "write_mapping")]
    pub json: bool,
    /// A word of your own for this job: a second job of the same word changes nothing
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// Arguments of `similar`.
#[derive(Debug, Args)]
pub struct Similar {
    /// Id, formula or name; a formula may be one that the hub has never seen
    pub material: String,
    /// The space in which they are near: composition, descriptors, properties, learned or structure
    #[arg(long, value_name = "SPACE", default_value = "composition")]
    pub by: index::embedding::Space,
    /// Only materials that match
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Number of materials
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = TextFormat::Table)]
    pub format: TextFormat,
    /// Never answer by an approximate index
    #[arg(long)]
    pub exact: bool,
}

/// Arguments of `substitute`.
#[derive(Debug, Args)]
pub struct Substitute {
    /// Id, formula or name of a material of the hub
    pub material: String,
    /// Elements to do without: Co,Ni
    #[arg(long, value_name = "ELEMENTS", value_delimiter = ',', required = true)]
    pub without: Vec<String>,
    /// Properties that matter [default: all that the material has a known value of]
    #[arg(long, value_name = "PROPERTIES", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// Only materials that match
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// Number of materials
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = TextFormat::Table)]
    pub format: TextFormat,
}

/// Arguments of `screen`.
#[derive(Debug, Args)]
pub struct Screen {
    /// CSV file with a column of formulas, or - for standard input
    pub candidates: PathBuf,
    /// The spec that they are to meet, as a JSON file
    #[arg(long, value_name = "SPEC.json")]
    pub spec: Option<PathBuf>,
    /// A property whose value is wanted, besides those of the spec; may be given more than once
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    pub property: Vec<String>,
    /// Header of the column of formulas [default: formula, composition, or the only column]
    #[arg(long, value_name = "COLUMN")]
    pub formula: Option<String>,
    /// Form of the answer [default: table, with --out csv]
    #[arg(long, value_enum)]
    pub format: Option<TextFormat>,
    /// Write the answer to a file: as CSV the rows of the candidates, with what is said of each behind them
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct Export {
    /// Dataset to export
    #[arg(group = "what")]
    pub dataset: Option<String>,
    /// Only records of materials that match, of all datasets or of the one named
    #[arg(long, value_name = "FILTER", group = "what")]
    pub filter: Option<String>,
    /// Records as an older version has them; `matgenome history` lists the versions
    #[arg(long, value_name = "VERSION", conflicts_with = "filter")]
    pub at: Option<u64>,
    /// Format of the file
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// File to write; - for standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One row a record, with the terms of the datasets
    Parquet,
    /// One row a value, without the terms
    Csv,
    /// One record a line, with the terms of the datasets
    Jsonl,
    /// OPTIMADE entries, with the terms of the datasets
    OptimadeJsonl,
}

impl From<ExportFormat> for datasets::export::Format {
    fn from(format: ExportFormat) -> Self {
        match format {
            ExportFormat::Parquet => Self::Parquet,
            ExportFormat::Csv => Self::Csv,
            ExportFormat::Jsonl => Self::JsonLines,
            ExportFormat::OptimadeJsonl => Self::OptimadeJsonLines,
        }
    }
}

/// Form of an answer that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// For people
    Table,
    /// The document of the web API
    Json,
    /// One row a candidate
    Csv,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The document of the web API
    Json,
    /// One row a candidate
    Csv,
    /// One row a candidate
    Parquet,
    /// One row a candidate, Arrow IPC stream
    Arrow,
}
