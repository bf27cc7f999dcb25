//! The panels of a dashboard for Grafana, with what Prometheus knows for them, as text.

use std::fmt::{self, Display};

use serde_json::Value;

use super::prometheus::Prometheus;

/// How long a rate looks back: four times the interval, as Grafana has it.
const RATE_INTERVAL: &str = "4s";

/// A second of a plot, from nothing to the greatest value of the panel.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A panel.
pub(super) struct Panel {
    pub(super) title: String,
    unit: String,
    /// Whether it is one value, not a plot.
    is_stat: bool,
    /// What it is named by, not by its value.
    is_name: bool,
    /// The times it is about.
    seconds: [u64; 2],
    /// The legend of each query, and its series.
    pub(super) targets: Vec<(String, Vec<Series>)>,
}

/// A line of a panel.
pub(super) struct Series {
    name: String,
    /// Time and value.
    samples: Vec<(f64, f64)>,
}

/// Each panel of a dashboard, from `begun` until now, of the daemon whose metrics are at `instance`.
pub(super) fn panels(
    dashboard: &Value,
    prometheus: &Prometheus<'_>,
    begun: f64,
    instance: &str,
) -> Vec<Panel> {
    let ended = prometheus.number("time()").unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let target = |target: &Value| {
        let query = text(&target["expr"])
            .replace("$interface", "tun0")
            .replace("$instance", instance)
            .replace("$__rate_interval", RATE_INTERVAL);
        assert!(!query.contains('$'), "an unknown variable: {query}");
        let legend = text(&target["legendFormat"]);
        let series = prometheus.range(&query, begun).into_iter();
        let series =
            series.map(|(labels, samples)| Series { name: named(&legend, &labels), samples });
        (legend.clone(), series.collect())
    };
    let panel = |panel: &Value| Panel {
        title: text(&panel["title"]),
        unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
        is_stat: panel["type"] == "stat",
        is_name: panel["options"]["textMode"] == "name",
        seconds: [begun as u64, ended as u64],
        targets: panel["targets"].as_array().unwrap().iter().map(target).collect(),
    };
    dashboard["panels"].as_array().unwrap().iter().map(panel).collect()
}

/// A legend with the labels of a series in it.
fn named(legend: &str, labels: &Value) -> String {
    let labels = labels.as_object().unwrap().iter();
    labels.fold(legend.to_owned(), |name, (label, value)| {
        name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap())
    })
}

impl Panel {
    fn series(&self) -> impl Iterator<Item = &Series> {
        self.targets.iter().flat_map(|(_, series)| series)
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.series().flat_map(|series| &series.samples).map(|(_, value)| *value)
    }

    /// The names of its series that are there in the end, if it is one value, or at any time.
    pub(super) fn names(&self) -> Vec<&str> {
        let end = self.series().map(Series::end).fold(0.0, f64::max);
        let there = self.series().filter(|series| !self.is_stat || series.end() == end);
        there.map(|series| series.name.as_str()).collect()
    }

    /// The value in the end.
    pub(super) fn latest(&self) -> f64 {
        self.series().next().unwrap().samples.last().unwrap().1
    }

    pub(super) fn greatest(&self) -> f64 {
        self.values().fold(f64::MIN, f64::max)
    }

    /// A series over the time of the run; where it has no value is a blank.
    fn plot(&self, series: &Series) -> String {
        let top = self.greatest();
        let at = |second: u64| {
            let here = |(time, _): &&(f64, f64)| *time as u64 == second;
            let value = series.samples.iter().find(here)?.1;
            let level = if top > 0.0 { value / top * (LEVELS.len() - 1) as f64 } else { 0.0 };
            LEVELS.get(level.round() as usize).copied()
        };
        let [begun, ended] = self.seconds;
        let plot: String = (begun..=ended).map(|second| at(second).unwrap_or(' ')).collect();
        plot.trim_end().to_owned()
    }

    fn with_unit(&self, value: f64) -> String {
        let (number, prefix) = match value {
            1e6.. => (value / 1e6, "M"),
            1e3.. => (value / 1e3, "k"),
            _ => (value, ""),
        };
        match self.unit.as_str() {
            "percentunit" => format!("{:.1} %", value * 100.0),
            "bps" => format!("{number:.1} {prefix}b/s"),
            "pps" => format!("{number:.1} {prefix}/s"),
            "s" => format!("{value:.0} s"),
            _ if self.is_stat => format!("{value}"),
            _ => format!("{value:.1}"),
        }
    }
}

impl Series {
    fn end(&self) -> f64 {
        self.samples.last().map_or(0.0, |(time, _)| *time)
    }

    fn greatest(&self) -> f64 {
        self.samples.iter().map(|(_, value)| *value).fold(f64::MIN, f64::max)
    }
}

impl Display for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_stat {
            let value =
                if self.is_name { self.names().join(" ") } else { self.with_unit(self.latest()) };
            return writeln!(f, "{:<25} {value}", self.title);
        }
        writeln!(f, "{}", self.title)?;
        for series in self.series() {
            let (name, greatest) = (&series.name, self.with_unit(series.greatest()));
            writeln!(f, "  {name:<23} {greatest:>11} {}", self.plot(series))?;
        }
        Ok(())
    }
}
