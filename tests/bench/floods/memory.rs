//! How much more memory a process came to hold.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::usage::status;

/// Watches from its making on.
pub(crate) struct Growth {
    process: PathBuf,
    before: f64,
}

impl Growth {
    pub(crate) fn watch(pid: u32) -> Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        // The peak begins anew: clear_refs in proc(5).
        fs::write(process.join("clear_refs"), "5").context("cannot forget a peak of memory")?;
        let before = status(&process, "VmRSS:");
        Ok(Self { process, before })
    }

    /// From the beginning to the peak, in MiB.
    pub(crate) fn mebibytes(&self) -> f64 {
        (status(&self.process, "VmHWM:") - self.before) / 1024.0
    }
}
