//! Acts that take long: each has a thread, tells how far it is, and can be stopped.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::accounts::secret;
use crate::clock::now_ms;
use crate::fault::{Fault, Result};
use crate::model::{HexId, Job, JobKind, JobResult, JobState, Mount, Progress, VolumeId};

/// Jobs at once.
const RUNNING_MAX: usize = 16;
/// Jobs that ended and are still told.
const ENDED_MAX: usize = 200;
/// Progress is told at most so often.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// A stop waits so long for the jobs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Told of every change of a job.
pub(crate) type Tell = Arc<dyn Fn(&Job) + Send + Sync>;

/// The jobs of a console.
pub struct Jobs {
    tell: Tell,
    /// Newest first.
    known: Mutex<VecDeque<Arc<Running>>>,
}

/// What a job is to do.
pub struct NewJob {
    /// What.
    pub kind: JobKind,
    /// Of which volume.
    pub volume: VolumeId,
    /// Of which point.
    pub at: Option<String>,
    /// Who wants it.
    pub by: String,
    /// In words.
    pub text: String,
}

/// The way from a job's thread to those who watch it.
#[derive(Clone)]
pub struct Progressing(Arc<Running>);

struct Running {
    tell: Tell,
    inner: Mutex<Inner>,
}

struct Inner {
    job: Job,
    begun: Instant,
    told: Instant,
    on_stop: Vec<Box<dyn FnOnce() + Send>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    pub(crate) fn new(tell: Tell) -> Self {
        Self { tell, known: Mutex::default() }
    }

    /// Every job, the newest first.
    pub fn all(&self) -> Vec<Job> {
        self.lock().iter().map(|job| job.lock().job.clone()).collect()
    }

    /// A job.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn get(&self, id: &HexId) -> Result<Job> {
        self.find(id).map(|job| job.lock().job.clone())
    }

    /// Begins a job.
    ///
    /// # Errors
    /// Too many run.
    pub fn start(
        &self,
        new: NewJob,
        work: impl FnOnce(&Progressing) -> Result<JobResult> + Send + 'static,
    ) -> Result<Job> {
        let NewJob { kind, volume, at, by, text } = new;
        let id = HexId::parse(secret::make_id()?).map_err(Fault::internal)?;
        let job = Job {
            job: id,
            kind,
            volume,
            at,
            state: JobState::Running,
            by,
            started_ms: now_ms(),
            ended_ms: None,
            progress: None,
            text,
            error: None,
            mount: None,
            result: None,
        };
        let now = Instant::now();
        let inner = Inner { job: job.clone(), begun: now, told: now, on_stop: Vec::new() };
        let running = Arc::new(Running { tell: self.tell.clone(), inner: Mutex::new(inner) });
        {
            let mut known = self.lock();
            let is_running = |job: &&Arc<Running>| job.lock().job.ended_ms.is_none();
            if known.iter().filter(is_running).count() >= RUNNING_MAX {
                let message = format!("{RUNNING_MAX} jobs run already: stop one, or wait");
                return Err(Fault::busy(message));
            }
            known.push_front(Arc::clone(&running));
            let ended = |job: &Arc<Running>| job.lock().job.ended_ms.is_some();
            if known.len() > ENDED_MAX + RUNNING_MAX
                && let Some(oldest) = known.iter().rposition(ended)
            {
                known.remove(oldest);
            }
        }
        (self.tell)(&job);
        let handle = Progressing(Arc::clone(&running));
        let run = move || {
            let worked = panic::catch_unwind(AssertUnwindSafe(|| work(&handle)));
            running.end(worked.unwrap_or_else(|_| Err(Fault::internal("a job panicked"))));
        };
        let spawned = thread::Builder::new().name(format!("console {}", kind.name())).spawn(run);
        if let Err(error) = spawned {
            let fault = Fault::internal(error);
            self.find(&job.job)?.end(Err(fault.clone()));
            return Err(fault);
        }
        Ok(job)
    }

    /// Asks a job to stop. One that has ended stays as it is.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn stop(&self, id: &HexId) -> Result<Job> {
        let running = self.find(id)?;
        running.stop();
        let job = running.lock().job.clone();
        Ok(job)
    }

    /// Stops all jobs, and waits for them for a while.
    pub(crate) fn stop_all(&self) {
        let jobs: Vec<_> = self.lock().iter().cloned().collect();
        for job in &jobs {
            job.stop();
        }
        let begun = Instant::now();
        let runs = |job: &Arc<Running>| job.lock().job.ended_ms.is_none();
        while jobs.iter().any(runs) && begun.elapsed() < STOP_LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn find(&self, id: &HexId) -> Result<Arc<Running>> {
        let known = self.lock();
        let found = known.iter().find(|job| job.lock().job.job == *id);
        found.cloned().ok_or_else(|| Fault::not_found("there is no such job"))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Running>>> {
        // Every change is one call: a panic leaves no half-made one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Fields are set one by one and mean something alone.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let (job, calls) = {
            let mut inner = self.lock();
            if inner.job.state != JobState::Running {
                return;
            }
            inner.job.state = JobState::Stopping;
            (inner.job.clone(), std::mem::take(&mut inner.on_stop))
        };
        (self.tell)(&job);
        for call in calls {
            call();
        }
    }

    fn end(&self, worked: Result<JobResult>) {
        let job = {
            let mut inner = self.lock();
            let was_stopped = inner.job.state == JobState::Stopping;
            let job = &mut inner.job;
            job.ended_ms = Some(now_ms());
            match worked {
                // A mount that is stopped has come to its end.
                Ok(result) => {
                    let is_mount = job.kind == JobKind::Mount;
                    job.state =
                        if is_mount && was_stopped { JobState::Stopped } else { JobState::Done };
                    job.result = Some(result);
                }
                Err(_) if was_stopped => job.state = JobState::Stopped,
                Err(fault) => {
                    job.state = JobState::Failed;
                    job.error = Some(fault.message);
                }
            }
            job.mount = None;
            inner.on_stop.clear();
            inner.job.clone()
        };
        (self.tell)(&job);
    }
}

