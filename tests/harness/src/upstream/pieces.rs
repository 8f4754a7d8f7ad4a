//! Sends an answer in pieces that are read one by one.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

/// The time between two pieces, in which the client reads the first one.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends the pieces with a pause between them. Stops silently when the client has left.
pub fn send_pieces(stream: &mut TcpStream, pieces: &[Vec<u8>]) {
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            std::thread::sleep(PAUSE);
        }
        let _client_left = stream.write_all(piece);
    }
}
