//! The system calls of the TUN driver that take raw arguments: the one `unsafe` place of this room.
#![expect(
    unsafe_code,
    reason = "ioctl takes pointers and integers that only the caller can vouch for"
)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::libc::{IFF_TAP, c_int, c_short, c_ulong};

use crate::wire::Layer;

/// Makes the descriptor a queue of the device `name`, which is created if there is none; returns the name that
/// the kernel gave it.
pub(super) fn attach(device: BorrowedFd<'_>, name: &str, flags: c_int) -> nix::Result<String> {
    let mut request = IfReq { name: [0; IFNAMSIZ], flags: flags as c_short, unused: [0; 22] };
    let bytes = name.as_bytes();
    let place = request.name[..IFNAMSIZ - 1].get_mut(..bytes.len());
    place.ok_or(nix::Error::ENAMETOOLONG)?.copy_from_slice(bytes);
    // SAFETY: the descriptor is borrowed, thus open. `request` has the size and layout of `struct ifreq`,
    // which is what TUNSETIFF reads and writes.
    unsafe { raw::set_iff(device.as_raw_fd(), &raw mut request) }?;
    let name = CStr::from_bytes_until_nul(&request.name).map_err(|_| nix::Error::EINVAL)?;
    Ok(name.to_string_lossy().into_owned())
}

/// Name and kind of the device that the descriptor is a queue of.
pub(super) fn device_of(device: BorrowedFd<'_>) -> nix::Result<(String, Layer)> {
    let mut request = IfReq { name: [0; IFNAMSIZ], flags: 0, unused: [0; 22] };
    // SAFETY: the descriptor is borrowed, thus open. TUNGETIFF writes a `struct ifreq`, whose size and layout `request` has.
    unsafe { raw::get_iff(device.as_raw_fd(), &raw mut request) }?;
    let name = CStr::from_bytes_until_nul(&request.name).map_err(|_| nix::Error::EINVAL)?;
    let is_tap = c_int::from(request.flags) & IFF_TAP != 0;
    let layer = if is_tap { Layer::Ethernet } else { Layer::Ip };
    Ok((name.to_string_lossy().into_owned(), layer))
}

/// The network namespace of the device that the descriptor is a queue of.
pub(super) fn namespace_of(device: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    // SAFETY: the descriptor is open, and TUNGETDEVNETNS takes no argument.
    let namespace = unsafe { raw::get_dev_netns(device.as_raw_fd()) }?;
    // SAFETY: the kernel has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Sets the bytes of the virtio header.
pub(super) fn set_virtio_header_size(device: BorrowedFd<'_>, size: c_int) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETVNETHDRSZ reads one integer.
    unsafe { raw::set_vnet_hdr_sz(device.as_raw_fd(), &raw const size) }.map(drop)
}

/// Sets which work the reader of the device takes over.
pub(super) fn set_offload(device: BorrowedFd<'_>, offload: c_ulong) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes its argument by value.
    unsafe { raw::set_offload(device.as_raw_fd(), offload) }.map(drop)
}

/// Lets this user use the device without privilege.
pub(super) fn set_owner(device: BorrowedFd<'_>, user: u32) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETOWNER takes its argument by value.
    unsafe { raw::set_owner(device.as_raw_fd(), user.into()) }.map(drop)
}

/// Lets this group use the device without privilege.
pub(super) fn set_group(device: BorrowedFd<'_>, group: u32) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETGROUP takes its argument by value.
    unsafe { raw::set_group(device.as_raw_fd(), group.into()) }.map(drop)
}

/// Makes the device outlive its descriptor.
pub(super) fn set_persistent(device: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the descriptor is open, and TUNSETPERSIST takes its argument by value.
    unsafe { raw::set_persist(device.as_raw_fd(), 1) }.map(drop)
}

/// `struct ifreq` of `net/if.h`, as far as TUNSETIFF uses it.
#[repr(C)]
pub(super) struct IfReq {
    name: [u8; IFNAMSIZ],
    flags: c_short,
    unused: [u8; 22],
}

const IFNAMSIZ: usize = nix::libc::IFNAMSIZ;
const _: () = assert!(size_of::<IfReq>() == size_of::<nix::libc::ifreq>());

mod raw {
    use nix::libc::c_int;

    // TUNSETIFF is declared with an integer and takes a `struct ifreq` all the same.
    nix::ioctl_readwrite_bad!(
        set_iff,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        super::IfReq
    );
    // TUNGETIFF likewise.
    nix::ioctl_read_bad!(
        get_iff,
        nix::request_code_read!(b'T', 210, size_of::<c_int>()),
        super::IfReq
    );
    nix::ioctl_write_int!(set_persist, b'T', 203);
    nix::ioctl_write_int!(set_owner, b'T', 204);
    nix::ioctl_write_int!(set_group, b'T', 206);
    nix::ioctl_write_int!(set_offload, b'T', 208);
    nix::ioctl_none!(get_dev_netns, b'T', 227);
    nix::ioctl_write_ptr!(set_vnet_hdr_sz, b'T', 216, c_int);
}
