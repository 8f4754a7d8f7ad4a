//! Readings of whole texts, for the tables of the meter's tests.

use super::{MeterReading, UsageMeter};

/// The bytes of the request, so that an estimated prompt has 1,000 tokens.
pub(super) const REQUEST_BYTES: u64 = 4_000;

/// Reads the text as a stream.
pub(super) fn stream(text: &str) -> MeterReading {
    read(UsageMeter::for_stream(), text)
}

/// Reads the text as a whole answer.
pub(super) fn whole(text: &str) -> MeterReading {
    read(UsageMeter::for_whole_body(), text)
}

fn read(mut meter: UsageMeter, text: &str) -> MeterReading {
    meter.observe(text.as_bytes());
    meter.finish(REQUEST_BYTES)
}
