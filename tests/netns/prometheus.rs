//! A Prometheus on a host of the lab.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::lab::{Host, Lab};
use super::process::{BOUND, Process};

/// Where it listens; the host's loopback is its own.
const ADDRESS: &str = "127.0.0.1:9090";

/// One that asks some daemons for their metrics each second.
pub(super) struct Prometheus<'l> {
    lab: &'l Lab,
    host: Host,
    _process: Process,
}

impl<'l> Prometheus<'l> {
    /// Starts it, for the metrics at these places.
    pub(super) fn start(lab: &'l Lab, host: Host, targets: &[&str]) -> Self {
        let directory = lab.directory_of(host);
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs: [{{ job_name: tunneld, static_configs: [{{ targets: {targets:?} }}] }}]\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = lab.command(host, "prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("prometheus").display()))
            .arg(format!("--web.listen-address={ADDRESS}"));
        let process = Process::start("prometheus", command);
        process.wait_for("Server is ready to receive web requests");
        Self { lab, host, _process: process }
    }

    /// The `data` of what its HTTP API answers there. That it answers no error is part of the test.
    pub(super) fn get(&self, place: &str, parameters: &[(&str, &str)]) -> Value {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        // With HTTP/1.0 the body comes in one piece.
        let request = format!("GET /api/v1/{place}?{} HTTP/1.0\r\n\r\n", parameters.join("&"));
        let asked = request.clone();
        let answer = self.lab.inside(self.host, move || {
            let mut stream = TcpStream::connect(ADDRESS).unwrap();
            stream.set_read_timeout(Some(BOUND)).unwrap();
            stream.write_all(asked.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.join().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], "success", "{request}: {body}");
        body["data"].take()
    }

    /// What a query is now, of the host's own daemon if it is of several; `None`: it knows nothing of it.
    pub(super) fn number(&self, query: &str) -> Option<f64> {
        let data = self.get("query", &[("query", query)]);
        let own = |series: &&Value| {
            series["metric"]["instance"].as_str().is_some_and(|place| place.starts_with("127."))
        };
        let value = match data["resultType"].as_str() {
            Some("scalar") => &data["result"][1],
            _ => &data["result"].as_array()?.iter().find(own)?["value"][1],
        };
        value.as_str()?.parse().ok()
    }

    /// The samples of a query from `begun` until now, one for each second: for each series its labels, and time and value.
    pub(super) fn range(&self, query: &str, begun: f64) -> Vec<(Value, Vec<(f64, f64)>)> {
        let [start, end] = [begun, self.number("time()").unwrap()].map(|time| time.to_string());
        let parameters = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
        let data = self.get("query_range", &parameters);
        let sample =
            |sample: &Value| Some((sample[0].as_f64()?, sample[1].as_str()?.parse().ok()?));
        let series = data["result"].as_array().unwrap().iter();
        series
            .map(|series| {
                let samples = series["values"].as_array().unwrap().iter().filter_map(sample);
                // 0 / 0 where nothing happened.
                let samples = samples.filter(|(_, value): &(f64, f64)| value.is_finite());
                (series["metric"].clone(), samples.collect())
            })
            .filter(|(_, samples): &(Value, Vec<_>)| !samples.is_empty())
            .collect()
    }
}

/// As it may stand in an address.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let one =
        |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}
