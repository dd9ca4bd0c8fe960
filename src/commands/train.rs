//! `matgenome train`: encoders that learn from a hub's own public values, in place of those that come with the program.

use std::path::Path;

use index::prediction;

use crate::arguments::Common;
use crate::open::{self, Bar};
use crate::output::{Failure, print, write_file};

/// Thousandths: what a bar counts.
const WHOLE: f64 = 1000.0;

/// Trains, and writes the encoders where the hub of the data directory finds them, or to a file.
pub async fn run(common: &Common, steps: usize, out: Option<&Path>) -> Result<u8, Failure> {
    let place = match out {
        Some(out) => out.to_owned(),
        None => prediction::encoders_of(&open::data_dir(common)?),
    };
    let hub = open::hub_to_list(common).await?;
    let snapshot = hub.snapshot();
    let bar = Bar::new();
    let mut watch = |done: f64, _: f32| {
        bar.count((done * WHOLE) as u64, WHOLE as u64, "training");
        true
    };
    let trained = tokio::task::block_in_place(|| prediction::train(&snapshot, steps, &mut watch));
    bar.clear();
    let trained = trained.ok_or_else(|| {
        Failure::new("there is nothing to learn: no public property has values of 100 compositions (ingest some)")
    })?;
    write_file(&place, &trained.to_bytes())?;
    print(format!("learned {} properties: {}", trained.tasks().len(), place.display()))?;
    for task in trained.tasks() {
        print(format!("  {} of {} compositions", task.name, crate::output::thousands(u64::from(task.labels))))?;
    }
    Ok(0)
}
