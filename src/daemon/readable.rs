//! A descriptor that control waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes control when there is something to read.
pub(super) struct Readable(AsyncFd<OwnedFd>);

impl Readable {
    /// To be made on the runtime that waits for it; `fd` does not block.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "tokio asks for a promise about descriptors")]
        // SAFETY: the `AsyncFd` owns the descriptor, which stays open and the same until it is dropped.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? };
        Ok(Self(fd))
    }

    /// Waits until something came since the last time. Whoever reads must then read all of it.
    pub(super) async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
