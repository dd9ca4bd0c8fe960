//! `matgenome bundle`: packs the datasets of a data directory as the bundle that comes with the program.

use std::path::Path;

use datasets::bundled::{self, BundledDataset, Catalogue};
use datasets::columns::RecordColumns;
use datasets::table::{Effort, Table, encode};

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, print, thousands, write_file};

/// Writes one Parquet file for every 65,536 records of a dataset, in id order, and the catalogue.
pub async fn run(common: &Common, out: &Path) -> Result<u8, Failure> {
    let data_dir = open::data_dir(common)?;
    let table = Table::open(&data_dir).await?;
    let table = table.ok_or_else(|| Failure::new(format!("{} holds no tables", data_dir.display())))?;
    let mut catalogue = Catalogue { revision: bundled::catalogue()?.revision + 1, dataset: Vec::new() };
    let mut total = 0;
    for (name, terms) in table.datasets()? {
        let mut records = Vec::new();
        for file in table.files()?.iter().filter(|f| f.dataset == name) {
            for batch in table.batches(file).await? {
                let columns = RecordColumns::read(&batch).map_err(Failure::new)?;
                records.extend((0..columns.len()).map(|row| columns.record(row)));
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        let mut materials: Vec<String> = records.iter().map(datasets::record::Record::material_id).collect();
        materials.sort_unstable();
        materials.dedup();
        let mut files = Vec::new();
        for (n, chunk) in records.chunks(datasets::table::ROWS_PER_FILE).enumerate() {
            let bytes = encode(chunk, Effort::Thorough)?;
            total += bytes.len();
            let file = format!("{name}-{n:02}.parquet");
            write_file(&out.join(&file), &bytes)?;
            files.push(file);
        }
        print(format!("{name}: {} records", thousands(records.len() as u64)))?;
        catalogue.dataset.push(BundledDataset {
            records: records.len() as u64,
            materials: materials.len() as u64,
            values: records.iter().map(|r| r.measurements.len() as u64).sum(),
            files,
            terms,
        });
    }
    let text = toml::to_string(&catalogue).map_err(Failure::new)?;
    let header = "# The bundled datasets, made by `make bundle`; do not edit.\n\n";
    write_file(&out.join("catalogue.toml"), format!("{header}{text}").as_bytes())?;
    print(format!("{:.1} MB in all", total as f64 / 1e6))?;
    Ok(0)
}
