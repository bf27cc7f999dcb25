//! What the kernel may say to a datagram that leaves: it costs that datagram, under its name, and nothing else.

use std::time::Duration;

use super::config::ends;
use super::counters::{filter, told};
use super::lab::{CABLE, Host, INNER_B, Lab, endpoint, expect_success, stop, underlay};
use super::needs::needs;
use super::process::{BOUND, Process, now, wait_until};
use super::vitals::Vitals;

/// How soon traffic must flow again once the cause is gone: sooner than by the protocol's next try, after 5 s.
const SOON: Duration = Duration::from_secs(4);

/// Why host a's datagrams to its peer do not leave.
struct Cause {
    errno: &'static str,
    begins: Step,
    ends: Step,
    /// The name that the datagrams are counted under.
    name: &'static str,
}

/// One thing done to host a.
enum Step {
    /// With `PEER` for the peer's underlay address and `NETWORK` for the network it is in.
    Ip(&'static str),
    Filter,
    Unfilter,
}

const CAUSES: [Cause; 5] = [
    Cause { errno: "EPERM", begins: Step::Filter, ends: Step::Unfilter, name: "filtered" },
    Cause {
        errno: "ENETUNREACH",
        begins: Step::Ip("route del NETWORK dev cable"),
        ends: Step::Ip("route add NETWORK dev cable"),
        name: "network_unreachable",
    },
    Cause {
        errno: "EHOSTUNREACH",
        begins: Step::Ip("route add unreachable PEER"),
        ends: Step::Ip("route del unreachable PEER"),
        name: "host_unreachable",
    },
    Cause {
        errno: "EACCES",
        begins: Step::Ip("route add prohibit PEER"),
        ends: Step::Ip("route del prohibit PEER"),
        name: "prohibited",
    },
    Cause {
        errno: "EINVAL",
        begins: Step::Ip("route add blackhole PEER"),
        ends: Step::Ip("route del blackhole PEER"),
        name: "invalid",
    },
];

impl Step {
    /// Takes it where the outer packets are of the first or the second family.
    fn take(&self, lab: &Lab, outside: usize) {
        match self {
            Self::Ip(words) => {
                let network = ["192.0.2.0/24", "2001:db8::/64"][outside];
                let words = words.replace("PEER", underlay(Host::B)[outside]);
                lab.ip(Host::A, &words.replace("NETWORK", network));
            }
            Self::Filter => filter(
                lab,
                Host::A,
                "chain out { type filter hook output priority 0;\nudp dport 51820 drop\n}",
            ),
            Self::Unfilter => expect_success(&lab.run(Host::A, "nft delete table inet lab")),
        }
    }
}

#[test]
fn an_error_of_a_send_costs_that_datagram_under_a_name_and_traffic_flows_again_when_it_ends() {
    needs!("ping", "nft");
    for outside in 0..2 {
        for Cause { errno, begins, ends: cause_ends, name } in &CAUSES {
            let lab = Lab::direct();
            let [a, _b] = lab.link(&ends(|host| endpoint(underlay(host)[outside])));
            let words = format!("ping -n -i 0.05 {}", INNER_B[0]);
            let ping = Process::start("ping", lab.command(Host::A, &words));
            ping.wait_for("time=");
            let vitals = Vitals::of(&a);

            begins.take(&lab, outside);
            let unanswered = || {
                let output = lab.ping(Host::A, &format!("-c 2 -i 0.05 -W 0.1 {}", INNER_B[1]));
                !output.status.success()
            };
            assert!(wait_until(BOUND, unanswered), "{errno} has its effect");
            cause_ends.take(&lab, outside);
            let ended = now();
            let before = ping.count("time=");
            let goes_on = wait_until(BOUND, || ping.count("time=") > before + 1);
            let took = now() - ended;
            assert!(
                goes_on && took < SOON,
                "{errno} over {}: {took:?}",
                underlay(Host::A)[outside]
            );

            vitals.are_back(&lab, &a);
            let said = stop(a);
            let [discarded] = told(&said, [name]);
            assert!(discarded > 0, "{errno}: {said}");
        }
    }
}

/// Whether some of many large pings, sent all at once, stay without an answer.
fn loses_some(lab: &Lab) -> bool {
    let output = lab.ping(Host::A, &format!("-c 50 -l 50 -W 0.1 -s 1200 {}", INNER_B[0]));
    !String::from_utf8_lossy(&output.stdout).contains(" 0% packet loss")
}

#[test]
fn what_the_kernel_does_not_tell_the_sender_costs_packets_only() {
    needs!("ping", "nft", "tc");
    let refusal = "chain in { type filter hook input priority 0;\n\
                   udp dport 51820 reject with icmpx port-unreachable\n}";
    for outside in 0..2 {
        let lab = Lab::direct();
        let [a, _b] = lab.link(&ends(|host| endpoint(underlay(host)[outside])));
        let vitals = Vitals::of(&a);
        let goes_on_soon = || {
            let ended = now();
            assert!(lab.pings(Host::A, INNER_B[0]));
            assert!(now() - ended < SOON);
        };
        // ECONNREFUSED: nobody listens at the peer's port.
        filter(&lab, Host::B, refusal);
        assert!(wait_until(BOUND, || loses_some(&lab)));
        expect_success(&lab.run(Host::B, "nft delete table inet lab"));
        goes_on_soon();
        // ENOBUFS: the queue of the underlay's device is full.
        let slow = "root tbf rate 1mbit burst 4000 limit 6000";
        expect_success(&lab.run(Host::A, &format!("tc qdisc add dev {CABLE} {slow}")));
        assert!(wait_until(BOUND, || loses_some(&lab)));
        expect_success(&lab.run(Host::A, &format!("tc qdisc del dev {CABLE} root")));
        goes_on_soon();
        // EMSGSIZE: the underlay's devices take smaller packets only. All still pass, in fragments or as their senders learn of it.
        let cable = |mtu| {
            [Host::A, Host::B].map(|host| lab.ip(host, &format!("link set {CABLE} mtu {mtu}")))
        };
        cable(1300);
        expect_success(&lab.ping(Host::A, &format!("-c 3 -i 0.05 -W 5 -s 1400 {}", INNER_B[0])));
        cable(1500);
        goes_on_soon();

        vitals.are_back(&lab, &a);
        let said = stop(a);
        assert!(said.contains("not sent: nothing"), "{said}");
    }
}
