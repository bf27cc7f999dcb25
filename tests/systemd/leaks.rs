//! What a neighbour sees of a host whose default route leads into the tunnel, whatever its service manager does.

use std::net::IpAddr;

use super::service::shows;
use super::site::Site;
use crate::netns::capture::{Capture, Pings, monitor};
use crate::netns::lab::{FAR, FAR_NETWORKS, Host, underlay};
use crate::netns::process::{BOUND, wait_until};

const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Leads host a's default route into the tunnel: with the kill switch nothing leaves elsewhere, whatever happens, and
/// without it nothing during a restart.
pub(crate) fn nothing_leaves_past_a_default_route(site: &Site) {
    let (a, b, lab) = (&site.a, &site.b, &site.lab);
    for (far, via) in FAR.into_iter().zip(underlay(Host::B)) {
        lab.ip(Host::B, &format!("address add dev lo {far}"));
        lab.ip(Host::A, &format!("route add default via {via}"));
    }
    let file = a.must("cat /etc/tunneld.toml");
    let open = file.replace("[peer]", "[peer]\nallowed_ips = [\"0.0.0.0/0\", \"::/0\"]");
    let guarded = open.replace("[peer]", "kill_switch = true\n[peer]");
    let write = |text: &str| {
        a.write("/root/new.toml", text.as_bytes());
        a.must("cat /root/new.toml > /etc/tunneld.toml");
    };
    write(&guarded);
    a.must("systemctl restart tunneld");
    let linked = || FAR.iter().all(|far| lab.pings(Host::A, far));
    assert!(linked());

    let (pings, capture) = (Pings::begin(lab), Capture::begin(lab, Host::B));
    let leaks_nothing = |event: &str| {
        pings.wait_until_more_are_sent();
        assert_eq!(capture.cleartext(&EVERYTHING), [] as [[IpAddr; 2]; 0], "{event}");
    };
    let killed = shows(a, "MainPID");
    a.must(&format!("kill -KILL {killed}"));
    leaks_nothing("after a crash");
    assert!(wait_until(BOUND, || !["0", &killed].contains(&shows(a, "MainPID").as_str())));
    assert!(linked());
    write(&guarded.replace("[peer]", "mtu = 1300\n[peer]"));
    a.must("systemctl reload tunneld");
    leaks_nothing("during a reload");
    a.must("systemctl restart tunneld");
    leaks_nothing("during a restart");
    write("nonsense");
    assert!(!a.run("systemctl reload tunneld").status.success());
    assert!(!a.run("systemctl restart tunneld").status.success());
    leaks_nothing("under a wrong file");
    write(&guarded);
    assert!(linked(), "the service manager has tried again");
    b.must("systemctl stop tunneld");
    leaks_nothing("while the endpoint is down");
    b.must("systemctl start tunneld");
    assert!(linked());

    write(&open);
    a.must("systemctl reload tunneld");
    let monitor = monitor(lab);
    for file in [open.as_str(), "nonsense", open.as_str()] {
        write(file);
        assert_eq!(a.run("systemctl restart tunneld").status.success(), file == open);
        pings.wait_until_more_are_sent();
        assert_eq!(capture.cleartext(&FAR_NETWORKS), [] as [[IpAddr; 2]; 0]);
    }
    assert_eq!(monitor.count("Deleted 3276"), 0, "{}", monitor.said());
    // What is not there any more would have been seen.
    a.must("systemctl stop tunneld");
    monitor.wait_for_nth(4, "Deleted 3276");
    assert!(wait_until(BOUND, || !capture.cleartext(&FAR_NETWORKS).is_empty()));
}
