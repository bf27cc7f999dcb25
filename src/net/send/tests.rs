use std::cell::{Cell, RefCell};

use super::*;
use crate::testing::load;
use crate::wire::{Ecn, Run};

mod gso;

type Answer = Result<usize, Errno>;

/// A kernel that answers as the test says, and keeps what it took.
struct Kernel<F> {
    answer: F,
    waits: Cell<usize>,
    taken: RefCell<Vec<Vec<u8>>>,
}

impl<F: Fn(&Outgoing<'_>) -> Answer> Kernel<F> {
    fn new(answer: F) -> Self {
        Self { answer, waits: Cell::new(0), taken: RefCell::default() }
    }
}

impl<F: Fn(&Outgoing<'_>) -> Answer> SendCall for Kernel<F> {
    fn send(&self, outgoing: &Outgoing<'_>) -> Answer {
        let taken = (self.answer)(outgoing)?;
        let size = outgoing.segment.map_or(taken, usize::from).max(1);
        let datagrams = outgoing.bytes[..taken].chunks(size).map(<[u8]>::to_vec);
        self.taken.borrow_mut().extend(datagrams);
        Ok(taken)
    }

    fn wait_for_room(&self) {
        self.waits.set(self.waits.get() + 1);
    }
}

/// The socket's state around the kernel.
struct Bench {
    gso: GsoLimit,
    counters: SendCounters,
    endpoint: Endpoint,
}

impl Bench {
    fn new(source: Option<&str>) -> Self {
        Self::with_gso(source, true)
    }

    fn with_gso(source: Option<&str>, gso: bool) -> Self {
        Self {
            gso: GsoLimit::new(gso),
            counters: SendCounters::default(),
            endpoint: Endpoint {
                remote: "192.0.2.1:51820".parse().unwrap(),
                source: source.map(|source| SocketAddr::new(source.parse().unwrap(), 1)),
            },
        }
    }

    /// How many datagrams of `run` left, and whether its source was lost.
    fn deliver<F: Fn(&Outgoing<'_>) -> Answer>(
        &self,
        kernel: &Kernel<F>,
        run: Run,
    ) -> (usize, bool) {
        let bytes = datagrams(run).concat();
        let before = load(&self.counters.datagrams);
        let outlet = Outlet::new(kernel, &self.gso, &self.counters, self.endpoint, 0, 1);
        let source_lost = outlet.deliver(run.stride, &bytes);
        ((load(&self.counters.datagrams) - before) as usize, source_lost)
    }

    fn gso_on(&self) -> bool {
        self.gso.allows(usize::MAX)
    }

    fn discarded(&self, reason: UnderlayDiscard) -> u64 {
        self.counters.discarded(reason)
    }

    fn all_discarded(&self) -> u64 {
        let reasons = UnderlayDiscard::ALL.iter();
        reasons.map(|reason| self.discarded(*reason)).sum()
    }
}

const RUN: Run = Run { stride: 100, count: 5, last: 40, ecn: Ecn::NotEct, dscp: 0 };

/// The datagrams of a run, each filled with its number.
fn datagrams(run: Run) -> Vec<Vec<u8>> {
    let size = |index| {
        if index + 1 == run.count { run.last } else { run.stride }
    };
    (0..run.count).map(|index| vec![index as u8; size(index)]).collect()
}

fn takes_all(outgoing: &Outgoing<'_>) -> Answer {
    Ok(outgoing.bytes.len())
}

fn refuses_gso(errno: Errno) -> impl Fn(&Outgoing<'_>) -> Answer {
    move |outgoing| match outgoing.segment {
        Some(_) => Err(errno),
        None => takes_all(outgoing),
    }
}

fn refuses_source(errno: Errno) -> impl Fn(&Outgoing<'_>) -> Answer {
    move |outgoing| match outgoing.source {
        Some(_) => Err(errno),
        None => takes_all(outgoing),
    }
}

#[test]
fn a_run_leaves_with_one_call() {
    let bench = Bench::new(Some("192.0.2.9"));
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
        assert_eq!(outgoing.segment, Some(100));
        assert_eq!(outgoing.source, Some("192.0.2.9".parse().unwrap()));
        takes_all(outgoing)
    });
    assert_eq!(bench.deliver(&kernel, RUN), (5, false));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    assert_eq!(load(&bench.counters.calls), 1);
    assert_eq!(load(&bench.counters.datagrams), 5);
}

#[test]
fn a_single_datagram_asks_for_no_gso() {
    let bench = Bench::new(None);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
        assert_eq!(outgoing.segment, None);
        takes_all(outgoing)
    });
    for len in [0, 148] {
        assert_eq!(bench.deliver(&kernel, Run::single(len, Ecn::Ce)), (1, false));
    }
}

#[test]
fn a_single_datagram_without_memory_is_tried_again_at_once() {
    let bench = Bench::with_gso(None, false);
    let refusals = Cell::new(3);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| match refusals.get() {
        0 => takes_all(outgoing),
        left => {
            refusals.set(left - 1);
            Err(Errno::ENOBUFS)
        }
    });
    assert_eq!(bench.deliver(&kernel, RUN), (5, false));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    assert_eq!((load(&bench.counters.calls), kernel.waits.get()), (3 + 5, 0));
}

#[test]
fn without_memory_a_run_is_tried_again_a_few_times_and_each_datagram_once() {
    let bench = Bench::with_gso(None, false);
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::ENOMEM));
    assert_eq!(bench.deliver(&kernel, RUN), (0, false));
    assert_eq!(bench.discarded(UnderlayDiscard::NoBuffers), 5);
    assert_eq!(load(&bench.counters.calls), 7 + 5);
}

