//! The underlay: a virtual cable from one host to the other.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::{Error, Handle, LinkUnspec, LinkVeth};

use super::host::Host;
use super::plan;

/// The name of either end of the cable, each in its own host.
const CABLE: &str = "underlay";

/// What the other end is called until it is in the other host.
const FAR_END: &str = "far-end";

/// Lays the cable between two hosts, gives its ends their addresses, and brings all up.
pub(super) fn connect(a: &Host, b: &Host) -> Result<()> {
    let to = b.run(|| Ok(File::open("/proc/thread-self/ns/net")?))?;
    a.run(move || {
        netlink(async |handle| {
            let pair = LinkVeth::new(CABLE, FAR_END).build();
            handle.link().add(pair).execute().await.map_err(plain).context(
                "cannot make a veth pair: load its driver with `modprobe veth` (CONFIG_VETH)",
            )?;
            let far_end = LinkUnspec::new_with_index(if_nametoindex(FAR_END)?)
                .setns_by_fd(to.as_raw_fd())
                .name(CABLE)
                .build();
            handle
                .link()
                .set(far_end)
                .execute()
                .await
                .map_err(plain)
                .context("cannot move an end of the veth pair to the other host")
        })
    })?;
    for (host, address) in [a, b].into_iter().zip(plan::UNDERLAY) {
        host.run(move || netlink(async move |handle| bring_up(&handle, address.into()).await))?;
    }
    Ok(())
}

/// An error if the device of the tunnel is still there.
pub(super) fn expect_gone(host: &Host) -> Result<()> {
    let name = host.name();
    host.run(move || match if_nametoindex(plan::DEVICE) {
        Err(Errno::ENODEV) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(_) => bail!("the daemon of host {name} left its device behind"),
    })
}

async fn bring_up(handle: &Handle, address: IpAddr) -> Result<()> {
    let cable = if_nametoindex(CABLE)?;
    handle
        .address()
        .add(cable, address, plan::UNDERLAY_PREFIX)
        .execute()
        .await
        .map_err(plain)
        .context("cannot give the veth pair its addresses")?;
    for name in [CABLE, "lo"] {
        let up = LinkUnspec::new_with_name(name).up().build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(plain)
            .with_context(|| format!("cannot bring {name} up"))?;
    }
    Ok(())
}

/// Does `work` with a netlink socket of this thread's namespace.
fn netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    crate::cli::runtime()?.block_on(async {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        work(handle).await
    })
}

/// The kernel's own words, where it has any.
fn plain(error: Error) -> anyhow::Error {
    match error {
        Error::NetlinkError(message) => message.to_io().into(),
        other => other.into(),
    }
}
