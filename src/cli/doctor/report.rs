//! What was found, for a person or for a program.

use serde::Serialize;

use super::finding::{Finding, Verdict};

/// The findings, worded; with `json` as one line of JSON.
pub(super) fn text(findings: &[Finding], json: bool) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'f> {
        /// Whether the link can start.
        ok: bool,
        findings: &'f [Finding],
    }
    let ok = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
    if json {
        return crate::cli::json(&Document { ok, findings });
    }
    let lines: String = findings.iter().map(line).collect();
    Ok(lines + if ok { "The link can start.\n" } else { "" })
}

fn line(Finding { check, verdict, text, command }: &Finding) -> String {
    let line = format!("{:<8} {check:<13} {text}\n", verdict.name());
    match command {
        Some(command) => format!("{line}{:22} try: {command}\n", ""),
        None => line,
    }
}
