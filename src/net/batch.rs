//! Collects runs until they fill one UDP GSO send.

use std::sync::Arc;

use super::{Underlay, UnderlayDiscard};
use crate::wire::datagram::{MAX_RUN_BYTES, MAX_RUN_COUNT};
use crate::wire::{DatagramSink, Endpoint, Run};

/// The way out for transport data: holds at most one UDP GSO send, and merges runs of equal stride into
/// it. Datagrams leave in the order of their reservation. Whoever reserves must flush when the batch ends.
#[derive(Debug)]
pub(crate) struct SendBatch {
    underlay: Arc<Underlay>,
    endpoint: Option<Endpoint>,
    held: Option<Run>,
    buffer: Box<[u8]>,
    source_lost: bool,
}

impl SendBatch {
    /// An empty batch that goes nowhere until [`SendBatch::set_endpoint`].
    #[must_use]
    pub(crate) fn new(underlay: Arc<Underlay>) -> Self {
        Self {
            underlay,
            endpoint: None,
            held: None,
            buffer: vec![0; MAX_RUN_BYTES].into_boxed_slice(),
            source_lost: false,
        }
    }

    /// Where the runs reserved from now on go; what is held goes to where it was meant to go.
    pub(crate) fn set_endpoint(&mut self, endpoint: Option<Endpoint>) {
        self.flush();
        self.endpoint = endpoint;
    }

    /// Sends what is held. It is gone afterwards, one way or the other.
    pub(crate) fn flush(&mut self) {
        let Some(run) = self.held.take() else {
            return;
        };
        let Some(endpoint) = self.endpoint else {
            let counters = &self.underlay.counters().send;
            counters.discard(UnderlayDiscard::NoEndpoint, run.count);
            return;
        };
        let bytes = self.buffer.get(..run.total()).unwrap_or(&self.buffer);
        if self.underlay.dispatch(endpoint, run.stride, bytes, run.tos(), 1) {
            self.source_lost = true;
            self.endpoint = Some(endpoint.without_source());
        }
    }

    /// Whether, since the last call, datagrams could leave only without the sticky source: then the owner
    /// of the endpoint is to forget that source.
    pub(crate) fn take_source_lost(&mut self) -> bool {
        std::mem::take(&mut self.source_lost)
    }
}

impl DatagramSink for SendBatch {
    #[expect(clippy::indexing_slicing, reason = "no run is longer than the buffer")]
    fn reserve(&mut self, run: Run) -> &mut [u8] {
        let merged = match self.held.and_then(|held| merge(held, run)) {
            Some(merged) => merged,
            None => {
                self.flush();
                run
            }
        };
        self.held = Some(merged);
        let end = merged.total();
        &mut self.buffer[end.saturating_sub(run.total())..end]
    }
}

/// The one run that `next` after `held` make, if one UDP GSO send can carry both.
fn merge(held: Run, next: Run) -> Option<Run> {
    let stride = held.stride;
    let fits_stride = match next.count {
        1 => (1..=stride).contains(&next.last),
        _ => next.stride == stride,
    };
    let count = held.count.saturating_add(next.count);
    let fits = held.tos() == next.tos()
        && held.last == stride
        && fits_stride
        && count <= MAX_RUN_COUNT
        && held.total().saturating_add(next.total()) <= MAX_RUN_BYTES;
    fits.then_some(Run { count, last: next.last, ..held })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Ecn;

    fn run(stride: usize, count: usize, last: usize) -> Run {
        Run { stride, count, last, ecn: Ecn::NotEct, dscp: 0 }
    }

    #[test]
    fn runs_of_one_stride_merge() {
        assert_eq!(merge(run(100, 2, 100), run(100, 3, 7)), Some(run(100, 5, 7)));
        assert_eq!(merge(run(100, 1, 100), run(100, 1, 100)), Some(run(100, 2, 100)));
    }

    #[test]
    fn a_shorter_datagram_may_only_be_the_tail() {
        let tail = merge(run(100, 2, 100), run(60, 1, 60)).unwrap();
        assert_eq!(tail, run(100, 3, 60));
        assert_eq!(merge(tail, run(60, 1, 60)), None);
        assert_eq!(merge(tail, run(100, 1, 100)), None);
        assert_eq!(merge(run(100, 2, 100), run(60, 2, 60)), None);
    }

    #[test]
    fn a_longer_datagram_starts_anew() {
        assert_eq!(merge(run(100, 1, 100), run(101, 1, 101)), None);
    }

    #[test]
    fn another_ecn_field_or_dscp_starts_anew() {
        let (ce, ef) =
            (Run { ecn: Ecn::Ce, ..run(100, 1, 100) }, Run { dscp: 46, ..run(100, 1, 100) });
        assert_eq!(merge(run(100, 1, 100), ce), None);
        assert_eq!(merge(run(100, 1, 100), ef), None);
        assert_eq!(merge(ef, ef), Some(Run { dscp: 46, ..run(100, 2, 100) }));
    }

    #[test]
    fn count_and_bytes_have_their_limits() {
        assert!(merge(run(100, 61, 100), run(100, 1, 100)).is_some());
        assert_eq!(merge(run(100, 62, 100), run(100, 1, 100)), None);
        assert!(merge(run(1452, 44, 1452), run(1452, 1, 1452)).is_some());
        assert_eq!(merge(run(1452, 45, 1452), run(1452, 1, 1452)), None);
    }

    proptest! {
        #[test]
        fn a_merged_run_lays_out_the_same_datagrams(
            stride in 1usize..2000, count in 1usize..60, last in 1usize..2000,
            next_stride in 1usize..2000, next_count in 1usize..60, next_last in 1usize..2000,
            same in any::<bool>(), full in any::<bool>(),
        ) {
            let sizes = |run: Run| {
                let mut sizes = vec![run.stride; run.count];
                sizes[run.count - 1] = run.last;
                sizes
            };
            let next_stride = if same { stride } else { next_stride };
            let last = if full { stride } else { last.min(stride) };
            let held = run(stride, count, last);
            let next = run(next_stride, next_count, next_last.min(next_stride));
            if let Some(merged) = merge(held, next) {
                let mut both = sizes(held);
                both.extend(sizes(next));
                prop_assert_eq!(sizes(merged), both);
                prop_assert_eq!(merged.total(), held.total() + next.total());
            }
        }
    }
}
