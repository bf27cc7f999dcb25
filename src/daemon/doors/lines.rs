//! Lines from a client who may send anything, slowly or without end, and answers to one who may not read them.

use std::io;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::time::timeout;

/// The longest line that is read.
pub(super) const LONGEST: usize = 4096;
/// The same with its end.
const LIMIT: u64 = LONGEST as u64 + 1;
/// How long a line may take to come.
pub(super) const READ_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take to be read.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(5);

/// What came of reading a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// More than a line may have.
    TooLong,
    /// Nothing more, or not in time, or no text.
    End,
}

/// Reads a line.
pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> Line {
    let mut bytes = Vec::new();
    let mut limited = from.take(LIMIT);
    match timeout(READ_TIME, limited.read_until(b'\n', &mut bytes)).await {
        Ok(Ok(_)) if bytes.last() == Some(&b'\n') => {
            bytes.pop();
            String::from_utf8(bytes).map_or(Line::End, Line::Text)
        }
        Ok(Ok(read)) if read > LONGEST => Line::TooLong,
        _ => Line::End,
    }
}

/// Writes all of `text`.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    write_within(WRITE_TIME, to, text).await
}

/// The same, if it takes no longer than `time`.
pub(super) async fn write_within(
    time: Duration,
    to: &mut (impl AsyncWrite + Unpin),
    text: &str,
) -> io::Result<()> {
    timeout(time, to.write_all(text.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines_of(bytes: &[u8]) -> Vec<Line> {
        let mut reader = BufReader::new(bytes);
        let mut lines = Vec::new();
        loop {
            let line = read(&mut reader).await;
            let last = !matches!(line, Line::Text(_));
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    #[tokio::test]
    async fn a_line_ends_where_it_ends_and_may_not_be_longer_than_the_longest() {
        let text = |text: &str| Line::Text(text.to_owned());
        assert_eq!(lines_of(b"a\n\nb").await, [text("a"), text(""), Line::End]);
        assert_eq!(lines_of(b"\xff\n").await, [Line::End]);
        let longest = "x".repeat(LONGEST);
        assert_eq!(lines_of(format!("{longest}\n").as_bytes()).await, [text(&longest), Line::End]);
        assert_eq!(lines_of(format!("{longest}x\n").as_bytes()).await, [Line::TooLong]);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_who_sends_half_a_line_nor_who_does_not_read_is_waited_for_long() {
        let (mut theirs, ours) = tokio::io::duplex(16);
        theirs.write_all(b"half").await.unwrap();
        let mut ours = BufReader::new(ours);
        assert_eq!(read(&mut ours).await, Line::End);
        let error = write(&mut ours, &"x".repeat(100)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
