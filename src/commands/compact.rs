//! `matgenome compact`: small data files become large ones, and what failed jobs left is removed.

use std::time::Duration;

use datasets::table::Table;

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, print, thousands};

/// Compacts each dataset, then cleans orphans.
pub async fn run(common: &Common, older_than_hours: u32) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let table = Table::open(&data_dir).await?;
    let mut table = table.ok_or_else(|| Failure::new(format!("{} holds no tables", data_dir.display())))?;
    let mut datasets: Vec<String> = table.files()?.into_iter().map(|f| f.dataset).collect();
    datasets.dedup();
    for dataset in datasets {
        let done = table.compact(&dataset).await?;
        let records = thousands(done.records);
        if done.committed {
            let (before, after, version) = (done.before, done.after, done.version);
            print(format!(
                "{dataset}: {records} records, from {before} files to {after}; committed as version {version}"
            ))?;
        } else {
            print(format!("{dataset}: {records} records in {} files; nothing to do", done.before))?;
        }
    }
    let cleaned = table.clean_orphans(Duration::from_secs(u64::from(older_than_hours) * 3600)).await?;
    print(format!(
        "{} files that no version names removed, {} bytes (older than {older_than_hours} h)",
        thousands(cleaned.files),
        thousands(cleaned.bytes)
    ))?;
    Ok(0)
}
