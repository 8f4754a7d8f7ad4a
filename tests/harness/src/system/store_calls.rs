//! The connection of a system in this process to its stores: it records the calls and makes some of
//! them fail.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::injected_faults::InjectedFault;

/// Decides from the `x-amz-target` and the body of a call whether the call fails.
pub(super) type StoreHook = Arc<dyn Fn(&str, &[u8]) -> Option<InjectedFault> + Send + Sync>;

/// The calls so far, and the failures that are still due.
#[derive(Clone, Default)]
pub(super) struct StoreCalls(Arc<Mutex<CallLog>>);

#[derive(Default)]
struct CallLog {
    operations: Vec<String>,
    /// How many more calls to the state table fail, and with which fault.
    fault: Option<(usize, InjectedFault)>,
    /// After how many calls one panics, and with which message.
    panic: Option<(usize, String)>,
}

impl StoreCalls {
    fn log(&self) -> MutexGuard<'_, CallLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log().operations)
    }

    pub(super) fn fail_state_table(&self, times: usize, fault: InjectedFault) {
        self.log().fault = Some((times, fault));
    }

    pub(super) fn panic_after(&self, calls: usize, message: &str) {
        self.log().panic = Some((calls, message.to_owned()));
    }

    /// Records a call. Returns the failure that is due.
    ///
    /// # Panics
    ///
    /// If the test asked for a panic at this call.
    pub(super) fn record(&self, target: &str, body: &[u8]) -> Option<InjectedFault> {
        let mut log = self.log();
        match log.panic.take() {
            Some((0, message)) => {
                drop(log);
                panic!("{message} {}", String::from_utf8_lossy(body));
            }
            later => log.panic = later.map(|(calls, message)| (calls - 1, message)),
        }
        log.operations.push(operation(target).to_owned());
        let (left, fault) = log.fault.as_mut().filter(|(left, _)| *left > 0)?;
        String::from_utf8_lossy(body).contains("StateTable").then(|| {
            *left -= 1;
            fault.clone()
        })
    }
}

/// The operation in an `x-amz-target`.
pub(super) fn operation(target: &str) -> &str {
    target.rsplit('.').next().unwrap_or_default()
}
