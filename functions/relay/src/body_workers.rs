//! Runs work on long bodies on separate threads, so that it does not delay other requests.
//!
//! A job is the work on one body. Bodies are in two size classes, so that the shorter ones do not
//! wait for the longest ones. The jobs of a class share a bound of memory, and the class runs at
//! most as many jobs as it has cores. Jobs wait in the order in which they came. Each key can have
//! only a few jobs in the queue of a class; its other jobs wait outside of the queue. A key with
//! many long bodies therefore delays the jobs of other keys by these few jobs at most.

use crate::client_response::RelayError;
use baton_domain::id::KeyId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tracing::Span;

/// From this size on, reading or translating a body takes milliseconds, which would delay other
/// requests.
pub(crate) const LONG_BYTES: usize = 256 * 1024;

/// From this size on, a body is in the class of the longest bodies.
const LONGEST_BYTES: usize = 3 * 512 * 1024;

/// The memory in KiB that all jobs of a size class together can use. A job that needs more waits
/// until it is the only one of its class.
const LONG_KIB: u32 = 8 * 1024;
const LONGEST_KIB: u32 = 24 * 1024;

/// The memory of a job that only keeps views of its body, as a multiple of the body's length.
pub(crate) const READ_MEMORY_FACTOR: usize = 0;
/// The memory of a job that copies its body.
pub(crate) const COPY_MEMORY_FACTOR: usize = 1;
/// The memory of a job that translates its body: the parsed request and its text in the other
/// protocol. Bodies of many small parts need the most (`baton-protocol`,
/// `tests/request_memory.rs`).
pub(crate) const TRANSLATION_MEMORY_FACTOR: usize = 12;

/// The size of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobSize {
    /// The length of the body.
    pub(crate) bytes: usize,
    /// The memory that the work needs, as a multiple of that length.
    pub(crate) memory_factor: usize,
}

impl JobSize {
    pub(crate) fn new(bytes: usize, memory_factor: usize) -> Self {
        Self { bytes, memory_factor }
    }

    /// The size of one of `count` jobs on the same body. Jobs that take long together run on
    /// another thread, even if each of them is short.
    pub(crate) fn of_several(self, count: usize) -> Self {
        let is_long = self.bytes.saturating_mul(count) >= LONG_BYTES;
        let bytes = if is_long { self.bytes.max(LONG_BYTES) } else { self.bytes };
        Self { bytes, ..self }
    }
}

/// The threads for long bodies.
pub(crate) struct BodyWorkers {
    /// The class of bodies from [`LONG_BYTES`] to below [`LONGEST_BYTES`].
    long: SizeClass,
    /// The class of bodies from [`LONGEST_BYTES`] on.
    longest: SizeClass,
}

/// Bodies of similar length, whose jobs share memory and cores.
struct SizeClass {
    /// The free memory. Each permit is one KiB.
    memory: Arc<Semaphore>,
    memory_kib: u32,
    /// The least memory that a job takes. It is so large that at most as many jobs run as the class
    /// has cores.
    job_kib_min: u32,
    /// How many jobs of one key can be in the queue for memory.
    jobs_per_key: usize,
    /// For each key with jobs, the permits to enter the queue.
    queues: Mutex<HashMap<KeyId, Weak<Semaphore>>>,
}

/// The permit of a request to enter the queue. Dropping it lets the next request of the same key
/// continue. A short body needs none and has `None`.
pub(crate) struct KeyPermit(Option<OwnedSemaphorePermit>);

/// The memory of one job, with the permit of its key. A short body needs none and has `None`.
pub(crate) struct JobPermit(Option<(OwnedSemaphorePermit, KeyPermit)>);

