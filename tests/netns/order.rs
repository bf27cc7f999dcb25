//! The order of packets within a flow is the one they were sent in: under load, both ways at once, in both families.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::config::{ends_with, on_both_paths};
use super::lab::{CABLE, Host, INNER_A, INNER_B, Lab, direct_v4, expect_success};
use super::needs::needs;
use super::process::{BOUND, now};
use super::transfer::Transfer;

on_both_paths! { packets_of_a_flow_arrive_in_the_order_they_were_sent_in }

/// Datagrams of a flow.
const COUNT: u64 = 5000;

/// Most datagrams of a flow on their way: enough that they queue everywhere, and few are lost.
const WINDOW: u64 = 32;

/// Who hears nothing for so long takes all that is on its way for lost.
const LOST: Duration = Duration::from_millis(200);

/// The number of the datagram after the last.
const END: u64 = u64::MAX;

/// How one flow sends: these sizes in turn, of which equal ones may travel together, or bursts (UDP GSO of the sender).
#[derive(Clone, Copy)]
enum Shape {
    Sizes(&'static [usize]),
    Bursts { size: usize, count: u64 },
}

const SHAPES: [Shape; 4] = [
    Shape::Sizes(&[1200]),
    Shape::Sizes(&[1372, 8, 1372, 1372, 600, 40]),
    Shape::Sizes(&[64, 64, 64, 900]),
    Shape::Bursts { size: 1000, count: 10 },
];

/// A flow under way; the receiver gives how many datagrams came.
struct Flow {
    sender: JoinHandle<()>,
    receiver: JoinHandle<u64>,
}

impl Flow {
    fn begin(lab: &Lab, [from, to]: [Host; 2], address: &str, shape: Shape) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let bound = lab.inside(to, move || UdpSocket::bind((address, 0)).unwrap());
        let socket = bound.join().unwrap();
        let to_address = socket.local_addr().unwrap();
        let (came, news) = mpsc::channel();
        Self {
            receiver: lab.inside(to, move || receive(&socket, &came)),
            sender: lab.inside(from, move || send(to_address, shape, &news)),
        }
    }

    /// Waits for the end. Some may have been lost, where a queue was full.
    fn finish(self) {
        self.sender.join().expect("all was sent");
        let came = self.receiver.join().expect("all came in order");
        assert!(came > COUNT / 2, "{came}");
    }
}

/// Sends numbered datagrams, not too far ahead of what is known to have come, and then the end until it has come.
fn send(to: SocketAddr, shape: Shape, news: &Receiver<u64>) {
    let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).unwrap();
    socket.connect(to).unwrap();
    let numbered = |number: u64, size: usize| {
        let mut datagram = vec![0; size];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        datagram
    };
    let burst = match shape {
        Shape::Sizes(_) => 1,
        Shape::Bursts { size, count } => {
            setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(size).unwrap()).unwrap();
            count
        }
    };
    let size = |number: u64| match shape {
        Shape::Sizes(sizes) => sizes[usize::try_from(number).unwrap() % sizes.len()],
        Shape::Bursts { size, .. } => size,
    };
    let mut came = 0;
    for first in (0..COUNT).step_by(usize::try_from(burst).unwrap()) {
        let numbers = first..first + burst;
        let bytes: Vec<u8> = numbers.flat_map(|number| numbered(number, size(number))).collect();
        socket.send(&bytes).unwrap();
        while first > came + WINDOW {
            came = news.recv_timeout(LOST).unwrap_or(first);
        }
    }
    let deadline = now() + BOUND;
    while came != END && now() < deadline {
        // The receiver is gone after the first of these that arrives.
        let _ = socket.send(&END.to_be_bytes());
        came = news.recv_timeout(LOST).unwrap_or(came);
        came = news.try_iter().last().unwrap_or(came);
    }
}

/// Receives up to the end; each datagram must have been sent after the one before.
fn receive(socket: &UdpSocket, news: &Sender<u64>) -> u64 {
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut datagram = [0; 2000];
    let mut last = None;
    let mut came = 0;
    loop {
        let len = socket.recv(&mut datagram).expect("the flow goes on");
        let number = u64::from_be_bytes(datagram[..8].try_into().unwrap());
        assert!(last < Some(number), "{number} ({len} bytes) came after {last:?}");
        // The sender may have ended: it has heard of the end already.
        let _ = news.send(number);
        if number == END {
            return came;
        }
        last = Some(number);
        came += 1;
    }
}

/// Has one CPU take what comes over the cable: the kernel keeps a queue for each CPU that sends, and would overtake itself
/// whenever the daemon moves from one to another.
fn one_queue(lab: &Lab, host: Host) {
    let file = format!("/sys/class/net/{CABLE}/queues/rx-0/rps_cpus");
    let mut command = lab.command(host, "sh -c");
    expect_success(&command.arg(format!("echo 1 > {file}")).output().unwrap());
}

fn packets_of_a_flow_arrive_in_the_order_they_were_sent_in(offload: &'static str) {
    needs!("ping");
    let lab = Lab::direct();
    for host in [Host::A, Host::B] {
        one_queue(&lab, host);
    }
    let _daemons = lab.link(&ends_with(offload, direct_v4));
    let ways = [([Host::A, Host::B], INNER_B), ([Host::B, Host::A], INNER_A)];
    let mut flows = Vec::new();
    let mut transfers = Vec::new();
    for (way, inner) in ways {
        transfers.push(Transfer::begin(&lab, way[0], way[1], inner[0], 8_000_000));
        for address in inner {
            flows.extend(SHAPES.map(|shape| Flow::begin(&lab, way, address, shape)));
        }
    }
    flows.into_iter().for_each(Flow::finish);
    transfers.into_iter().for_each(Transfer::finish);
}
