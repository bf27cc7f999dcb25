//! A plain TUN or TAP device in a namespace: packets or frames one by one, and nothing before them.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;

use nix::libc;
use nix::sched::{CloneFlags, setns};

/// Makes the device `name` of this kind, `IFF_TUN` or `IFF_TAP`, in a namespace of `ip netns`; it vanishes with the descriptor, which does not block.
pub(crate) fn open(namespace: &str, name: &'static str, kind: c_int) -> io::Result<File> {
    let namespace = File::open(format!("/run/netns/{namespace}"))?;
    // A device belongs to the namespace of the thread that makes it.
    let thread = thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let mut options = OpenOptions::new();
        let device = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let device = device.open("/dev/net/tun")?;
        driver::attach(device.as_fd(), name, kind | libc::IFF_NO_PI)?;
        Ok(device)
    });
    thread.join().expect("it does not panic")
}

/// The driver's one system call.
#[expect(unsafe_code, reason = "ioctl takes a pointer that only the caller can vouch for")]
mod driver {
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    use super::{c_int, libc};

    /// Makes the descriptor that of a new device `name`.
    pub(super) fn attach(device: BorrowedFd<'_>, name: &str, flags: c_int) -> nix::Result<()> {
        let mut request = Request { name: [0; libc::IFNAMSIZ], flags: flags as _, unused: [0; 22] };
        // One byte is left for the end of the name.
        let place = request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len());
        place.ok_or(nix::Error::ENAMETOOLONG)?.copy_from_slice(name.as_bytes());
        // SAFETY: the descriptor is borrowed, thus open. `request` has the size and layout of `struct ifreq`,
        // which is what TUNSETIFF reads and writes.
        unsafe { set_iff(device.as_raw_fd(), &raw mut request) }.map(drop)
    }

    /// `struct ifreq` of `net/if.h`, as far as TUNSETIFF uses it.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        unused: [u8; 22],
    }
    const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

    // TUNSETIFF is declared with an integer and takes a `struct ifreq` all the same.
    nix::ioctl_readwrite_bad!(
        set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        Request
    );
}
