//! The upstream's side of an answer under way: what comes next, and what is there already.
//!
//! What a piece means is nobody's business here; it ends by the upstream, the alarm or the cut.

use baton_cloud::upstream;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What comes next from the upstream.
pub(crate) enum SourceEvent {
    Chunk(Bytes),
    End,
    ConnectionLost(&'static str),
    TimedOut,
    Aborted,
    /// The same, because the process is being stopped.
    ShuttingDown,
    /// Nothing for a while, where the client is to be given signs of life.
    KeepAliveDue,
}

/// Between two signs of life of our own. Clients and what is between us give up later than that.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// An answer's body with its timers.
pub(crate) struct ResponseSource {
    body: upstream::UpstreamBody,
    idle: Duration,
    deadline: Instant,
    /// Rings when the answer may be late; what came meanwhile is looked at then, since a timer
    /// that is set anew for each piece costs more than the piece.
    alarm: Pin<Box<Sleep>>,
    /// When the last piece came.
    heard: Instant,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Option<Pin<Box<Sleep>>>,
}

impl ResponseSource {
    /// The rest of an answer, which may be silent for `idle`, last until `deadline` and be cut.
    pub(crate) fn new(
        body: upstream::UpstreamBody,
        idle: Duration,
        deadline: Instant,
        cut: CancellationToken,
    ) -> Self {
        let heard = Instant::now();
        let alarm = Box::pin(sleep_until(deadline.min(heard + idle)));
        let cut = Box::pin(cut.cancelled_owned());
        Self { body, idle, deadline, alarm, heard, cut, silence: None }
    }

    /// The same, telling of silences if `is_silent` says that nobody else will.
    pub(crate) fn with_keep_alives(self, is_silent: bool) -> Self {
        let silence = is_silent.then(|| Box::pin(sleep(SIGN_OF_LIFE)));
        Self { silence, ..self }
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> SourceEvent {
        loop {
            tokio::select! {
                biased;
                frame = self.body.frame() => {
                    self.heard = Instant::now();
                    self.reset_silence_timer();
                    return SourceEvent::from_frame(frame);
                }
                () = &mut self.alarm => {}
                () = &mut self.cut => return SourceEvent::Aborted,
                () = wait_until_elapsed(&mut self.silence) => {
                    self.reset_silence_timer();
                    return SourceEvent::KeepAliveDue;
                }
            }
            let late = self.deadline.min(self.heard + self.idle);
            if Instant::now() >= late {
                return SourceEvent::TimedOut;
            }
            self.alarm.as_mut().reset(late);
        }
    }

    fn reset_silence_timer(&mut self) {
        if let Some(silence) = &mut self.silence {
            silence.as_mut().reset(Instant::now() + SIGN_OF_LIFE);
        }
    }

    /// What comes next, if it is here by now.
    ///
    /// The connection belongs to a task of the HTTP library, which hands over one piece at a time:
    /// it is given one turn to hand over the next. So what arrived together leaves together, in
    /// one write instead of one an event.
    pub(crate) async fn try_next(&mut self) -> Option<SourceEvent> {
        yield_to_other_tasks().await;
        self.body.frame().now_or_never().map(SourceEvent::from_frame)
    }
}

/// Lets the tasks that can run have a turn. Other than tokio's `yield_now` it does not look for
/// I/O first, which would be a system call a piece.
async fn yield_to_other_tasks() {
    // Two polls, since hyper's server polls a body again before it lets the task go.
    let mut polls = 0;
    std::future::poll_fn(|context| {
        polls += 1;
        if polls > 2 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Never, where there is nothing to wait for.
async fn wait_until_elapsed(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

impl SourceEvent {
    fn from_frame<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Self {
        match frame {
            Some(Ok(frame)) => frame.into_data().map_or(Self::End, Self::Chunk),
            Some(Err(_)) => Self::ConnectionLost("the upstream's answer broke off"),
            None => Self::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream::poll_fn;
    use http_body_util::StreamBody;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    /// An answer whose pieces come, one at a time, from a task of its own.
    fn source(pieces: usize) -> ResponseSource {
        let (tell, mut told) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..pieces {
                if tell.send(Bytes::from_static(b"data: {}\n\n")).await.is_err() {
                    return;
                }
            }
            // The answer goes on some time.
            tell.closed().await;
        });
        let frames = poll_fn(move |context| told.poll_recv(context));
        let frames =
            futures_util::StreamExt::map(frames, |piece| Ok::<_, Infallible>(Frame::data(piece)));
        let body = upstream::UpstreamBody::wrap(StreamBody::new(frames));
        let (idle, cut) = (Duration::from_secs(10), CancellationToken::new());
        ResponseSource::new(body, idle, Instant::now() + idle, cut)
    }

    async fn burst(source: &mut ResponseSource) -> usize {
        let mut pieces = 0;
        let mut next = Some(source.next().await);
        while let Some(SourceEvent::Chunk(_)) = next {
            pieces += 1;
            next = source.try_next().await;
        }
        pieces
    }

    #[tokio::test]
    async fn chunks_that_arrive_together_are_returned_together() {
        assert_eq!(burst(&mut source(100)).await, 100);
        assert_eq!(burst(&mut source(1)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_upstream_causes_keep_alives_until_the_idle_timeout() {
        let mut source = ResponseSource { idle: Duration::from_secs(40), ..source(1) };
        source.deadline = Instant::now() + Duration::from_secs(1000);
        source = source.with_keep_alives(true);
        let begun = Instant::now();
        let mut said = Vec::new();
        loop {
            let next = source.next().await;
            said.push((next.name(), begun.elapsed().as_secs()));
            if matches!(next, SourceEvent::TimedOut) {
                break;
            }
        }
        assert_eq!(said, [("chunk", 0), ("silence", 15), ("silence", 30), ("late", 40)]);
    }

    impl SourceEvent {
        fn name(&self) -> &'static str {
            match self {
                Self::Chunk(_) => "chunk",
                Self::KeepAliveDue => "silence",
                Self::TimedOut => "late",
                Self::End | Self::ConnectionLost(_) | Self::Aborted | Self::ShuttingDown => "over",
            }
        }
    }

    #[tokio::test]
    async fn second_poll_before_the_task_yields_changes_nothing() {
        let mut source = source(100);
        let mut burst = Box::pin(burst(&mut source));
        let pieces = std::future::poll_fn(|context| {
            let first = burst.as_mut().poll(context);
            if first.is_ready() { first } else { burst.as_mut().poll(context) }
        });
        assert_eq!(pieces.await, 100);
    }
}
