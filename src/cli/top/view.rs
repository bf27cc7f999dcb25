//! What `tunneld top` shows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph, Row, Table};

use super::history::{History, Sample};
use crate::cli::status::{bytes, scaled, time};
use crate::daemon::status::{State, Status};

/// How far back the plots reach, in seconds.
const SPAN: f64 = 300.0;

/// A line of a plot: its name, its colour, and which value it shows.
type Curve = (&'static str, Color, fn(&Sample) -> f64);

/// Draws the latest status, and the samples before it; `trouble` is why there is none newer.
pub(super) fn draw(frame: &mut Frame<'_>, history: &History, trouble: Option<&str>) {
    let [head, plots, lower, foot] = Layout::vertical([
        Constraint::Length(6),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let keys = Line::from(" q: quit").dim();
    frame.render_widget(trouble.map_or(keys, |why| Line::from(format!(" {why}")).red()), foot);
    let Some(status) = history.latest() else { return };
    frame.render_widget(summary(status), head);
    let [left, right] = halves(plots);
    let now = history.now();
    plot(
        frame,
        left,
        history,
        "throughput",
        "b/s",
        [
            ("sent", Color::Green, |sample| sample.sent_bits),
            ("received", Color::Cyan, |sample| sample.received_bits),
        ],
    );
    plot(
        frame,
        right,
        history,
        "packets",
        "/s",
        [
            ("sent", Color::Green, |sample| sample.sent_packets),
            ("received", Color::Cyan, |sample| sample.received_packets),
        ],
    );
    let [left, right] = halves(lower);
    plot(
        frame,
        left,
        history,
        "events",
        "/s",
        [
            ("handshakes", Color::Yellow, |sample| sample.handshakes as f64),
            ("discards", Color::Red, |sample| sample.discards),
        ],
    );
    frame.render_widget(counters(status, now), right);
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area)
}

fn summary(status: &Status) -> Paragraph<'_> {
    let Status { link, peer, sent, received, .. } = status;
    let colour = match link.state {
        State::Up | State::Idle => Color::Green,
        State::Waiting | State::Connecting => Color::Yellow,
        State::Silent | State::Down => Color::Red,
    };
    let endpoint =
        peer.endpoint.map_or("not known yet".to_owned(), |endpoint| endpoint.to_string());
    let handshake =
        peer.latest_handshake_age_seconds.map_or("never".to_owned(), |age| time(age) + " ago");
    let traffic = format!("sent {}, received {}", bytes(sent.bytes), bytes(received.bytes));
    Paragraph::new(vec![
        Line::from(vec![
            Span::styled(link.state.name(), Style::new().fg(colour).bold()),
            Span::raw(format!(" for {}: {}", time(link.for_seconds), link.reason)),
        ]),
        Line::from(format!("peer {endpoint}   handshake {handshake}, {} in all", peer.handshakes)),
        Line::from(format!("mtu {}   up {}", status.mtu, time(status.uptime_seconds))),
        Line::from(traffic),
    ])
    .block(Block::bordered().title(format!(" tunneld {} ", status.interface)))
}

/// Curves over the last five minutes, with what they are at now.
fn plot(
    frame: &mut Frame<'_>,
    area: Rect,
    history: &History,
    title: &'static str,
    unit: &str,
    curves: [Curve; 2],
) {
    let lines = curves.map(|(_, _, value)| history.line(value));
    let greatest = lines.iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max);
    // A plot of nothing still has a scale.
    let top = if greatest > 0.0 { greatest } else { 1.0 };
    let now = history.now();
    let mut heading = vec![Span::raw(format!(" {title}"))];
    for (name, colour, value) in curves {
        heading.push(Span::styled(format!(" {name} {}", rate(value(&now), unit)), colour));
    }
    heading.push(Span::raw(" "));
    let datasets = curves.iter().zip(&lines).map(|((_, colour, _), line)| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(*colour)
            .data(line)
    });
    let chart = Chart::new(datasets.collect())
        .block(Block::bordered().title(Line::from(heading)))
        .x_axis(Axis::default().bounds([-SPAN, 0.0]).labels(["-5 min", "now"]))
        .y_axis(Axis::default().bounds([0.0, top]).labels(["0".to_owned(), rate(top, unit)]));
    frame.render_widget(chart, area);
}

fn rate(number: f64, unit: &str) -> String {
    let (number, prefix) = scaled(number);
    let digits = if prefix.is_empty() { 0 } else { 1 };
    format!("{number:.digits$} {prefix}{unit}")
}

/// What was lost and discarded, the most frequent first.
fn counters(status: &Status, now: Sample) -> Table<'_> {
    let arrivals = &status.arrivals;
    let mut rows = vec![
        ("lost inbound", arrivals.lost),
        ("duplicates", arrivals.duplicates),
        ("reordered", arrivals.reordered),
    ];
    let Status { discards, underlay, device, .. } = status;
    let counts = [discards, &underlay.discards, &device.discards].into_iter().flatten();
    let mut met: Vec<_> = counts.filter(|(_, count)| **count > 0).collect();
    met.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    rows.extend(met.into_iter().map(|(name, count)| (name.as_str(), *count)));
    let rows = rows.into_iter().map(|(name, count)| Row::new([name.to_owned(), count.to_string()]));
    let title = format!(" lost and discarded {} ", rate(now.discards, "/s"));
    Table::new(rows, [Constraint::Min(24), Constraint::Min(8)])
        .block(Block::bordered().title(title))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::daemon::status::example;

    /// What is on a screen of that size.
    fn screen(size: (u16, u16), history: &History, trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, history, trouble)).unwrap();
        terminal.backend().to_string()
    }

    fn seen() -> History {
        let mut history = History::default();
        for second in 0..60_u32 {
            let mut status = example();
            status.uptime_seconds += f64::from(second);
            status.sent.bytes += u64::from(second) * 125_000;
            status.received.packets += u64::from(second) * 2000;
            history.push(status);
        }
        history
    }

    #[test]
    fn the_screen_shows_state_rates_and_discards() {
        let screen = screen((120, 30), &seen(), None);
        for text in [
            "tunneld tun0",
            "up for 1 h: the peer answered our call",
            "peer [2001:db8::2]:51820",
            "throughput sent 1.0 Mb/s received 0 b/s",
            "packets sent 0 /s received 2.0 k/s",
            "events handshakes 0 /s discards 0 /s",
            "lost inbound",
            "mac1",
            "q: quit",
        ] {
            assert!(screen.contains(text), "{text}\n{screen}");
        }
        assert!(!screen.contains("rate_limited"), "{screen}");
        // A curve is drawn with dots.
        assert!(
            screen.chars().any(|letter| ('\u{2801}'..='\u{28ff}').contains(&letter)),
            "{screen}"
        );
    }

    #[test]
    fn trouble_is_told_and_what_was_seen_stays() {
        let screen = screen((80, 24), &seen(), Some("no tunneld answers"));
        assert!(
            screen.contains("no tunneld answers") && screen.contains("tunneld tun0"),
            "{screen}"
        );
    }

    #[test]
    fn no_size_of_a_terminal_and_no_lack_of_data_is_too_small() {
        for size in [(1, 1), (10, 3), (20, 8), (300, 100)] {
            screen(size, &seen(), None);
            screen(size, &History::default(), None);
        }
    }
}
