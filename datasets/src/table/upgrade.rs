//! Tables of older versions of the program: their schema is brought up to date.

use deltalake::DeltaTableError;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::{Action, MetadataExt as _, StructField, StructType};

use super::write::TRIES;
use super::{CommitInfo, Table, TableError};
use crate::columns::table_schema;

impl Table {
    /// Adds the columns that the table's schema lacks, so that other readers of Delta tables see them. Old data files
    /// stay as they are: what they lack is null. Of several processes at once, one commits and the others see it.
    pub(super) async fn upgrade(&mut self) -> Result<(), TableError> {
        let wanted: StructType = (&table_schema()).try_into_kernel()?;
        for _ in 0..TRIES {
            let state = self.delta.snapshot()?;
            let found = state.schema();
            // a required column cannot be added: old files do not have it
            let missing = wanted.fields().filter(|f| f.nullable && found.field(f.name()).is_none());
            let missing: Vec<StructField> = missing.cloned().collect();
            if missing.is_empty() {
                return Ok(());
            }
            let fields = found.fields().cloned().chain(missing);
            let schema = StructType::try_new(fields).map_err(DeltaTableError::from)?;
            let metadata = state.metadata().clone().with_schema(&schema).map_err(DeltaTableError::from)?;
            let info = CommitInfo { operation: "upgrade".into(), ..Default::default() };
            if self.commit(vec![Action::Metadata(metadata)], &[], &[], &info, &[]).await?.is_some() {
                return Ok(());
            }
            self.refresh().await?;
        }
        Err(TableError::Contended(TRIES))
    }
}
