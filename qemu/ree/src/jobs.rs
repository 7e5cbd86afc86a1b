//! Work for the other CPUs.
//!
//! **Invariant:** a job runs once, on any of them, and its status stays until it is collected.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use spin::Mutex;

use crate::machine::cpu;

type Work = Box<dyn FnOnce() -> u8 + Send>;

enum State {
    Queued(Work),
    Running,
    Done(u8),
}

struct Job {
    id: u32,
    title: String,
    state: State,
}

static JOBS: Mutex<Vec<Job>> = Mutex::new(Vec::new());

/// What there is to say about a job.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Its number.
    pub id: u32,
    /// What it is.
    pub title: String,
    /// Its status, once it is done.
    pub status: Option<u8>,
    /// Whether it has begun.
    pub begun: bool,
}

/// Gives `work` to another CPU; `None` if there is none.
pub(crate) fn start(title: &str, work: impl FnOnce() -> u8 + Send + 'static) -> Option<u32> {
    if cpu::start_others() == 0 {
        return None;
    }
    let mut jobs = JOBS.lock();
    let id = jobs.iter().map(|job| job.id).max().unwrap_or(0) + 1;
    jobs.push(Job {
        id,
        title: title.to_string(),
        state: State::Queued(Box::new(work)),
    });
    drop(jobs);
    cpu::wake();
    Some(id)
}

/// All jobs that were not collected.
pub(crate) fn list() -> Vec<Report> {
    let jobs = JOBS.lock();
    jobs.iter()
        .map(|job| Report {
            id: job.id,
            title: job.title.clone(),
            status: match job.state {
                State::Done(status) => Some(status),
                State::Queued(_) | State::Running => None,
            },
            begun: !matches!(job.state, State::Queued(_)),
        })
        .collect()
}

/// Takes the status of a job that is done.
pub(crate) fn collect(id: u32) -> Option<u8> {
    let mut jobs = JOBS.lock();
    let at = jobs.iter().position(|job| job.id == id)?;
    let State::Done(status) = jobs[at].state else {
        return None;
    };
    jobs.remove(at);
    Some(status)
}

/// What another CPU does, for ever.
pub(crate) fn other_cpu() -> ! {
    loop {
        let next = take_next();
        match next {
            Some((id, work)) => {
                let status = work();
                let mut jobs = JOBS.lock();
                if let Some(job) = jobs.iter_mut().find(|job| job.id == id) {
                    job.state = State::Done(status);
                }
                drop(jobs);
                cpu::wake();
            }
            None => cpu::doze(),
        }
    }
}

fn take_next() -> Option<(u32, Work)> {
    let mut jobs = JOBS.lock();
    let job = jobs
        .iter_mut()
        .find(|job| matches!(job.state, State::Queued(_)))?;
    match core::mem::replace(&mut job.state, State::Running) {
        State::Queued(work) => Some((job.id, work)),
        State::Running | State::Done(_) => None,
    }
}
