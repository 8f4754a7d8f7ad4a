//! What is asked: the request's body, kept as received, and the few fields of it that matter.

use crate::authenticate::Caller;
use crate::held_bytes::{Allowance, Full, Taken};
use crate::receipt::Bill;
use crate::reply::Refusal;
use crate::{Asked, Means};
use baton_cloud::settings::InputBounds;
use baton_wire::bedrock::Action;
use baton_wire::body_form::check_body_form;
use baton_wire::envelope::Envelope;
use baton_wire::model_path::{ID_BYTES_MAX, is_odd};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body::Body;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the rest of a refused request is read on at most.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(30);

/// A body, and what this process may hold of its key's bytes for as long as it is there.
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _allowance: Allowance,
}

impl Means {
    /// Reads the body whole, within the time and the least rate of bodies. Its bytes are taken from
    /// what the key may hold before they are read.
    pub(crate) async fn read<B>(
        &self,
        asked: &Asked,
        (caller, bill): (&Caller, Bill),
        body: Pin<&mut B>,
    ) -> Result<HeldBody, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        let mut body = body;
        let announced = announced(asked).unwrap_or_default();
        let read = tokio::select! {
            biased;
            read = self.read_held(announced, (caller, bill), body.as_mut()) => read,
            () = self.stop.is_over.cancelled() => Err(Refusal::stopping()),
        };
        if let Err(refusal) = &read
            && refusal.status() != StatusCode::REQUEST_TIMEOUT
            && !self.stop.is_over.is_cancelled()
        {
            // A client that is still sending would see a broken connection, not the reason.
            self.discard(body, self.body_bytes_max.saturating_mul(2)).await;
        }
        read
    }

    async fn read_held<B>(
        &self,
        announced: usize,
        (caller, bill): (&Caller, Bill),
        body: Pin<&mut B>,
    ) -> Result<HeldBody, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        if announced > self.body_bytes_max {
            return Err(Refusal::too_large(self.body_bytes_max));
        }
        let key = caller.key();
        let taken = Taken {
            bytes: announced,
            is_metered: bill == Bill::Metered,
            concurrency: key.limits.concurrency,
        };
        let mut allowance = self.held.take(&key.id, taken).await?;
        let pace = Pace::new(&self.bounds);
        let bytes = whole(body, announced, self.body_bytes_max, (pace, &mut allowance)).await?;
        Ok(HeldBody { bytes, _allowance: allowance })
    }

    /// Reads up to `bytes_max` of a refused request's body into nowhere, for a bounded time.
    pub(crate) async fn discard<B: Body<Data = Bytes>>(&self, body: Pin<&mut B>, bytes_max: usize) {
        let time = DISCARD_TIME_MAX.min(self.bounds.body_stall);
        let _late = timeout(time, discard(body, bytes_max)).await;
    }
}

/// How fast a body has to come.
struct Pace {
    deadline: Instant,
    /// In each window of this length...
    window: Duration,
    /// ...so many bytes have to come.
    least: usize,
    window_ends: Instant,
    in_window: usize,
    whole_time: Duration,
}

impl Pace {
    fn new(bounds: &InputBounds) -> Self {
        let now = Instant::now();
        let seconds = usize::try_from(bounds.body_stall.as_secs()).unwrap_or(usize::MAX);
        Self {
            deadline: now + bounds.body,
            window: bounds.body_stall,
            least: bounds.body_bytes_per_second.saturating_mul(seconds).max(1),
            window_ends: now + bounds.body_stall,
            in_window: 0,
            whole_time: bounds.body,
        }
    }

    /// The next frame, or why it is not waited for any longer.
    async fn next<B>(
        &mut self,
        body: &mut Pin<&mut B>,
    ) -> Result<Option<http_body::Frame<Bytes>>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display + Send,
    {
        loop {
            match timeout_at(self.window_ends.min(self.deadline), body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => {
                    self.in_window += frame.data_ref().map_or(0, Bytes::len);
                    // A client that always has a small piece ready is never waited for.
                    if Instant::now() < self.window_ends.min(self.deadline) {
                        return Ok(Some(frame));
                    }
                    self.check()?;
                    return Ok(Some(frame));
                }
                Ok(Some(Err(error))) => return Err(Refusal::broken_body(&error.to_string())),
                Err(_) => self.check()?,
            }
        }
    }

    /// Begins the next window, if the last one brought enough.
    fn check(&mut self) -> Result<(), Refusal> {
        let now = Instant::now();
        if now >= self.deadline {
            let seconds = self.whole_time.as_secs_f64();
            return Err(Refusal::late_body(&format!("did not come within {seconds} s")));
        }
        if self.in_window < self.least {
            let (least, seconds) = (self.least, self.window.as_secs_f64());
            let message = format!("brought fewer than {least} bytes in {seconds} s");
            return Err(Refusal::late_body(&message));
        }
        self.in_window = 0;
        self.window_ends = now + self.window;
        Ok(())
    }
}

