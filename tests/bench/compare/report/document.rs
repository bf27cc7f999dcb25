//! The place of the report in a document: between two lines.

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- compare:begin -->\n";
const END: &str = "<!-- compare:end -->";

/// The document with `report` in place of what was between its markers.
pub(crate) fn replace_between_markers(document: &str, report: &str) -> Result<String> {
    let missing = || format!("the document has no {} followed by {END}", BEGIN.trim_end());
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    Ok(format!("{before}{BEGIN}\n{report}\n{END}{after}"))
}
