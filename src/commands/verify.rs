//! `matgenome verify`: is every stored record what was committed?

use datasets::table::Table;

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, print, thousands};

/// Exit code: there are defects.
const DEFECTIVE: u8 = 1;

/// Reads every live data file; prints one line a defect.
pub async fn run(common: &Common) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let table = Table::open(&data_dir).await?;
    let table = table.ok_or_else(|| Failure::new(format!("{} holds no tables", data_dir.display())))?;
    let defects = table.verify().await?;
    for defect in &defects {
        print(defect.split_whitespace().collect::<Vec<_>>().join(" "))?;
    }
    let files = table.files()?;
    if !defects.is_empty() {
        return Ok(DEFECTIVE);
    }
    let records: usize = files.iter().filter_map(|f| f.rows).sum();
    print(format!(
        "version {}: {} records in {} files of {} datasets, all as they were committed",
        table.version(),
        thousands(records as u64),
        files.len(),
        table.datasets()?.len()
    ))?;
    Ok(0)
}
