//! Measures how long an upstream sends no output of its model while it works on a request.
//!
//! A model can think without showing it. If Baton cuts such an answer, what has passed says nothing
//! about what the upstream bills.

use std::time::Duration;
use tokio::time::Instant;

/// Shorter pauses are usual between two events of a model whose whole output is visible.
const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// The pauses of an answer, in all, up to which its visible output shows what it costs.
const VISIBLE_SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long an upstream waits for its bytes to be read. Proxies end such connections after 30 to 60
/// seconds (nginx, `send_timeout`).
const UNREAD_MAX: Duration = Duration::from_secs(5);

/// How long the bytes last that arrived before an upstream closed its connection.
const UNREAD_REST_MAX: Duration = Duration::from_mins(1);

/// Returns whether an upstream that sent no output for so long can bill much more than its visible
/// output.
pub(crate) fn is_hidden_work(silence: Duration) -> bool {
    silence > VISIBLE_SILENCE_MAX
}

/// The pauses in the output of an answer. Pings and keep-alives are not output.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutputClock {
    output_chars: u64,
    /// When the first and the last output came.
    output_at: Option<(Instant, Instant)>,
    /// The pauses between these two.
    pauses: Duration,
    /// The time before the first output in which Baton itself did not read.
    left_out: Duration,
    /// When the upstream's bytes were last read.
    read_at: Option<Instant>,
    /// When the last wait of the upstream's bytes for longer than [`UNREAD_MAX`] ended.
    left_unread_at: Option<Instant>,
}

impl OutputClock {
    /// Notes the number of characters of output so far.
    pub(crate) fn note_output(&mut self, output_chars: u64) {
        if output_chars <= self.output_chars {
            return;
        }
        self.output_chars = output_chars;
        let now = Instant::now();
        let (first, last) = self.output_at.unwrap_or((now, now));
        self.pauses += pause(now - last);
        self.output_at = Some((first, now));
    }

    /// Baton begins to read bytes of the upstream.
    pub(crate) fn begin_read(&mut self) {
        if self.read_at.is_some_and(|at| at.elapsed() > UNREAD_MAX) {
            self.left_unread_at = Some(Instant::now());
        }
    }

    /// Baton has read what was there.
    pub(crate) fn end_read(&mut self) {
        self.read_at = Some(Instant::now());
    }

    /// Returns whether the upstream can have closed its connection because its bytes were not read.
    /// The rest of them is still read before the end of the connection is noticed.
    pub(crate) fn was_left_unread(&self) -> bool {
        self.left_unread_at.is_some_and(|at| at.elapsed() < UNREAD_REST_MAX)
    }

    /// Leaves out the last `time`, in which Baton did not read because its memory was full.
    pub(crate) fn leave_out(&mut self, time: Duration) {
        match &mut self.output_at {
            Some((_, last)) => *last += time,
            None => self.left_out += time,
        }
    }

    /// Returns how long the upstream has sent no output since it was called at `called_at`.
    pub(crate) fn silence_since(self, called_at: Instant) -> Duration {
        match self.output_at {
            None => called_at.elapsed().saturating_sub(self.left_out),
            Some((first, last)) => {
                let until_first = first.saturating_duration_since(called_at);
                pause(until_first.saturating_sub(self.left_out))
                    + self.pauses
                    + pause(last.elapsed())
            }
        }
    }
}

/// Returns how much a time without output counts.
fn pause(time: Duration) -> Duration {
    if time < SHORT_PAUSE { Duration::ZERO } else { time }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an answer that has its next output after each of these times, and is cut after the
    /// last one.
    async fn is_hidden(milliseconds: impl IntoIterator<Item = u64>) -> bool {
        let (called_at, mut clock, mut chars) = (Instant::now(), OutputClock::default(), 0);
        let mut times = milliseconds.into_iter().peekable();
        while let Some(time) = times.next() {
            tokio::time::advance(Duration::from_millis(time)).await;
            // A ping does not change the number of characters.
            clock.note_output(chars);
            if times.peek().is_some() {
                chars += 1;
                clock.note_output(chars);
            }
        }
        is_hidden_work(clock.silence_since(called_at))
    }

    /// A wait for memory says nothing about the upstream.
    #[tokio::test(start_paused = true)]
    async fn time_in_which_baton_does_not_read_is_left_out() {
        let (called_at, mut clock) = (Instant::now(), OutputClock::default());
        for chars in 0..4 {
            clock.note_output(chars);
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::time::advance(Duration::from_secs(29)).await;
            clock.leave_out(Duration::from_secs(29));
        }
        assert!(!is_hidden_work(clock.silence_since(called_at)));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(is_hidden_work(clock.silence_since(called_at)));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_wait_for_the_client_are_noticed() {
        let mut clock = OutputClock::default();
        for (waits, reads, expected) in
            [(5, 60, false), (4, 1, false), (6, 1, true), (0, 60, true), (0, 1, false)]
        {
            tokio::time::advance(Duration::from_secs(waits)).await;
            clock.begin_read();
            assert_eq!(clock.was_left_unread(), expected, "{waits}");
            tokio::time::advance(Duration::from_secs(reads)).await;
            clock.end_read();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_upstream_hides_its_work() {
        for (times, expected, reason) in [
            (vec![10_000], false, "a short wait"),
            (vec![10_001], true, "silent from the start"),
            (vec![3_000; 3], false, "9 s in all"),
            (vec![3_000; 4], true, "12 s in all"),
            (vec![200; 600], false, "a visible stream of two minutes"),
            (vec![1_999; 60], false, "a slow one"),
            (vec![500, 500, 10_001], true, "it thinks at the end"),
            (vec![9_000, 500, 500, 1_000], false, "it thinks shortly before its text"),
            (vec![9_000, 500, 2_000], true, "and again after it"),
        ] {
            assert_eq!(is_hidden(times.clone()).await, expected, "{reason}: {times:?}");
        }
    }
}
