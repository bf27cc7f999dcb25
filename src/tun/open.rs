//! From a name to an open device: `/dev/net/tun`, the driver behind it, and what the kernel grants.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::error::TunError;
use super::virtio::VIRTIO_HEADER;
use super::{Offloads, ioctl};
use crate::wire::Layer;

/// Opens the driver, which is loaded if need be.
pub(super) fn open_driver(name: &str) -> Result<File, TunError> {
    let first = match open_node() {
        Err(error) if is_missing(&error) => error,
        result => return result.map_err(|error| open_error(name, error)),
    };
    let modprobe = load_module();
    let detail = match open_node() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && driver_is_registered() => {
            match make_node() {
                Ok(()) => return open_node().map_err(|error| open_error(name, error)),
                Err(error) => format!("{NODE} is missing and cannot be made: {error}"),
            }
        }
        Err(error) if is_missing(&error) => format!("{NODE}: {first}; {modprobe}"),
        result => return result.map_err(|error| open_error(name, error)),
    };
    Err(TunError::NoDriver { name: name.to_owned(), detail })
}

/// What all devices of ours are attached with.
pub(super) fn flags(layer: Layer) -> libc::c_int {
    let kind = match layer {
        Layer::Ip => libc::IFF_TUN,
        Layer::Ethernet => libc::IFF_TAP,
    };
    kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR
}

/// Makes the descriptor that of the device; returns the device's name.
pub(super) fn attach(device: BorrowedFd<'_>, name: &str, layer: Layer) -> Result<String, TunError> {
    let flags = flags(layer);
    let owned = || name.to_owned();
    // A device that was made for several queues wants to hear that it has them; one is enough for us.
    let attached = ioctl::attach(device, name, flags).or_else(|errno| match errno {
        Errno::EINVAL => ioctl::attach(device, name, flags | libc::IFF_MULTI_QUEUE),
        errno => Err(errno),
    });
    attached.map_err(|errno| match errno {
        // The kernel says so of a device of another kind.
        Errno::EINVAL => TunError::Taken { name: owned(), kind: layer.name() },
        Errno::EBUSY => TunError::Busy { name: owned() },
        Errno::EPERM | Errno::EACCES => TunError::AttachDenied { name: owned() },
        _ => TunError::System {
            name: owned(),
            action: "creating or opening the device (TUNSETIFF)",
            source: errno.into(),
        },
    })
}

/// Asks for the short virtio header and for offloads, all or as many as the kernel knows; returns these. Unless reads
/// are `wanted` to bring superpackets, it takes the offloads back: what may be written does not depend on them.
pub(super) fn negotiate(device: &File, name: &str, wanted: bool) -> Result<Offloads, TunError> {
    let device = device.as_fd();
    let failed = |action| {
        move |errno: Errno| TunError::System { name: name.to_owned(), action, source: errno.into() }
    };
    ioctl::set_virtio_header_size(device, VIRTIO_HEADER as libc::c_int)
        .map_err(failed("setting the virtio header (TUNSETVNETHDRSZ)"))?;
    let csum = libc::TUN_F_CSUM;
    let tso = csum | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let uso = tso | libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let steps = [
        (uso, Offloads { tso: true, uso: true }),
        (tso, Offloads { tso: true, uso: false }),
        (csum, Offloads::NONE),
    ];
    let known = steps
        .into_iter()
        .find(|(offload, _)| ioctl::set_offload(device, (*offload).into()).is_ok())
        .map(|(_, known)| known);
    if !wanted || known.is_none() {
        // Said expressly: a device that existed before may have others.
        ioctl::set_offload(device, 0).map_err(failed("turning offloads off (TUNSETOFFLOAD)"))?;
    }
    Ok(known.unwrap_or(Offloads::NONE))
}

fn open_node() -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(NODE)
}

/// Whether the node or the driver behind it is not there.
fn is_missing(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENODEV | Errno::ENXIO))
}

fn open_error(name: &str, source: io::Error) -> TunError {
    let name = name.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied => TunError::OpenDenied { name },
        _ => TunError::System { name, action: "opening /dev/net/tun", source },
    }
}

/// Runs `modprobe tun`, that of the system and without our environment; tells how it went.
fn load_module() -> String {
    let output =
        Command::new("/sbin/modprobe").arg("tun").env_clear().stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => "modprobe tun: done".to_owned(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("modprobe tun: {}, {}", output.status, said.trim())
        }
        Err(error) => format!("modprobe tun: {error}"),
    }
}

/// Whether the kernel has the driver, whatever there is in `/dev`.
pub(crate) fn driver_is_registered() -> bool {
    fs::read_to_string("/proc/misc").is_ok_and(|misc| lists_driver(&misc))
}

/// Whether `/proc/misc`, with lines of minor number and name, has the TUN driver.
fn lists_driver(misc: &str) -> bool {
    misc.lines().any(|line| line.split_whitespace().eq([TUN_MINOR.to_string().as_str(), "tun"]))
}

fn make_node() -> io::Result<()> {
    let path = Path::new(NODE);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, SFlag::S_IFCHR, mode, makedev(MISC_MAJOR, TUN_MINOR))?;
    Ok(())
}

/// The driver's device node.
pub(crate) const NODE: &str = "/dev/net/tun";
/// Major number of miscellaneous devices, and the minor number of the TUN driver among them.
const MISC_MAJOR: u64 = 10;
const TUN_MINOR: u64 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_found_among_the_miscellaneous_devices() {
        assert!(lists_driver("229 fuse\n200 tun\n 10 hw_random\n"));
        assert!(!lists_driver("229 fuse\n200 tunnel\n 20 tun\n"));
        assert!(!lists_driver(""));
    }

    #[test]
    fn a_missing_driver_is_told_from_a_forbidden_one() {
        for errno in [Errno::ENOENT, Errno::ENODEV, Errno::ENXIO] {
            assert!(is_missing(&errno.into()));
        }
        assert!(!is_missing(&Errno::EACCES.into()));
        let error = open_error("tun7", Errno::EACCES.into());
        assert!(matches!(error, TunError::OpenDenied { .. }));
        assert!(error.to_string().starts_with("tun7: no permission"), "{error}");
    }
}
