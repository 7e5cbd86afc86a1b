//! Connections: accepted, each served by a thread of its own, all of them ended in the end.
//!
//! **Invariant:** a connection is over within a bounded time, whatever its client does, and holds up
//! no other; there are never more than [`Limits::connections`], and [`Limits::turned_away`] beside them.

mod turned_away;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::http::{self, Answer, MAX_HEAD, Status};
use turned_away::TurnedAway;

/// Bytes that a client may send after it was answered, before the connection is cut.
const MAX_REST: usize = 64 << 10;
/// How long nothing is accepted after accepting failed, as it does when files run out.
const PAUSE: Duration = Duration::from_millis(50);

/// What is granted to clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at a time; further ones are turned away.
    pub(super) connections: usize,
    /// Connections that are kept at a time until their clients, turned away, are gone.
    pub(super) turned_away: usize,
    /// Time to send a request.
    pub(super) request: Duration,
    /// Time to take the answer.
    pub(super) answer: Duration,
    /// Time that connections have when the server ends.
    pub(super) end: Duration,
}

/// Pages.
pub(super) trait Pages: Send + Sync {
    /// The answer to a request.
    fn answer(&self, request: http::Request<'_>) -> Answer;
}

/// Serves until `stop` can be read, or has no other end any more.
pub(super) fn run(
    listener: &TcpListener,
    stop: &impl AsFd,
    pages: &Arc<dyn Pages>,
    limits: Limits,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let open = Arc::new(Open::default());
    let mut turned_away = TurnedAway::new(limits);
    loop {
        let mut waits = vec![
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        waits.extend(
            turned_away
                .streams()
                .map(|stream| PollFd::new(stream, PollFlags::IN)),
        );
        let timeout = turned_away.next_end().map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(io::Error::other)?;
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if !waits[1].revents().is_empty() {
            break;
        }
        turned_away.take();
        match listener.accept() {
            Ok((stream, _)) => match Open::enter(&open, limits.connections) {
                Some(slot) => start(stream, slot, pages, limits),
                None => turned_away.add(stream),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
    open.until_none(limits.end);
    Ok(())
}

/// Has a thread serve a connection.
fn start(stream: TcpStream, slot: Slot, pages: &Arc<dyn Pages>, limits: Limits) {
    let pages = Arc::clone(pages);
    let serve = move || {
        // Whatever goes wrong on a connection is the end of that connection.
        let _ = serve(stream, &*pages, limits);
        drop(slot);
    };
    // Without a thread the connection is closed.
    let _ = thread::Builder::new().spawn(serve);
}

fn serve(mut stream: TcpStream, pages: &dyn Pages, limits: Limits) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let answer = match read_head(&mut stream, Instant::now() + limits.request)? {
        Ok(head) => match http::parse(&head) {
            Ok(request) => pages.answer(request),
            Err(status) => Answer::refusal(status),
        },
        Err(status) => Answer::refusal(status),
    };
    let deadline = Instant::now() + limits.answer;
    write(&mut stream, &answer.bytes(), deadline)?;
    stream.shutdown(Shutdown::Write)?;
    // What is not read when a connection is closed may cost the client the answer.
    let mut rest = [0; 1024];
    let mut taken = 0;
    while taken < MAX_REST {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut rest)? {
            0 => break,
            n => taken += n,
        }
    }
    Ok(())
}

/// Time until `deadline`; an error if there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Reads a request's head; says what is wrong with it if it does not come whole.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> io::Result<Result<Vec<u8>, Status>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let Ok(left) = left(deadline) else {
            return Ok(Err(Status::RequestTimeout));
        };
        stream.set_read_timeout(Some(left))?;
        let n = match stream.read(&mut piece) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(Err(Status::RequestTimeout));
            }
            Err(error) => return Err(error),
        };
        if n == 0 {
            return Ok(Err(Status::BadRequest));
        }
        head.extend_from_slice(&piece[..n]);
        if let Some(end) = http::head_end(&head[..head.len().min(MAX_HEAD)]) {
            head.truncate(end);
            return Ok(Ok(head));
        }
        if head.len() >= MAX_HEAD {
            return Ok(Err(Status::HeadTooLarge));
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How many connections are open.
#[derive(Default)]
struct Open {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One of them.
struct Slot(Arc<Open>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(open: &Arc<Self>, most: usize) -> Option<Slot> {
        let mut count = open.lock();
        (*count < most).then(|| {
            *count += 1;
            Slot(Arc::clone(open))
        })
    }

    fn until_none(&self, at_most: Duration) {
        // Those that are still there end with the process.
        let _ = self
            .changed
            .wait_timeout_while(self.lock(), at_most, |count| *count > 0);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