impl BodyWorkers {
    /// Creates workers for this machine. A key can use half of the cores of each size class.
    pub(crate) fn new() -> Self {
        Self::with_cores(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Creates workers that use `cores` cores: a quarter for the class of long bodies, the rest for
    /// the longest bodies. Each class has at least one core, so that neither waits for the other.
    pub(crate) fn with_cores(cores: usize) -> Self {
        let long = (cores / 4).max(1);
        Self {
            long: SizeClass::new(long, LONG_KIB),
            longest: SizeClass::new(cores.saturating_sub(long).max(1), LONGEST_KIB),
        }
    }

    fn size_class(&self, bytes: usize) -> &SizeClass {
        if bytes < LONGEST_BYTES { &self.long } else { &self.longest }
    }

    /// Runs `work` on a body of this size: at once for a short body, on another thread for a long
    /// one.
    ///
    /// # Errors
    /// The process is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        key: &KeyId,
        size: JobSize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RelayError> {
        if size.bytes < LONG_BYTES {
            return Ok(work());
        }
        // Boxed, because the future is large and few requests need it.
        let run = async { self.acquire_permits(key, size).await?.run(work).await };
        Box::pin(run).await
    }

    /// Waits until the key can have another job in the queue. A request does this before it takes
    /// memory for the result of its work. A short body does not wait.
    ///
    /// # Errors
    /// None in practice, because the queues are never closed.
    pub(crate) async fn acquire_key_permit(
        &self,
        key: &KeyId,
        bytes: usize,
    ) -> Result<KeyPermit, RelayError> {
        if bytes < LONG_BYTES {
            return Ok(KeyPermit(None));
        }
        let permit = self.size_class(bytes).queue_of_key(key).acquire_owned().await;
        permit.map(|permit| KeyPermit(Some(permit))).map_err(|_| RelayError::internal_error())
    }

    /// Does the same as [`Self::run`] for a request that has the permit of its key.
    ///
    /// # Errors
    /// The process is stopping.
    pub(crate) async fn run_with_permit<T: Send + 'static>(
        &self,
        permit: KeyPermit,
        size: JobSize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RelayError> {
        self.acquire_job_permit(permit, size).await?.run(work).await
    }

    /// Waits for the permit of the key and then for the memory of a job (see [`Self::run`]). The
    /// caller can stop waiting by dropping the future.
    ///
    /// # Errors
    /// None in practice, because the queues are never closed.
    pub(crate) async fn acquire_permits(
        &self,
        key: &KeyId,
        size: JobSize,
    ) -> Result<JobPermit, RelayError> {
        let permit = self.acquire_key_permit(key, size.bytes).await?;
        self.acquire_job_permit(permit, size).await
    }

    async fn acquire_job_permit(
        &self,
        permit: KeyPermit,
        size: JobSize,
    ) -> Result<JobPermit, RelayError> {
        if permit.0.is_none() {
            return Ok(JobPermit(None));
        }
        let JobSize { bytes, memory_factor } = size;
        let size_class = self.size_class(bytes);
        let kib = u32::try_from(bytes.saturating_mul(memory_factor) / 1024).unwrap_or(u32::MAX);
        let kib = kib.clamp(size_class.job_kib_min, size_class.memory_kib);
        let memory = Arc::clone(&size_class.memory).acquire_many_owned(kib).await;
        Ok(JobPermit(Some((memory.map_err(|_| RelayError::internal_error())?, permit))))
    }
}

impl JobPermit {
    /// Runs `work`, on another thread if the body is long.
    ///
    /// # Errors
    /// The process is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RelayError> {
        let Some(permit) = self.0 else { return Ok(work()) };
        let span = Span::current();
        let job = move || {
            // Released at the end of the work, even if the request has been given up by then.
            let _permit = permit;
            span.in_scope(work)
        };
        spawn_blocking(job).await.map_err(|error| match error.try_into_panic() {
            // The panic belongs to this request, as if the work had run here.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => RelayError::shutting_down(),
        })
    }
}

impl SizeClass {
    fn new(cores: usize, memory_kib: u32) -> Self {
        let job_kib_min = memory_kib / u32::try_from(cores).unwrap_or(u32::MAX).max(1);
        Self {
            memory: Arc::new(Semaphore::new(memory_kib as usize)),
            memory_kib,
            job_kib_min: job_kib_min.max(1),
            jobs_per_key: (cores / 2).max(1),
            queues: Mutex::default(),
        }
    }

