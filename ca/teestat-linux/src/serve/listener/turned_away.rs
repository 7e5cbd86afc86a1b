//! Connections that are one too many: told so, and read from until their clients are gone.
//!
//! Closing a connection resets it if bytes from the client are unread or still on their way, and a reset
//! may cost the client the answer. So what it sends is taken and thrown away.
//!
//! **Invariant:** a client that is turned away holds up nobody: at most so many are kept, each for a
//! bounded time and number of bytes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::super::http::{Answer, Status};
use super::{Limits, MAX_REST};

/// Those who were told and are not gone, who was told first in front.
pub(super) struct TurnedAway {
    leaving: VecDeque<Leaving>,
    most: usize,
    time: Duration,
}

struct Leaving {
    stream: TcpStream,
    until: Instant,
    /// Bytes that the client may still send.
    rest: usize,
}

impl TurnedAway {
    /// Nobody was turned away.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            leaving: VecDeque::new(),
            most: limits.turned_away,
            time: limits.answer,
        }
    }

    /// Turns a client away, without waiting for anything. If there are too many already, the connection of
    /// the one who had most time is closed.
    pub(super) fn add(&mut self, mut stream: TcpStream) {
        let answer = Answer::refusal(Status::Unavailable).bytes();
        let told = stream.set_nonblocking(true).is_ok()
            && stream.write(&answer).is_ok_and(|n| n == answer.len())
            && stream.shutdown(Shutdown::Write).is_ok();
        if !told {
            return;
        }
        if self.leaving.len() >= self.most {
            self.leaving.pop_front();
        }
        self.leaving.push_back(Leaving {
            stream,
            until: Instant::now() + self.time,
            rest: MAX_REST,
        });
    }

    /// Their connections.
    pub(super) fn streams(&self) -> impl Iterator<Item = &TcpStream> {
        self.leaving.iter().map(|leaving| &leaving.stream)
    }

    /// Time until the first of them is given up.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let first = self.leaving.front()?;
        Some(first.until.saturating_duration_since(Instant::now()))
    }

    /// Takes a piece of what each has sent, and closes the connections that are over.
    pub(super) fn take(&mut self) {
        let now = Instant::now();
        self.leaving
            .retain_mut(|leaving| now < leaving.until && leaving.take());
    }
}

impl Leaving {
    /// Whether there may be more to take.
    fn take(&mut self) -> bool {
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => false,
            Ok(n) => {
                self.rest = self.rest.saturating_sub(n);
                self.rest > 0
            }
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMITS: Limits = Limits {
        connections: 0,
        turned_away: 2,
        request: Duration::ZERO,
        answer: Duration::from_secs(60),
        end: Duration::ZERO,
    };

    /// So many clients, turned away.
    fn turn_away(limits: Limits, count: usize) -> (TurnedAway, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut turned_away = TurnedAway::new(limits);
        let clients = (0..count).map(|_| {
            let client = TcpStream::connect(address).unwrap();
            turned_away.add(listener.accept().unwrap().0);
            client
        });
        let clients = clients.collect();
        (turned_away, clients)
    }

    #[test]
    fn of_too_many_the_first_one_goes() {
        let (mut turned_away, clients) = turn_away(LIMITS, 3);
        turned_away.take();
        let left = turned_away.streams().map(|end| end.peer_addr().unwrap());
        let newest = clients[1..].iter().map(|end| end.local_addr().unwrap());
        assert!(left.eq(newest));
    }

    #[test]
    fn who_never_goes_is_given_up() {
        let limits = Limits {
            answer: Duration::from_millis(20),
            ..LIMITS
        };
        let (mut turned_away, _clients) = turn_away(limits, 1);
        std::thread::sleep(turned_away.next_end().unwrap());
        turned_away.take();
        assert_eq!(turned_away.next_end(), None);
    }

    #[test]
    fn who_never_stops_sending_is_cut_off() {
        let (mut turned_away, mut clients) = turn_away(LIMITS, 1);
        let piece = [b'x'; 1024];
        let mut sent = 0;
        while turned_away.next_end().is_some() {
            clients[0].write_all(&piece).unwrap();
            sent += piece.len();
            turned_away.take();
            assert!(sent < 4 * MAX_REST, "nobody is cut off");
        }
        assert!(sent >= MAX_REST, "{sent}");
    }
}
