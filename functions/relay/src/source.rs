//! The upstream's side of an answer under way: what comes next, and what is there already.
//!
//! What a piece means is nobody's business here; it ends by the upstream, the alarm or the cut.

use baton_cloud::upstream;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What comes next from the upstream.
pub(crate) enum Next {
    Chunk(Bytes),
    End,
    Broke(&'static str),
    Late,
    Cut,
}

/// An answer's body with its timers.
pub(crate) struct Source {
    body: upstream::Body,
    idle: Duration,
    deadline: Instant,
    /// Rings when the answer may be late; what came meanwhile is looked at then, since a timer
    /// that is set anew for each piece costs more than the piece.
    alarm: Pin<Box<Sleep>>,
    /// When the last piece came.
    heard: Instant,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Source {
    /// The rest of an answer, which may be silent for `idle`, last until `deadline` and be cut.
    pub(crate) fn new(
        body: upstream::Body,
        idle: Duration,
        deadline: Instant,
        cut: CancellationToken,
    ) -> Self {
        let heard = Instant::now();
        let alarm = Box::pin(sleep_until(deadline.min(heard + idle)));
        Self { body, idle, deadline, alarm, heard, cut: Box::pin(cut.cancelled_owned()) }
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            tokio::select! {
                biased;
                frame = self.body.frame() => {
                    self.heard = Instant::now();
                    return Next::of(frame);
                }
                () = &mut self.alarm => {}
                () = &mut self.cut => return Next::Cut,
            }
            let late = self.deadline.min(self.heard + self.idle);
            if Instant::now() >= late {
                return Next::Late;
            }
            self.alarm.as_mut().reset(late);
        }
    }

    /// What comes next, if it is here by now.
    ///
    /// The connection belongs to a task of the HTTP library, which hands over one piece at a time:
    /// it is given one turn to hand over the next. So what arrived together leaves together, in
    /// one write instead of one an event.
    pub(crate) async fn at_hand(&mut self) -> Option<Next> {
        // Twice, since hyper's server polls a body again before it lets the task go.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        self.body.frame().now_or_never().map(Next::of)
    }
}

impl Next {
    fn of<E>(frame: Option<Result<Frame<Bytes>, E>>) -> Self {
        match frame {
            Some(Ok(frame)) => frame.into_data().map_or(Self::End, Self::Chunk),
            Some(Err(_)) => Self::Broke("the upstream's answer broke off"),
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
    fn source(pieces: usize) -> Source {
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
        let body = upstream::Body::wrap(StreamBody::new(frames));
        let (idle, cut) = (Duration::from_secs(10), CancellationToken::new());
        Source::new(body, idle, Instant::now() + idle, cut)
    }

    async fn burst(source: &mut Source) -> usize {
        let mut pieces = 0;
        let mut next = Some(source.next().await);
        while let Some(Next::Chunk(_)) = next {
            pieces += 1;
            next = source.at_hand().await;
        }
        pieces
    }

    #[tokio::test]
    async fn what_arrived_together_is_at_hand_together() {
        assert_eq!(burst(&mut source(100)).await, 100);
        assert_eq!(burst(&mut source(1)).await, 1);
    }

    #[tokio::test]
    async fn a_second_poll_before_the_task_is_let_go_changes_nothing() {
        let mut source = source(100);
        let mut burst = Box::pin(burst(&mut source));
        let pieces = std::future::poll_fn(|context| {
            let first = burst.as_mut().poll(context);
            if first.is_ready() { first } else { burst.as_mut().poll(context) }
        });
        assert_eq!(pieces.await, 100);
    }
}
