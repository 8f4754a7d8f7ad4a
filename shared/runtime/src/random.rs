//! The only module that makes random numbers.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};

/// A source of random numbers: cryptographically secure ones, or a seeded sequence that a test can
/// repeat.
#[derive(Clone, Default)]
pub struct RandomSource(Option<Arc<Mutex<StdRng>>>);

impl RandomSource {
    /// The system's random numbers, suitable for secrets.
    pub fn system() -> Self {
        Self(None)
    }

    /// A source that returns the same sequence for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// 128 random bits.
    pub fn bits(&self) -> u128 {
        match &self.0 {
            Some(seeded) => seeded.lock().unwrap_or_else(PoisonError::into_inner).random(),
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            None => rand::rng().random(),
        }
    }

    /// Fills `bytes` with random values.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Some(seeded) => {
                seeded.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
            }
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            None => rand::rng().fill_bytes(bytes),
        }
    }

    /// One random byte.
    pub fn byte(&self) -> u8 {
        self.bits().to_le_bytes()[0]
    }
}
