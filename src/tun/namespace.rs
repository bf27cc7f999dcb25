//! Network namespaces: names and indices of devices mean something in one of them only.

use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;

use super::ioctl;

/// The number of this thread's network namespace, which no other has at the same time; `None` if it cannot be told.
pub(crate) fn here() -> Option<u64> {
    fs::metadata("/proc/thread-self/ns/net").ok().map(|namespace| namespace.ino())
}

/// Whether the device that the descriptor is a queue of is in this thread's network namespace. It may have been moved.
/// Where that cannot be told (before Linux 5.2, without the privilege, or without /proc) it is taken for yes.
pub(super) fn has(device: BorrowedFd<'_>) -> bool {
    let of_device = ioctl::namespace_of(device).map(File::from).ok();
    let number = of_device.and_then(|namespace| namespace.metadata().ok()).map(|it| it.ino());
    here().is_none_or(|here| number.is_none_or(|number| number == here))
}
