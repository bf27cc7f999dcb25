//! Tells the witness what happens; and lies, if it is to be seen that a broken rule is found.

use tunneld::proto::{HANDSHAKE_QUEUE, Instant};

use crate::host::{Datagram, Host};
use crate::paper::{DATA, INITIATION, REJECT_AFTER_TIME, RESPONSE, STAGED};
use crate::scenario::{Scenario, Side};
use crate::witness::{Rule, Violation, Witness};

/// A way in which the core would break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    DeliversTwice,
    DeliversAltered,
    AcceptsForgery,
    AcceptsDataTwice,
    RepeatsCounter,
    InitiatesTwice,
    SendsBeforeConfirmation,
    SendsUnagreed,
    SendsAfterEnd,
    AcceptsLateResponse,
    ReusesIndex,
    StagesTooMany,
    QueuesTooMany,
    TransmitsTooMany,
    CountsNothing,
    AnswersStrangers,
    FollowsStrangers,
    StaysSilent,
    CrossesProfiles,
    KeepsFragments,
    HearsTooMany,
    Panics,
}

impl Sabotage {
    /// Each, with the rule that it breaks.
    pub const ALL: [(Self, Rule); 22] = [
        (Self::DeliversTwice, Rule::DeliveredOnce),
        (Self::DeliversAltered, Rule::DeliveredGenuine),
        (Self::AcceptsForgery, Rule::AcceptedGenuine),
        (Self::AcceptsDataTwice, Rule::AcceptedOnce),
        (Self::RepeatsCounter, Rule::CounterIncreases),
        (Self::InitiatesTwice, Rule::InitiationsApart),
        (Self::SendsBeforeConfirmation, Rule::ConfirmedFirst),
        (Self::SendsUnagreed, Rule::SessionAgreed),
        (Self::SendsAfterEnd, Rule::SessionEnded),
        (Self::AcceptsLateResponse, Rule::ResponseAwaited),
        (Self::ReusesIndex, Rule::IndexUnused),
        (Self::StagesTooMany, Rule::Staged),
        (Self::QueuesTooMany, Rule::HandshakeQueue),
        (Self::TransmitsTooMany, Rule::Transmits),
        (Self::CountsNothing, Rule::Counted),
        (Self::AnswersStrangers, Rule::Amplification),
        (Self::FollowsStrangers, Rule::EndpointStays),
        (Self::StaysSilent, Rule::Liveness),
        (Self::CrossesProfiles, Rule::ProfilesAgree),
        (Self::KeepsFragments, Rule::Reassembly),
        (Self::HearsTooMany, Rule::Stations),
        (Self::Panics, Rule::NoPanic),
    ];
}

pub struct Reporter {
    witness: Witness,
    sabotage: Option<Sabotage>,
}

impl Reporter {
    pub fn new(scenario: &Scenario) -> Self {
        let mut witness = Witness::new(scenario);
        match scenario.sabotage {
            Some(Sabotage::CrossesProfiles) => witness.agrees = false,
            Some(Sabotage::HearsTooMany) => witness.mac_limit = 0,
            _ => {}
        }
        Self { witness, sabotage: scenario.sabotage }
    }

    fn lies(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    pub fn violation(&mut self) -> Option<Violation> {
        self.witness.violation.take()
    }

    pub fn now(&mut self, now: Instant) {
        assert!(!self.lies(Sabotage::Panics), "sabotage");
        self.witness.now = now;
    }

    pub fn restarted(&mut self, side: Side) {
        self.witness.restarted(side);
    }

    pub fn network_changed(&mut self, side: Side) {
        self.witness.network_changed(side);
    }

    pub fn hands_over(&mut self, side: Side, len: usize) -> Vec<u8> {
        if self.lies(Sabotage::StagesTooMany) {
            (0..=STAGED).for_each(|_| drop(self.witness.hands_over(side, len)));
        }
        self.witness.hands_over(side, len)
    }

    pub fn kept_in(&mut self, side: Side) {
        self.witness.kept_in(side);
    }

    pub fn kept_out(&mut self, side: Side) {
        self.witness.kept_out(side);
    }

    pub fn left(&mut self, side: Side, datagram: &Datagram) {
        let message_type = datagram.bytes[0];
        self.witness.left(side, datagram);
        let mut other = datagram.clone();
        match (self.sabotage, message_type) {
            (Some(Sabotage::RepeatsCounter), DATA)
            | (Some(Sabotage::InitiatesTwice), INITIATION) => {}
            (Some(Sabotage::ReusesIndex), RESPONSE) => {}
            (Some(Sabotage::SendsBeforeConfirmation), RESPONSE) => {
                other.bytes[0] = DATA;
                other.bytes.copy_within(8..12, 4);
            }
            (Some(Sabotage::SendsUnagreed), DATA) => other.bytes[4] ^= 1,
            (Some(Sabotage::SendsAfterEnd), DATA) => {
                self.witness.now = self.witness.now + REJECT_AFTER_TIME;
            }
            _ => return,
        }
        self.witness.left(side, &other);
    }

    pub fn accepted(&mut self, side: Side, datagram: &Datagram) {
        if self.lies(Sabotage::AcceptsLateResponse) && datagram.bytes[0] == RESPONSE {
            self.witness.now = self.witness.now + 3 * crate::paper::REKEY_TIMEOUT;
        }
        let mut forgery = datagram.clone();
        if self.lies(Sabotage::AcceptsForgery) {
            forgery.bytes[20] ^= 1;
        }
        self.witness.accepted(side, &forgery);
        if self.lies(Sabotage::AcceptsDataTwice) && datagram.bytes[0] == DATA {
            self.witness.accepted(side, datagram);
        }
    }

    pub fn refused(&mut self, side: Side, datagram: &Datagram, caused: &[Datagram], moved: bool) {
        let echo = [Datagram { to: datagram.from, ..datagram.clone() }];
        let caused = if self.lies(Sabotage::AnswersStrangers) { &echo } else { caused };
        self.witness.refused(
            side,
            datagram,
            caused,
            moved || self.lies(Sabotage::FollowsStrangers),
        );
        if self.lies(Sabotage::CountsNothing) {
            self.witness.refused(side, datagram, caused, moved);
        }
    }

    pub fn delivered(&mut self, side: Side, packet: &[u8]) -> Option<Instant> {
        let mut packet = packet.to_vec();
        if self.lies(Sabotage::DeliversAltered)
            && let Some(last) = packet.last_mut()
        {
            *last ^= 1;
        }
        if self.lies(Sabotage::KeepsFragments) {
            self.witness.keeps_pieces(side, 1000);
        }
        if self.lies(Sabotage::DeliversTwice) {
            self.witness.delivered(side, &packet);
        }
        let handed_over = self.witness.delivered(side, &packet);
        handed_over.filter(|_| !self.lies(Sabotage::StaysSilent))
    }

    pub fn transmitted(&mut self, side: Side, count: usize) {
        let more = if self.lies(Sabotage::TransmitsTooMany) { 2 } else { 0 };
        self.witness.transmitted(side, count + more);
    }

    pub fn bounds(&mut self, side: Side, host: &Host, queued: usize) {
        let more = if self.lies(Sabotage::QueuesTooMany) { HANDSHAKE_QUEUE + 1 } else { 0 };
        self.witness.bounds(side, host, queued + more);
    }

    pub fn alive(&mut self, holds: bool, silent_for: std::time::Duration) {
        if !holds {
            self.witness.fail(Rule::Liveness, format!("no traffic for {silent_for:?}"));
        }
    }
}
