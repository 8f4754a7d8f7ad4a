//! A lean HTTP/1.1 client: one request written at once, the answer's framing walked over without
//! a copy. A library's client costs more per event than the proxies that are measured.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Instant;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::times::{Times, now, record};

const BUFFER_BYTES: usize = 64 * 1024;
/// What the upstream's stamped events say; sixteen digits of microseconds follow.
const STAMP: &[u8] = b"\"at";
const STAMP_DIGITS: usize = 16;

/// A kept connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where the times of an answer go.
pub(crate) struct Stopwatch<'a> {
    pub(crate) first: &'a mut Times,
    pub(crate) whole: &'a mut Times,
    pub(crate) events: &'a mut Times,
    pub(crate) stamped: bool,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Asks, and reads the answer to its end. The first byte of its body counts as the first
    /// event. Who is told to come again in a second gets the error `WouldBlock`, and needs another
    /// connection.
    pub(crate) async fn ask(&mut self, request: &[u8], watch: &mut Stopwatch<'_>) -> Result<()> {
        let start = Instant::now();
        self.stream.write_all(request).await?;
        let (mut framing, body, filled) = self.read_head().await?;
        let mut from = body;
        let mut until = filled;
        let mut is_first = true;
        loop {
            let fresh = &self.buffer[from..until];
            if is_first && !fresh.is_empty() {
                record(watch.first, start);
                is_first = false;
            }
            if watch.stamped {
                read_stamps(fresh, watch.events);
            }
            if framing.pass(fresh) {
                record(watch.whole, start);
                return Ok(());
            }
            (from, until) = (0, self.stream.read(&mut self.buffer).await?);
            if until == 0 {
                return Err(Error::other("the answer broke off"));
            }
        }
    }

    /// Asks, and comes back when the answer has begun, with what is still to come of it.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> Result<Option<Framing>> {
        self.stream.write_all(request).await?;
        let (mut framing, body, filled) = self.read_head().await?;
        let is_over = framing.pass(&self.buffer[body..filled]);
        Ok((!is_over).then_some(framing))
    }

    /// Reads an answer that has begun to its end.
    pub(crate) async fn end(&mut self, begun: Option<Framing>) -> Result<()> {
        let Some(mut framing) = begun else { return Ok(()) };
        loop {
            let read = self.stream.read(&mut self.buffer).await?;
            if read == 0 {
                return Err(Error::other("the answer broke off"));
            }
            if framing.pass(&self.buffer[..read]) {
                return Ok(());
            }
        }
    }

    /// The framing, where the body begins, and how much of the buffer is filled.
    async fn read_head(&mut self) -> Result<(Framing, usize, usize)> {
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(Error::other("no answer"));
            }
            filled += read;
            if let Some(end) = memmem::find(&self.buffer[..filled], b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                let is_told_to_wait = head.lines().any(|line| line == "retry-after: 1");
                if head.get(9..12) == Some("429") && is_told_to_wait {
                    return Err(ErrorKind::WouldBlock.into());
                }
                if head.get(9..12) != Some("200") {
                    let answer = String::from_utf8_lossy(&self.buffer[..filled]);
                    return Err(Error::other(format!("answered {answer}")));
                }
                return Ok((Framing::of(&head)?, end + 4, filled));
            }
        }
    }
}

/// What is still to come of a body.
pub(crate) enum Framing {
    Length(usize),
    Chunked(Chunk),
}

pub(crate) enum Chunk {
    /// The size so far; whether its digits are over (extensions follow).
    Size(usize, bool),
    /// So many bytes with the line end after them; whether the body then ends.
    Bytes(usize, bool),
}

impl Framing {
    fn of(head: &str) -> Result<Self> {
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        if value("transfer-encoding:").is_some_and(|coding| coding.contains("chunked")) {
            return Ok(Self::Chunked(Chunk::Size(0, false)));
        }
        let length = value("content-length:").and_then(|length| length.parse().ok());
        length.map(Self::Length).ok_or_else(|| Error::other("a body without an end"))
    }

    /// Whether the body ends with these bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let chunk = match self {
            Self::Length(left) => {
                *left = left.saturating_sub(bytes.len());
                return *left == 0;
            }
            Self::Chunked(chunk) => chunk,
        };
        while let Some(byte) = bytes.first().copied() {
            match chunk {
                Chunk::Bytes(left, _) if *left > bytes.len() => {
                    *left -= bytes.len();
                    return false;
                }
                Chunk::Bytes(_, true) => return true,
                Chunk::Bytes(left, false) => {
                    bytes = &bytes[*left..];
                    *chunk = Chunk::Size(0, false);
                    continue;
                }
                Chunk::Size(size, _) if byte == b'\n' => {
                    *chunk = Chunk::Bytes(*size + 2, *size == 0);
                }
                Chunk::Size(size, false) => match char::from(byte).to_digit(16) {
                    Some(digit) => *size = *size * 16 + digit as usize,
                    None => *chunk = Chunk::Size(*size, true),
                },
                Chunk::Size(_, true) => {}
            }
            bytes = &bytes[1..];
        }
        false
    }
}

/// How old the stamped events are. One that is cut in two is left out.
fn read_stamps(bytes: &[u8], events: &mut Times) {
    for at in memmem::find_iter(bytes, STAMP) {
        let digits = bytes.get(at + STAMP.len()..at + STAMP.len() + STAMP_DIGITS);
        let stamp = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(stamp) = stamp {
            events.saturating_record(now().saturating_sub(stamp).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_where_it_ends_however_it_is_cut() {
        let body = b"5\r\nhello\r\n1a;x=1\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        for cut in 1..body.len() {
            let mut framing = Framing::of("transfer-encoding: chunked").unwrap();
            assert!(!framing.pass(&body[..cut]));
            assert!(framing.pass(&body[cut..]));
        }
    }

    #[test]
    fn a_stamp_is_read() {
        let mut events = crate::times::histogram();
        let event = format!("data: {{\"text\":\"at{} \"}}\n\n", now());
        read_stamps(event.as_bytes(), &mut events);
        read_stamps(b"\"at17", &mut events);
        assert_eq!(events.len(), 1);
    }
}
