//! A name server that knows one name.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name, which is this machine's.
pub(crate) const NAME: &str = "upstream.test";

/// It serves until the test is over.
pub(crate) struct NameServer {
    was_asked: Arc<AtomicBool>,
}

impl NameServer {
    /// Where resolvers look for it, on the port that they take.
    pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 53, 0, 53);

    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind((Self::ADDRESS, 53)).expect("port 53, which is root's");
        let was_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&was_asked);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let Some(answer) = answer(&question[..length]) else { continue };
                asked.store(true, Ordering::Release);
                let _sent = socket.send_to(&answer, from);
            }
        });
        Self { was_asked }
    }

    /// Whether anybody asked for the name.
    pub(crate) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Acquire)
    }
}

/// The answer to a question for the name: an address of version 4, none of version 6 (RFC 1035 §4.1).
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
