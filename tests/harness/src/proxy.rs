//! A fake proxy: HTTP in absolute form, CONNECT (which it refuses) and SOCKS5. It connects to one
//! upstream for every requested name, as if only the proxy could resolve the name.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running fake proxy; it stops when dropped.
pub struct FakeProxy {
    address: SocketAddr,
    seen: RequestedTargets,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct RequestedTargets(Arc<Mutex<Vec<String>>>);

impl RequestedTargets {
    fn note(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl FakeProxy {
    /// Starts a proxy in front of an upstream.
    pub async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("the proxy's address");
        let seen = RequestedTargets::default();
        let notes = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let notes = notes.clone();
                // A client that disconnects early is not an error.
                tokio::spawn(async move { serve(client, upstream, &notes).await.ok() });
            }
        });
        Self { address, seen, task }
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that it received, oldest first: request heads, and `SOCKS5 user:password
    /// host:port`.
    pub fn seen(&self) -> Vec<String> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FakeProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    seen: &RequestedTargets,
) -> io::Result<()> {
    let mut first = [0];
    client.peek(&mut first).await?;
    if first[0] == 5 {
        socks5(&mut client, seen).await?;
        let mut there = TcpStream::connect(upstream).await?;
        copy_bidirectional(&mut client, &mut there).await?;
        return Ok(());
    }
    let head = head(&mut client).await?;
    seen.note(head.clone());
    if head.starts_with("CONNECT ") {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
    }
    let mut there = TcpStream::connect(upstream).await?;
    there.write_all(origin_form(&head).as_bytes()).await?;
    copy_bidirectional(&mut client, &mut there).await?;
    Ok(())
}

async fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The head in the form that the upstream expects: only the path, and one request for each
/// connection.
fn origin_form(head: &str) -> String {
    let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let path = target.splitn(4, '/').nth(3).unwrap_or_default();
    format!("{method} /{path} HTTP/1.1\r\nconnection: close\r\n{rest}")
}

/// RFC 1928 with the user and password of RFC 1929.
async fn socks5(client: &mut TcpStream, seen: &RequestedTargets) -> io::Result<()> {
    let mut start = [0; 2];
    client.read_exact(&mut start).await?;
    let methods = bytes(client, start[1]).await?;
    let mut who = String::new();
    if methods.contains(&2) {
        client.write_all(&[5, 2]).await?;
        client.read_u8().await?;
        let mut parts = Vec::new();
        for _ in 0..2 {
            let length = client.read_u8().await?;
            parts.push(String::from_utf8_lossy(&bytes(client, length).await?).into_owned());
        }
        who = parts.join(":");
        client.write_all(&[1, 0]).await?;
    } else {
        client.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = if request[3] == 3 {
        let length = client.read_u8().await?;
        String::from_utf8_lossy(&bytes(client, length).await?).into_owned()
    } else {
        let length = if request[3] == 1 { 4 } else { 16 };
        format!("{:?}", bytes(client, length).await?)
    };
    let port = client.read_u16().await?;
    seen.note(format!("SOCKS5 {who} {host}:{port}"));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

async fn bytes(client: &mut TcpStream, length: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.into()];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}