impl Progressing {
    /// True if the job is to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.lock().job.state != JobState::Running
    }

    /// Calls this once the job is to stop; now, if it is already.
    pub fn on_stop(&self, call: impl FnOnce() + Send + 'static) {
        let mut inner = self.0.lock();
        if inner.job.state == JobState::Running {
            inner.on_stop.push(Box::new(call));
        } else {
            drop(inner);
            call();
        }
    }

    /// Tells how far the job is, in bytes.
    pub fn progress(&self, done: u64, total: u64) {
        let job = {
            let mut inner = self.0.lock();
            let millis = u64::try_from(inner.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let per_second = u128::from(done) * 1000 / u128::from(millis.max(1));
            let rate = u64::try_from(per_second).ok().filter(|rate| *rate > 0 && millis > 1000);
            let left = total.saturating_sub(done);
            let eta_seconds = rate.map(|rate| left.div_ceil(rate));
            inner.job.progress = Some(Progress { done, total, rate, eta_seconds });
            if inner.told.elapsed() < TELL_EVERY {
                return;
            }
            inner.told = Instant::now();
            inner.job.clone()
        };
        (self.0.tell)(&job);
    }

    /// Says in words what the job does, or what came of it.
    pub fn text(&self, text: impl Into<String>) {
        let text = text.into();
        self.change(|job| job.text = text);
    }

    /// Tells where the job's point is served.
    pub fn mounted(&self, mount: Mount) {
        self.change(|job| job.mount = Some(mount));
    }

    fn change(&self, change: impl FnOnce(&mut Job)) {
        let job = {
            let mut inner = self.0.lock();
            change(&mut inner.job);
            inner.job.clone()
        };
        (self.0.tell)(&job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn jobs() -> (Jobs, mpsc::Receiver<Job>) {
        let (tell, told) = mpsc::channel();
        (Jobs::new(Arc::new(move |job: &Job| drop(tell.send(job.clone())))), told)
    }

    fn new() -> NewJob {
        let volume = VolumeId::parse("71a27cdd-812a-11d0-bec7-08002be2092f").unwrap();
        let (at, by, text) = (None, "alice".to_owned(), "verifies".to_owned());
        NewJob { kind: JobKind::Verify, volume, at, by, text }
    }

    fn ended(told: &mpsc::Receiver<Job>) -> Job {
        told.iter().find(|job| job.ended_ms.is_some()).unwrap()
    }

    #[test]
    fn a_job_tells_what_came_of_it() {
        let (jobs, told) = jobs();
        let found = JobResult { sound: true, bytes: Some(7), ..JobResult::default() };
        jobs.start(new(), move |_| Ok(found)).unwrap();
        let job = ended(&told);
        assert_eq!((job.state, job.result.unwrap().bytes), (JobState::Done, Some(7)));
        jobs.start(new(), |_| Err(Fault::bad("no disk"))).unwrap();
        let job = ended(&told);
        assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("no disk")));
        jobs.start(new(), |_| panic!("a bug")).unwrap();
        assert_eq!(ended(&told).state, JobState::Failed);
    }

    #[test]
    fn a_job_is_stopped_from_outside() {
        let (jobs, told) = jobs();
        let job = jobs
            .start(new(), |job| {
                let (stop, stopped) = mpsc::channel();
                job.on_stop(move || stop.send(()).unwrap());
                stopped.recv().unwrap();
                Err(Fault::bad("stopped"))
            })
            .unwrap();
        assert_eq!(jobs.stop(&job.job).unwrap().state, JobState::Stopping);
        assert_eq!(ended(&told).state, JobState::Stopped);
        assert_eq!(jobs.stop(&job.job).unwrap().state, JobState::Stopped);
    }

    #[test]
    fn so_many_jobs_run_at_once_and_so_many_are_remembered() {
        let (jobs, told) = jobs();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Arc::new(Mutex::new(gone));
        for _ in 0..RUNNING_MAX {
            let gone = Arc::clone(&gone);
            let wait = move |_: &Progressing| {
                let _ = gone.lock().unwrap().recv();
                Ok(JobResult::default())
            };
            jobs.start(new(), wait).unwrap();
        }
        assert!(jobs.start(new(), |_| Ok(JobResult::default())).is_err());
        drop(go);
        for _ in 0..RUNNING_MAX {
            ended(&told);
        }
        for _ in 0..ENDED_MAX + 2 * RUNNING_MAX {
            jobs.start(new(), |_| Ok(JobResult::default())).unwrap();
            ended(&told);
        }
        assert_eq!(jobs.all().len(), ENDED_MAX + RUNNING_MAX);
    }
}
