//! What does the hub know of the materials of a job? Asked after reading and before the commit.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use datasets::table::{Table, TableError};

use super::{Accepted, Done, JobError, Phase, Request, Watch, read};
use crate::check::Known;
use crate::report::{Code, Severity};

/// Records of the hub that are looked at; of a larger one every n-th file.
const MOST_ROWS: usize = 4 << 20;

impl Accepted {
    /// Compares a sample of the values with each other and with what a table knows of the same materials, where there is
    /// one, and reports columns and values whose unit is probably wrong. Only public datasets are asked, and those of the
    /// job itself. Where the table cannot be read the report says so, and the job goes on: nothing of it depends on the
    /// answer.
    ///
    /// # Errors
    /// The job was cancelled, or the file of findings cannot be written.
    pub async fn compare(&mut self, table: Option<&Table>, watch: &Watch) -> Result<(), JobError> {
        watch.go_on()?;
        let mut known = None;
        let own: HashSet<String> = self.sets.iter().map(|(info, _)| info.name.clone()).collect();
        let mut findings = match self.known(table, &own).await {
            Ok(found) => {
                known = found;
                known.iter().flat_map(|known| self.noted.suspects(known, &own, &self.places)).collect()
            }
            Err(why) => {
                let why = format!("the values were not compared with those of the hub: {why}");
                let mend = "see `matgenome verify`; the job itself is not affected";
                vec![self.places.of_table(0).finding(Severity::Flagged, Code::NotCompared, (None, None), why, mend)]
            }
        };
        let steps = self.noted.steps(known.as_ref(), &own, &self.places, &findings);
        findings.extend(steps);
        if let (false, Some(path)) = (findings.is_empty(), &self.report_file) {
            let mut lines = Vec::new();
            let failed = |why| JobError::Write { path: path.clone(), why };
            for finding in &findings {
                serde_json::to_writer(&mut lines, finding).map_err(|why| failed(why.into()))?;
                lines.push(b'\n');
            }
            OpenOptions::new().append(true).open(path).and_then(|mut file| file.write_all(&lines)).map_err(failed)?;
        }
        findings.into_iter().for_each(|finding| self.report.add(finding));
        watch.go_on()
    }

    /// What the table knows of the materials; `None` where there is nothing to ask.
    async fn known(&self, table: Option<&Table>, own: &HashSet<String>) -> Result<Option<Known>, TableError> {
        let Some(table) = table else { return Ok(None) };
        let asked = table.datasets()?.into_values().filter(|info| info.is_public() || own.contains(&info.name));
        let Some((wanted, mut known)) = self.noted.wanted(asked.map(|info| info.name)) else { return Ok(None) };
        table.stated(&Arc::new(wanted), MOST_ROWS, &mut |stated| known.add(&stated)).await?;
        Ok(Some(known))
    }
}

/// Reads files, compares them with the table where there is one, and changes nothing: a dry run. What does not fit in
/// memory lies in the folder `scratch`.
///
/// # Errors
/// See [`JobError`].
pub async fn check(table: Option<&Table>, request: &Request, scratch: &Path, watch: &Watch) -> Result<Done, JobError> {
    let (asked, scratch, watching) = (request.clone(), scratch.to_owned(), watch.clone());
    let reading = tokio::task::spawn_blocking(move || read(&asked, &scratch, &watching));
    let mut accepted = reading.await.map_err(|e| JobError::Broken(e.to_string()))??;
    accepted.compare(table, watch).await?;
    watch.enter(Phase::Done);
    Ok(accepted.into())
}
