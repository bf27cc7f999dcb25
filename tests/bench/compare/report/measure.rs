//! The measures.

/// One of the figures of a subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    TcpThere,
    TcpBack,
    TcpFour,
    TcpBoth,
    Udp100,
    Udp1300,
    PingIdle,
    PingIdle99,
    PingLoaded,
    PingLoaded99,
    Cpu,
    Memory,
    Wakeups,
    WideArea,
}

impl Measure {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 14] = [
        Self::TcpThere,
        Self::TcpBack,
        Self::TcpFour,
        Self::TcpBoth,
        Self::Udp100,
        Self::Udp1300,
        Self::PingIdle,
        Self::PingIdle99,
        Self::PingLoaded,
        Self::PingLoaded99,
        Self::Cpu,
        Self::Memory,
        Self::Wakeups,
        Self::WideArea,
    ];

    /// Those that are made on one CPU too.
    pub(crate) const PINNED: [Self; 4] =
        [Self::TcpThere, Self::TcpBack, Self::TcpBoth, Self::Udp100];

    /// What it is, with its unit.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::TcpThere => "TCP, one stream a to b, Gb/s",
            Self::TcpBack => "TCP, one stream b to a, Gb/s",
            Self::TcpFour => "TCP, four streams, Gb/s",
            Self::TcpBoth => "TCP, both ways at once, Gb/s",
            Self::Udp100 => "UDP, 100 bytes, 1000 packets/s",
            Self::Udp1300 => "UDP, 1300 bytes, 1000 packets/s",
            Self::PingIdle => "ping, idle, median, µs",
            Self::PingIdle99 => "ping, idle, 99th percentile, µs",
            Self::PingLoaded => "ping under a stream, median, µs",
            Self::PingLoaded99 => "ping under a stream, 99th percentile, µs",
            Self::Cpu => "CPU time of both daemons, s/GB",
            Self::Memory => "resident memory, MB",
            Self::Wakeups => "wake-ups when idle, 1/s",
            Self::WideArea => "TCP over 20 ms with 0.1 % loss, Mb/s",
        }
    }

    /// A figure with as many digits as are of use.
    pub(crate) fn show(self, value: f64) -> String {
        let decimals = match self {
            Self::TcpThere | Self::TcpBack | Self::TcpFour | Self::TcpBoth => 2,
            Self::PingIdle | Self::PingIdle99 | Self::PingLoaded | Self::PingLoaded99 => 0,
            Self::Udp100 | Self::Udp1300 | Self::Memory | Self::WideArea => 1,
            Self::Cpu | Self::Wakeups => 2,
        };
        format!("{value:.decimals$}")
    }
}
