//! What becomes of GSO, and of the datagrams at hand, when the kernel refuses it.

use super::*;
use crate::net::gso::RETRY_AFTER;
use crate::wire::datagram::MAX_RUN_COUNT;
use crate::wire::transport::OVERHEAD;

#[test]
fn without_gso_datagrams_leave_one_by_one() {
    let bench = Bench::with_gso(None, false);
    let kernel = Kernel::new(refuses_gso(Errno::EIO));
    assert_eq!(bench.deliver(&kernel, RUN), (5, false));
    assert_eq!(kernel.taken.take(), datagrams(RUN));
    assert_eq!(load(&bench.counters.gso_refused), 0);
}

#[test]
fn a_refused_gso_send_loses_nothing_and_is_the_last_for_a_while() {
    for errno in [Errno::EIO, Errno::EINVAL, Errno::EMSGSIZE] {
        let bench = Bench::new(Some("192.0.2.9"));
        let kernel = Kernel::new(refuses_gso(errno));
        assert_eq!(bench.deliver(&kernel, RUN), (5, false));
        assert_eq!(kernel.taken.take(), datagrams(RUN));
        assert!(!bench.gso_on());
        bench.deliver(&kernel, RUN);
        assert_eq!(load(&bench.counters.gso_refused), 1);
        assert_eq!(load(&bench.counters.calls), 1 + 5 + 5);
        assert_eq!(bench.all_discarded(), 0);
    }
}

#[test]
fn gso_refused_for_the_routes_mtu_goes_on_for_shorter_datagrams() {
    for errno in [Errno::EINVAL, Errno::EMSGSIZE] {
        let bench = Bench::new(None);
        let kernel = Kernel::new(|outgoing: &Outgoing<'_>| match outgoing.segment {
            Some(100..) => Err(errno),
            _ => takes_all(outgoing),
        });
        bench.deliver(&kernel, RUN);
        bench.deliver(&kernel, Run { stride: 99, ..RUN });
        assert_eq!(load(&bench.counters.calls), 1 + 5 + 1);
    }
}

#[test]
fn gso_is_tried_again_now_and_then_and_used_again_once_the_route_allows_it() {
    let bench = Bench::new(None);
    let route_is_narrow = Cell::new(true);
    let kernel = Kernel::new(|outgoing: &Outgoing<'_>| match outgoing.segment {
        Some(_) if route_is_narrow.get() => Err(Errno::EINVAL),
        _ => takes_all(outgoing),
    });
    let deliver = |times| {
        for _ in 0..times {
            assert_eq!(bench.deliver(&kernel, RUN), (5, false));
        }
    };
    deliver(1);
    for refused in 1..=3 {
        deliver(RETRY_AFTER);
        assert_eq!(load(&bench.counters.gso_refused), refused);
        deliver(1);
        assert_eq!(load(&bench.counters.gso_refused), refused + 1, "one call in vain");
    }
    route_is_narrow.set(false);
    deliver(RETRY_AFTER);
    let calls = load(&bench.counters.calls);
    deliver(10);
    assert_eq!(load(&bench.counters.calls) - calls, 10);
    assert_eq!(bench.all_discarded(), 0);
}

#[test]
fn without_memory_for_a_gso_send_datagrams_leave_one_by_one_this_time() {
    for errno in [Errno::ENOBUFS, Errno::ENOMEM] {
        let bench = Bench::new(None);
        let kernel = Kernel::new(refuses_gso(errno));
        assert_eq!(bench.deliver(&kernel, RUN), (5, false));
        assert_eq!(kernel.taken.take(), datagrams(RUN));
        assert!(bench.gso_on());
        assert_eq!(load(&bench.counters.gso_refused), 1);
    }
}

#[test]
fn a_route_that_refuses_everything_does_not_end_gso() {
    let bench = Bench::new(None);
    let kernel = Kernel::new(|_: &Outgoing<'_>| Err(Errno::EINVAL));
    assert_eq!(bench.deliver(&kernel, RUN), (0, false));
    assert!(bench.gso_on());
    assert_eq!(bench.discarded(UnderlayDiscard::Invalid), 5);
}

#[test]
fn after_a_part_only_the_rest_is_sent_in_order() {
    // 250: two whole datagrams and half of the third, which is sent again whole
    for (part, cut) in [(200, false), (250, true), (0, false)] {
        let bench = Bench::new(None);
        let kernel = Kernel::new(move |outgoing: &Outgoing<'_>| match outgoing.segment {
            Some(_) => Ok(part),
            None => takes_all(outgoing),
        });
        assert_eq!(bench.deliver(&kernel, RUN), (5, false));
        let mut taken = kernel.taken.take();
        if cut {
            assert_eq!(taken.remove(2), vec![2; 50]);
        }
        assert_eq!(taken, datagrams(RUN));
        assert!(!bench.gso_on());
        assert_eq!(load(&bench.counters.datagrams), 5);
    }
}

#[test]
fn the_largest_run_of_the_smallest_datagrams_fits_any_kernel() {
    // Linux before 6.9: all data and 48 bytes of headers within 64 times the segment size
    for stride in [OVERHEAD, 47, 48, 49, 1000] {
        let run = Run { stride, count: MAX_RUN_COUNT, last: stride, ecn: Ecn::NotEct, dscp: 0 };
        let bench = Bench::new(None);
        let kernel = Kernel::new(|outgoing: &Outgoing<'_>| {
            let segment = usize::from(outgoing.segment.unwrap());
            assert!(outgoing.bytes.len() + 48 <= 64 * segment);
            takes_all(outgoing)
        });
        assert_eq!(bench.deliver(&kernel, run), (MAX_RUN_COUNT, false));
        assert_eq!(kernel.taken.take(), datagrams(run));
    }
}
