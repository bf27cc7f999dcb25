//! Whether somebody keeps the clock right.
#![expect(unsafe_code, reason = "adjtimex takes a pointer to what it fills in")]

use std::mem::MaybeUninit;

use nix::libc;

/// Whether the kernel's clock is synchronised, as whoever sets it says; `None`: the kernel does not tell.
pub(super) fn synchronised() -> Option<bool> {
    let mut about = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: zero is a valid `struct timex`, and with no mode set, adjtimex changes nothing and fills it in.
    let state = unsafe { libc::adjtimex(about.as_mut_ptr()) };
    // SAFETY: all of it was initialised: see above.
    let status = unsafe { about.assume_init() }.status;
    (state >= 0).then_some(status & libc::STA_UNSYNC == 0)
}
