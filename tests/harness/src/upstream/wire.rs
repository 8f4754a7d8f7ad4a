//! HTTP/1.1 without a library, one connection at a time: reads requests unchanged and writes
//! answers as scripted. It does not know routes or scenarios.

use std::io::{Error, ErrorKind, Result};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::RecordedRequest;

/// A connection with a client.
pub(super) struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::with_capacity(64 * 1024, reader), writer })
    }

    /// The next request; `None` if the client has closed the connection after the last one.
    pub(super) async fn read_request(&mut self) -> Result<Option<RecordedRequest>> {
        let Some(first) = self.read_line().await? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(bad("request line"));
        };
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await?.ok_or_else(|| bad("end inside the head"))?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad("header line"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = RecordedRequest { method, target, headers, body: Bytes::new() };
        if request.header("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
            self.writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.body = self.read_body(&request).await?;
        Ok(Some(request))
    }

    async fn read_line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line);
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn read_body(&mut self, request: &RecordedRequest) -> Result<Bytes> {
        if request.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return self.read_chunks().await;
        }
        let length = match request.header("content-length") {
            Some(text) => text.parse::<usize>().map_err(|_| bad("content-length"))?,
            None => 0,
        };
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).await?;
        Ok(body.into())
    }

    async fn read_chunks(&mut self) -> Result<Bytes> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?.ok_or_else(|| bad("end inside a body"))?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| bad("chunk size"))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.reader.read_exact(&mut body[start..]).await?;
            self.read_line().await?;
            if size == 0 {
                return Ok(body.into());
            }
        }
    }

    /// Writes the head of an answer in chunks.
    pub(super) async fn write_head(
        &mut self,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<()> {
        let head = head(status, headers, "transfer-encoding: chunked");
        self.writer.write_all(head.as_bytes()).await
    }

    /// Writes a whole answer at once; `body` is empty if only the head was requested.
    pub(super) async fn write_whole(
        &mut self,
        status: u16,
        headers: &[(String, String)],
        whole: &[u8],
        body: &[u8],
    ) -> Result<()> {
        let framing = format!("content-length: {}", whole.len());
        let mut answer = head(status, headers, &framing).into_bytes();
        answer.extend_from_slice(body);
        self.writer.write_all(&answer).await
    }

    pub(super) async fn write_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(&frame(bytes)).await
    }

    /// Writes bytes unchanged.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).await
    }

    /// Waits until the client closes its side. If the client sends another request too early, it
    /// stays in the buffer and this function never returns.
    pub(super) async fn peer_left(&mut self) {
        match self.reader.fill_buf().await {
            Ok([]) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }
}

/// A chunk; an empty one ends the body.
pub(super) fn frame(bytes: &[u8]) -> Vec<u8> {
    let size = format!("{:x}\r\n", bytes.len());
    [size.as_bytes(), bytes, b"\r\n"].concat()
}

/// The head of an answer.
pub(super) fn head(status: u16, headers: &[(String, String)], framing: &str) -> String {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown");
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.extend([framing, "\r\n\r\n"]);
    head
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed {what}"))
}