/// The body in one piece, in memory that is asked for once where its length was announced.
async fn whole<B>(
    mut body: Pin<&mut B>,
    announced: usize,
    bytes_max: usize,
    (mut pace, allowance): (Pace, &mut Allowance),
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display + Send,
{
    let mut whole = BytesMut::with_capacity(announced);
    while let Some(frame) = pace.next(&mut body).await? {
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > bytes_max {
            return Err(Refusal::too_large(bytes_max));
        }
        if length > whole.capacity() {
            // What is held is what was asked for, not what has come: and while it is copied to a
            // larger place, both places.
            let more = whole.capacity().max(data.len());
            allowance.cover(whole.capacity() + whole.len() + more)?;
            whole.reserve(more);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn announced(asked: &Asked) -> Option<usize> {
    asked.head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, bytes_max: usize) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > bytes_max {
            return;
        }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        match full {
            Full::Key(bytes) => Self::too_many_bytes_of_key(bytes),
            Full::InAll => Self::too_many_bytes(),
            Full::Concurrency(most) => Self::too_many_at_once(most),
        }
    }
}

/// The fields that the relay needs.
pub(crate) fn envelope<'a>(asked: &'a Asked, body: &'a [u8]) -> Result<Envelope<'a>, Refusal> {
    check_body_form(&asked.head.headers)
        .map_err(|error| Refusal::bad_request(&error.to_string()))?;
    let envelope = match &asked.bedrock {
        None => Envelope::read(body)?,
        Some((model, action)) => Envelope::beside(body, model, *action == Action::Stream)?,
    };
    if envelope.model.len() > ID_BYTES_MAX {
        return Err(Refusal::bad_request("`model` is too long to be the name of a model"));
    }
    if let Some(field) = envelope.later {
        return Err(Refusal::bad_request(&format!(
            "{field}: an answer that is made later could not be fetched here; ask without it"
        )));
    }
    if envelope.model.contains(is_odd) {
        return Err(Refusal::bad_request(
            "`model` has a character that no model's name has: a control character, or one that \
             looks like another",
        ));
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_bytes::{HeldBytes, Most};
    use baton_domain::id::KeyId;
    use futures_util::FutureExt as _;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use std::pin::pin;

    const PIECE: &[u8] = &[b'x'; 10_000];
    const PIECES: usize = 500;

    fn pace() -> Pace {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        Pace {
            deadline: now + seconds(60),
            window: seconds(10),
            least: 1000,
            window_ends: now + seconds(10),
            in_window: 0,
            whole_time: seconds(60),
        }
    }

    fn allowance(bytes: usize) -> Allowance {
        let held =
            HeldBytes::new(Most { in_all: bytes.saturating_mul(4), per_key: bytes, least: 1 });
        let taken = Taken { bytes: 0, is_metered: true, concurrency: None };
        held.try_take(&KeyId::from_bits(1), taken).unwrap()
    }

    /// How long a body was waited for that brings so many bytes every few seconds, and the answer.
    async fn waited(bytes: usize, seconds: u64) -> (u64, String) {
        let begun = Instant::now();
        let piece = Bytes::from(vec![b'x'; bytes]);
        let pieces = futures_util::stream::unfold((), move |()| {
            let piece = piece.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Some((Ok::<_, Infallible>(Frame::data(piece)), ()))
            }
        });
        let body = pin!(StreamBody::new(pieces));
        let mut allowance = allowance(1 << 22);
        let read = whole(body, 0, 1 << 19, (pace(), &mut allowance)).await;
        (begun.elapsed().as_secs(), read.unwrap_err().to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_waited_for_as_long_as_it_keeps_the_pace() {
        for (bytes, every, seconds, said) in [
            (1, 1000, 10, "fewer than 1000 bytes in 10 s"),
            (1, 1, 10, "fewer than 1000 bytes in 10 s"),
            (90, 1, 10, "fewer than 1000 bytes in 10 s"),
            (200, 1, 60, "did not come within 60 s"),
            (100_000, 1, 6, "larger than 524288 bytes"),
        ] {
            let (waited, answer) = waited(bytes, every).await;
            assert_eq!(waited, seconds, "{bytes} bytes every {every} s: {answer}");
            assert!(answer.contains(said), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_ends_where_its_key_may_hold_no_more() {
        let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
        let body = pin!(StreamBody::new(futures_util::stream::iter((0..PIECES).map(piece))));
        let mut allowance = allowance(1 << 20);
        let read = whole(body, 0, usize::MAX, (pace(), &mut allowance)).await;
        assert!(read.unwrap_err().to_string().contains("hold up to 1048576 bytes"));
    }

    /// The most memory that was taken while a body of 5 MB was read, and how often.
    fn taken(announced: usize) -> (usize, u64) {
        let mut read = None;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let mut allowance = allowance(usize::MAX / 2);
        let info = allocation_counter::measure(|| {
            let piece = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(PIECE)));
            let body = pin!(StreamBody::new(futures_util::stream::iter((0..PIECES).map(piece))));
            let held = (pace(), &mut allowance);
            read = whole(body, announced, usize::MAX, held).now_or_never();
        });
        let Some(Ok(read)) = read else { panic!("a good body, at once") };
        assert_eq!(read.len(), PIECES * PIECE.len());
        (usize::try_from(info.bytes_max).unwrap(), info.count_total)
    }

    #[test]
    fn a_body_of_known_length_is_held_once() {
        let (most, times) = taken(PIECES * PIECE.len());
        assert!(most < PIECES * PIECE.len() + 200, "{most} bytes");
        assert!(times <= 2, "the bytes, and what shares them: {times}");
        assert!(taken(0).0 > most, "the counter counts");
    }
}