#[test]
fn a_lost_source_is_left_out_and_reported() {
    for errno in [
        Errno::EINVAL,
        Errno::ENETUNREACH,
        Errno::EADDRNOTAVAIL,
        Errno::EHOSTUNREACH,
        Errno::ENODEV,
    ] {
        for run in [RUN, Run::single(148, Ecn::NotEct)] {
            let bench = Bench::new(Some("192.0.2.9"));
            let kernel = Kernel::new(refuses_source(errno));
            assert_eq!(bench.deliver(&kernel, run), (run.count, true), "{errno}");
            assert_eq!(kernel.taken.take(), datagrams(run));
            assert!(bench.gso_on(), "{errno}");
            assert_eq!(bench.all_discarded(), 0);
        }
    }
}

#[test]
fn a_source_is_kept_while_no_route_works() {
    let bench = Bench::new(Some("192.0.2.9"));
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::ENETUNREACH));
    assert_eq!(bench.deliver(&kernel, RUN), (0, false));
    assert_eq!(bench.discarded(UnderlayDiscard::NetworkUnreachable), 5);
}

#[test]
fn gso_and_source_refused_together_lose_nothing() {
    let bench = Bench::new(Some("192.0.2.9"));
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| match (outgoing.source, outgoing.segment) {
        (Some(_), _) => Err(Errno::ENETUNREACH),
        (_, Some(_)) => Err(Errno::EIO),
        _ => takes_all(outgoing),
    });
    assert_eq!(bench.deliver(&kernel, RUN), (5, true));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    bench.deliver(&kernel, RUN);
    assert_eq!(bench.all_discarded(), 0);
}

#[test]
fn a_full_send_buffer_is_waited_for() {
    let bench = Bench::new(None);
    let busy = Cell::new(true);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
        if busy.replace(false) {
            return Err(Errno::EAGAIN);
        }
        takes_all(outgoing)
    });
    assert_eq!(bench.deliver(&kernel, RUN), (5, false));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    assert_eq!(kernel.waits.get(), 1);
}

#[test]
fn a_send_buffer_that_stays_full_is_waited_for_once_in_a_run() {
    let bench = Bench::with_gso(Some("192.0.2.9"), false);
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::EAGAIN));
    assert_eq!(bench.deliver(&kernel, RUN), (0, false));
    assert_eq!(kernel.waits.get(), 1);
    assert_eq!(load(&bench.counters.calls), 2, "the second in spite of the wait");
    assert_eq!(bench.discarded(UnderlayDiscard::BufferFull), 5);
}

#[test]
fn who_does_not_want_to_wait_discards_at_once() {
    let bench = Bench::new(None);
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::EAGAIN));
    Outlet::new(&kernel, &bench.gso, &bench.counters, bench.endpoint, 0, 0).deliver(148, &[0; 148]);
    assert_eq!(kernel.waits.get(), 0);
    assert_eq!(bench.discarded(UnderlayDiscard::BufferFull), 1);
}

#[test]
fn a_kernel_that_interrupts_for_ever_is_no_spin() {
    let bench = Bench::new(None);
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::EINTR));
    assert_eq!(bench.deliver(&kernel, RUN), (0, false));
    assert_eq!(load(&bench.counters.calls), MOST_CALLS as u64);
    assert_eq!(bench.discarded(UnderlayDiscard::BufferFull), 5);
}

#[test]
fn an_interrupted_send_is_repeated() {
    let bench = Bench::new(None);
    let interrupted = Cell::new(true);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
        if interrupted.replace(false) {
            return Err(Errno::EINTR);
        }
        takes_all(outgoing)
    });
    assert_eq!(bench.deliver(&kernel, RUN), (5, false));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    assert_eq!(kernel.waits.get(), 0);
}

#[test]
fn other_errors_discard_under_a_name_and_the_next_send_goes_on() {
    let cases = [
        (Errno::EPERM, UnderlayDiscard::Filtered),
        (Errno::ENETUNREACH, UnderlayDiscard::NetworkUnreachable),
        (Errno::EHOSTUNREACH, UnderlayDiscard::HostUnreachable),
        (Errno::ECONNREFUSED, UnderlayDiscard::PortUnreachable),
        (Errno::EACCES, UnderlayDiscard::Prohibited),
        (Errno::EBADF, UnderlayDiscard::Other),
    ];
    for (errno, reason) in cases {
        let bench = Bench::new(None);
        let failing = Cell::new(true);
        let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
            if failing.replace(false) {
                return Err(errno);
            }
            takes_all(outgoing)
        });
        assert_eq!(bench.deliver(&kernel, RUN), (0, false));
        assert_eq!(bench.discarded(reason), 5);
        assert_eq!(bench.all_discarded(), 5);
        assert_eq!(bench.deliver(&kernel, RUN), (5, false));
        assert!(bench.gso_on());
    }
}

#[test]
fn one_bad_datagram_costs_no_other() {
    let bench = Bench::with_gso(None, false);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| match outgoing.bytes[0] {
        2 => Err(Errno::ENOBUFS),
        _ => takes_all(outgoing),
    });
    assert_eq!(bench.deliver(&kernel, RUN), (4, false));
    assert_eq!(bench.discarded(UnderlayDiscard::NoBuffers), 1);
    let mut expected = datagrams(RUN);
    expected.remove(2);
    assert_eq!(kernel.taken.take(), expected);
}
