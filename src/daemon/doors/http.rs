//! The metrics over HTTP: `GET /metrics` and nothing else, one request for each connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufRead, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::accept::{self, Places};
use super::lines::{self, Line};
use super::metrics::{self, CONTENT_TYPE};
use super::query::Asker;
use crate::daemon::backoff::Backoff;

/// Connections served at once; more are closed as they come.
pub(super) const CONNECTIONS: usize = 8;
/// Most lines of a request's head.
const LINES: usize = 64;
/// How long one request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// Between attempts to listen: the address may be one that comes later.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Serves the metrics at `address` for as long as it is polled.
pub(super) async fn serve(address: SocketAddr, asker: Asker) {
    let listener = listen(address).await;
    let places = Places::new(CONNECTIONS);
    let take = move |(stream, _)| {
        let asker = asker.clone();
        places.serve(async move {
            let _ = tokio::time::timeout(REQUEST_TIME, answer(stream, &asker)).await;
        });
    };
    accept::each(|context| listener.poll_accept(context), take).await;
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "metrics are served");
                return listener;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%address, %error, "metrics cannot be served: tried again");
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, asker: &Asker) {
    let (reader, mut writer) = stream.into_split();
    let Some(asked) = request(&mut BufReader::new(reader)).await else { return };
    let page = match asked {
        Ok(()) => match asker.status().await {
            Some(status) => response("200 OK", CONTENT_TYPE, &metrics::render(&status)),
            None => return,
        },
        Err(status) => response(status, "text/plain", &format!("{status}\n")),
    };
    // Whoever does not read it has gone, or takes too long.
    let _ = lines::write(&mut writer, &page).await;
}

/// Reads the head of a request; whether it is for the metrics, or what to answer instead. `None`: it never came whole.
async fn request(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Result<(), &'static str>> {
    let first = match lines::read(reader).await {
        Line::Text(line) => line,
        Line::TooLong => return Some(Err("414 URI Too Long")),
        Line::End => return None,
    };
    for _ in 0..LINES {
        match lines::read(reader).await {
            Line::Text(line) if line.trim_end().is_empty() => return Some(judge(&first)),
            Line::Text(_) => {}
            Line::TooLong => return Some(Err("431 Request Header Fields Too Large")),
            Line::End => return None,
        }
    }
    Some(Err("431 Request Header Fields Too Large"))
}

/// Whether a request line asks for the metrics.
fn judge(line: &str) -> Result<(), &'static str> {
    let words: Vec<_> = line.trim_end_matches('\r').split(' ').collect();
    let [method, target, version] = words[..] else { return Err("400 Bad Request") };
    if !version.starts_with("HTTP/1.") {
        return Err("400 Bad Request");
    }
    if method != "GET" {
        return Err("405 Method Not Allowed");
    }
    match target.split('?').next() {
        Some("/metrics") => Ok(()),
        _ => Err("404 Not Found"),
    }
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    // RFC 9110 §15.5.6 wants the methods.
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(text: &str) -> Option<Result<(), &'static str>> {
        request(&mut BufReader::new(text.as_bytes())).await
    }

    #[tokio::test]
    async fn only_get_of_the_metrics_is_answered_with_them() {
        assert_eq!(asked("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await, Some(Ok(())));
        assert_eq!(asked("GET /metrics?a=b HTTP/1.0\n\n").await, Some(Ok(())));
        for (line, status) in [
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET /metrics/ HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("GET /metrics", "400 Bad Request"),
            ("GET /metrics SPDY/3", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            assert_eq!(asked(&format!("{line}\r\n\r\n")).await, Some(Err(status)), "{line}");
        }
    }

    #[tokio::test]
    async fn a_request_without_end_is_given_up() {
        assert_eq!(asked("GET /metrics HTTP/1.1\r\n").await, None);
        let long = "x".repeat(5000);
        assert_eq!(asked(&long).await, Some(Err("414 URI Too Long")));
        let too_large = Some(Err("431 Request Header Fields Too Large"));
        assert_eq!(asked(&format!("GET /metrics HTTP/1.1\r\nA: {long}\r\n\r\n")).await, too_large);
        let many = "A: b\r\n".repeat(100);
        assert_eq!(asked(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n")).await, too_large);
    }

    #[test]
    fn a_response_has_its_length() {
        let text = response("405 Method Not Allowed", "text/plain", "no\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "no\n");
        for line in ["HTTP/1.1 405 Method Not Allowed", "Content-Length: 3", "Allow: GET"] {
            assert!(head.split("\r\n").any(|found| found == line), "{head}");
        }
    }
}