    fn queue_of_key(&self, key: &KeyId) -> Arc<Semaphore> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(key).and_then(Weak::upgrade) {
            return queue;
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queue = Arc::new(Semaphore::new(self.jobs_per_key));
        queues.insert(key.clone(), Arc::downgrade(&queue));
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use tokio::task::yield_now;

    fn key(number: u8) -> KeyId {
        KeyId::from_bits(number.into())
    }

    #[tokio::test]
    async fn long_work_is_done_on_another_thread() {
        let workers = BodyWorkers::with_cores(1);
        let thread = || std::thread::current().id();
        let own = thread();
        for (bytes, is_own) in [(LONG_BYTES - 1, true), (LONG_BYTES, false)] {
            let worker =
                workers.run(&key(1), JobSize::new(bytes, TRANSLATION_MEMORY_FACTOR), thread).await;
            let Ok(worker) = worker else { panic!("{bytes} bytes") };
            assert_eq!(worker == own, is_own, "{bytes} bytes");
        }
    }

    /// Forty short translations delay other requests as much as a long one.
    #[test]
    fn several_short_jobs_count_as_a_long_one() {
        for (bytes, count, expected) in [
            (LONG_BYTES - 1, 1, LONG_BYTES - 1),
            (LONG_BYTES / 2, 1, LONG_BYTES / 2),
            (LONG_BYTES / 2, 2, LONG_BYTES),
            (LONG_BYTES / 40, 40, LONG_BYTES / 40),
            (LONG_BYTES / 40 + 1, 40, LONG_BYTES),
            (LONGEST_BYTES, 40, LONGEST_BYTES),
            (0, usize::MAX, 0),
        ] {
            let size = JobSize::new(bytes, TRANSLATION_MEMORY_FACTOR);
            assert_eq!(size.of_several(count), JobSize { bytes: expected, ..size });
        }
    }

    /// Starts a job that reports its number when it begins, and ends when `go` gets a message.
    fn start(
        workers: &Arc<BodyWorkers>,
        key_number: u8,
        name: usize,
        bytes: usize,
        begun: &mpsc::Sender<usize>,
    ) -> mpsc::Sender<()> {
        let (workers, begun, (go, wait)) = (Arc::clone(workers), begun.clone(), mpsc::channel());
        tokio::spawn(async move {
            let work = move || {
                begun.send(name).unwrap();
                wait.recv().unwrap();
            };
            assert!(workers.run(&key(key_number), JobSize::new(bytes, 1), work).await.is_ok());
        });
        go
    }

    async fn next(begun: &mpsc::Receiver<usize>) -> usize {
        loop {
            match begun.try_recv() {
                Ok(name) => return name,
                Err(_) => yield_now().await,
            }
        }
    }

    #[tokio::test]
    async fn many_jobs_of_one_key_do_not_delay_others() {
        let workers = Arc::new(BodyWorkers::with_cores(1));
        let (begun, seen) = mpsc::channel();
        let mut running = Vec::new();
        for name in 0..5 {
            running.push(start(&workers, 1, name, LONG_BYTES, &begun));
            yield_now().await;
        }
        running.push(start(&workers, 2, 5, LONG_BYTES, &begun));
        yield_now().await;
        let mut order = Vec::new();
        for _ in 0..6 {
            let name = next(&seen).await;
            // One core runs one job, however many wait.
            assert!(seen.try_recv().is_err());
            order.push(name);
            running[name].send(()).unwrap();
        }
        assert_eq!(order, [0, 5, 1, 2, 3, 4]);
        let again = workers.run(&key(3), JobSize::new(LONG_BYTES, 0), || ()).await;
        assert!(
            again.is_ok() && workers.long.queues.lock().unwrap().len() <= 2,
            "idle keys are removed"
        );
    }

    #[tokio::test]
    async fn long_bodies_do_not_wait_for_the_longest() {
        // On a machine with more cores, a key has more than one job in the queue.
        for (cores, order) in [(1, [0, 1, 3, 2]), (2, [0, 1, 3, 2]), (8, [0, 1, 2, 3])] {
            let workers = Arc::new(BodyWorkers::with_cores(cores));
            let (begun, seen) = mpsc::channel();
            let mut running = Vec::new();
            // The first takes the whole memory of its size class, and the others wait for it.
            for (name, key_number) in [(0, 1), (1, 2), (2, 2), (3, 3)] {
                let bytes = LONGEST_KIB as usize * 1024;
                running.push(start(&workers, key_number, name, bytes, &begun));
                yield_now().await;
            }
            let [first, others @ ..] = order;
            assert_eq!(next(&seen).await, first, "{cores} cores");
            for (key_number, name, bytes) in [(4, 4, LONG_BYTES), (1, 5, LONGEST_BYTES - 1)] {
                running.push(start(&workers, key_number, name, bytes, &begun));
                assert_eq!(next(&seen).await, name, "{cores} cores, key {key_number}");
                running[name].send(()).unwrap();
            }
            let mut ended = first;
            for name in others {
                running[ended].send(()).unwrap();
                assert_eq!(next(&seen).await, name, "{cores} cores: {order:?}");
                ended = name;
            }
            running[ended].send(()).unwrap();
        }
    }

    #[tokio::test]
    async fn jobs_share_their_memory() {
        let workers = Arc::new(BodyWorkers::with_cores(8));
        let (begun, seen) = mpsc::channel();
        let most = LONGEST_KIB as usize * 1024;
        // One that needs more than there is, and two that fit together.
        let running: Vec<_> = [most * 2, most / 2, most / 2]
            .into_iter()
            .enumerate()
            .map(|(name, bytes)| start(&workers, u8::try_from(name).unwrap(), name, bytes, &begun))
            .collect();
        assert_eq!(next(&seen).await, 0);
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(seen.try_recv().is_err(), "it runs alone");
        running[0].send(()).unwrap();
        let mut both = [next(&seen).await, next(&seen).await];
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
        running[1..].iter().for_each(|go| go.send(()).unwrap());
    }

    #[tokio::test]
    async fn panic_ends_only_its_job() {
        let workers = Arc::new(BodyWorkers::with_cores(1));
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let (workers, count) = (Arc::clone(&workers), Arc::clone(&count));
            let work = move || {
                count.fetch_add(1, Ordering::SeqCst);
                panic!("the work of one request");
            };
            let request = tokio::spawn(async move {
                let _: Result<(), _> =
                    workers.run(&key(1), JobSize::new(LONG_BYTES, 0), work).await;
            });
            assert!(request.await.is_err_and(|error| error.is_panic()));
        }
        assert_eq!(count.load(Ordering::SeqCst), 3, "each released its permit");
    }

    /// The runtime has a single thread. If the work ran there, nobody would let it end.
    #[tokio::test]
    async fn other_tasks_run_while_a_long_body_is_read() {
        let workers = Arc::new(BodyWorkers::with_cores(1));
        let (begun, seen) = mpsc::channel();
        let go = start(&workers, 1, 7, LONG_BYTES, &begun);
        assert_eq!(next(&seen).await, 7);
        go.send(()).unwrap();
    }
}
