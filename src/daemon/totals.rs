//! The last lines of the log: what was counted, from the same [`Status`] as everything else that tells it.

use std::collections::BTreeMap;

use super::status::{Calls, Status};

/// Tells the counters of a daemon that ends.
pub(super) fn tell(Status { sent, received, discards, underlay, device, .. }: &Status) {
    tracing::info!(
        sent = sent.packets,
        sent_bytes = sent.bytes,
        received = received.packets,
        received_bytes = received.bytes,
        "discarded: {}",
        met(discards)
    );
    tracing::info!(
        sent = underlay.sent.segments,
        send_calls = underlay.sent.calls,
        per_send = per_call(&underlay.sent),
        gso_refused = underlay.gso_refused,
        received = underlay.received.segments,
        receive_calls = underlay.received.calls,
        per_receive = per_call(&underlay.received),
        truncated = underlay.truncated,
        "underlay: not sent: {}",
        met(&underlay.discards)
    );
    tracing::info!(
        read = device.read.segments,
        read_calls = device.read.calls,
        per_read = per_call(&device.read),
        superpackets_read = device.superpackets_read,
        written = device.written.segments,
        write_calls = device.written.calls,
        per_write = per_call(&device.written),
        superpackets_written = device.superpackets_written,
        superpackets_refused = device.superpackets_refused,
        "device: not passed: {}",
        met(&device.discards)
    );
}

/// About 1 on the way that large transfers took: the offload was not used.
fn per_call(calls: &Calls) -> String {
    format!("{:.1}", calls.per_call)
}

/// Those counts that are not zero, as `name=count`.
fn met(counts: &BTreeMap<String, u64>) -> String {
    let met = counts.iter().filter(|(_, count)| **count > 0);
    let list: Vec<_> = met.map(|(name, count)| format!("{name}={count}")).collect();
    if list.is_empty() { "nothing".to_owned() } else { list.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::example;

    #[test]
    fn only_what_happened_is_named() {
        assert_eq!(met(&example().discards), "mac1=5 replayed=3");
        assert_eq!(met(&BTreeMap::new()), "nothing");
    }
}
