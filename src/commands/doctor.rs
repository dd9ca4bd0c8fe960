//! `matgenome doctor`: what machine is this, which devices does it see, which does it take, and why?

use datasets::bundled;
use datasets::table::Table;
use gpu::Device;

use crate::arguments::Common;
use crate::open;
use crate::output::{Failure, print, thousands};

/// Prints what the program sees; changes nothing.
pub async fn run(common: &Common) -> Result<u8, Failure> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    print(format!("program     matgenome {}", env!("CARGO_PKG_VERSION")))?;
    print(format!("machine     {} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH))?;
    let cpu = Device::cpu().describe();
    print(format!("cpu         {} ({})", cpu.name, cpu.driver))?;
    let adapters = gpu::adapters();
    if adapters.is_empty() {
        print("gpus        none: no Vulkan, Metal or DirectX 12 driver is installed")?;
    }
    for adapter in &adapters {
        print(format!(
            "gpu         {} ({}, {}, {}; {} MiB a binding)",
            adapter.name,
            adapter.kind,
            adapter.backend,
            adapter.driver,
            adapter.max_binding_bytes >> 20
        ))?;
    }
    let failed = match open::device(common) {
        Ok(device) => {
            let taken = device.describe();
            let why = taken.note.map(|note| format!(": {note}")).unwrap_or_default();
            print(format!("takes       {} (asked for `{}`){why}", taken.name, common.device))?;
            None
        }
        Err(e) => {
            print(format!("takes       nothing (asked for `{}`)", common.device))?;
            Some(e)
        }
    };
    data(common).await?;
    failed.map_or(Ok(0), Err)
}

async fn data(common: &Common) -> Result<(), Failure> {
    let data_dir = open::data_dir(common)?;
    let table = if data_dir.is_dir() { Table::open(&data_dir).await? } else { None };
    let Some(table) = table else {
        return print(format!("data        {}: empty; the first command fills it", data_dir.display()));
    };
    let files = table.files()?;
    let rows: u64 = files.iter().filter_map(|f| f.rows).map(|n| n as u64).sum();
    let bytes: u64 = files.iter().map(|f| f.size).sum();
    print(format!(
        "data        {}: version {}, {} records in {} files, {} MiB",
        data_dir.display(),
        table.version(),
        thousands(rows),
        files.len(),
        bytes >> 20
    ))?;
    let names: Vec<String> = table.datasets()?.into_keys().collect();
    print(format!("datasets    {}", names.join(", ")))?;
    if bundled::is_wanted(&table).await? && !common.no_bundled {
        print("bundle      is newer than the data; the next command loads it")?;
    }
    let kept = index::store::load(&data_dir, table.version());
    print(match kept {
        Ok(Some(_)) => "snapshot    kept and sound".to_owned(),
        Ok(None) => "snapshot    none of this version; the next command builds it".to_owned(),
        Err(why) => format!("snapshot    will be built anew: {why}"),
    })
}
