//! A DNS server that knows one name.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name. It points to this machine.
pub(crate) const NAME: &str = "upstream.test";

/// The server. It runs until the test process ends.
pub(crate) struct NameServer {
    was_queried: Arc<AtomicBool>,
}

impl NameServer {
    /// The address that `resolv.conf` names. Resolvers always use port 53.
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 53, 0, 53);

    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind((Self::ADDRESS, 53)).expect("port 53, which is root's");
        let was_queried = Arc::new(AtomicBool::new(false));
        let queried = Arc::clone(&was_queried);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let Some(answer) = answer(&question[..length]) else { continue };
                queried.store(true, Ordering::Release);
                let _sent = socket.send_to(&answer, from);
            }
        });
        Self { was_queried }
    }

    /// Whether a resolver has asked for the name.
    pub(crate) fn was_queried(&self) -> bool {
        self.was_queried.load(Ordering::Acquire)
    }
}

/// Answers a query for the name with an IPv4 address and with no IPv6 address (RFC 1035 §4.1).
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let labels = NAME.split('.').flat_map(|label| {
        std::iter::once(u8::try_from(label.len()).unwrap_or(u8::MAX)).chain(label.bytes())
    });
    let wanted: Vec<u8> = labels.chain([0]).collect();
    let question = message.get(HEADER..HEADER + wanted.len() + 4)?;
    let (name, kind) = question.split_at(wanted.len());
    if !name.eq_ignore_ascii_case(&wanted) {
        return None;
    }
    let is_v4 = kind[..2] == [0, 1];
    let mut answer = message[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
    answer.extend(question);
    if is_v4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}
