//! The one door to randomness.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::sync::{Arc, Mutex, PoisonError};

/// Throws dice: cryptographically random ones, or a seeded sequence that a test can replay.
#[derive(Clone, Default)]
pub struct RandomSource(Option<Arc<Mutex<StdRng>>>);

impl RandomSource {
    /// The system's randomness, fit for secrets.
    pub fn system() -> Self {
        Self(None)
    }

    /// The same sequence for the same seed.
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

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Some(seeded) => {
                seeded.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
            }
            #[expect(clippy::disallowed_methods, reason = "this is the door")]
            None => rand::rng().fill_bytes(bytes),
        }
    }

    /// One die of 0..=255.
    pub fn byte(&self) -> u8 {
        self.bits().to_le_bytes()[0]
    }
}
