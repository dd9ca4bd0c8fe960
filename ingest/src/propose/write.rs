//! How is a proposal written down? The mapping as TOML, with what is to be stated, checked and left out as comments.

use serde_json::json;

use super::{Proposal, Role};

/// Names that are listed before the rest is only counted.
const MOST_LISTED: usize = 30;

/// The role in words.
pub(super) fn word(role: Role) -> String {
    json!(role).as_str().unwrap_or_default().replace('_', " ")
}

/// A text without what would break its line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2_000).collect()
}

/// The first texts, and how many more there are.
pub(super) fn listed(texts: impl Iterator<Item = String>, between: &str) -> String {
    let mut texts: Vec<String> = texts.collect();
    if texts.len() > MOST_LISTED {
        let more = texts.len() - MOST_LISTED;
        texts.truncate(MOST_LISTED);
        texts.push(format!("{more} more"));
    }
    texts.join(between)
}

impl Proposal {
    /// The mapping as a text to be mended, with comments; `dataset` names the dataset where the mapping does not.
    ///
    /// # Errors
    /// Something in it has no form in TOML.
    pub fn to_toml(&self, dataset: Option<&str>) -> Result<String, toml::ser::Error> {
        let mut text =
            String::from("# Proposed from headers and first rows. Look at it, mend it, and ingest with --mapping.\n");
        let mut comment = |what: &str, of: &[String]| {
            for line in of {
                text.push_str(&format!("# {what}: {}\n", one_line(line)));
            }
        };
        comment("to be stated", &self.to_state);
        comment("to be checked", &self.to_check);
        if self.file.defaults.source.is_none() {
            text.push_str("# where the values are from, in [defaults]: source = \"doi:10...\"\n");
        }
        text.push('\n');
        let body = self.file.to_toml()?;
        if self.file.dataset.is_some() {
            return Ok(text + &body);
        }
        let head = match dataset {
            Some(name) => format!("[dataset]\nname = {}\n", json!(name)),
            None => "# [dataset]\n# name = \"my-lab\"\n".to_owned(),
        };
        let terms = format!(
            "{head}# title = \"\"\n# contributor = \"\"\n# licence = \"CC-BY-4.0\"\n# citation = \"\"\n\
             # visibility = \"private\"\n\n"
        );
        // keys of no table stand before all tables
        Ok(if self.file.derive.is_empty() { text + &terms + &body } else { text + &body + "\n" + &terms })
    }
}
