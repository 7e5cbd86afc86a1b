//! A server with pages of its own, and clients of every kind.
//!
//! **Invariant:** every server that a test starts ends with it.

use super::*;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

const LIMITS: Limits = Limits {
    connections: 4,
    turned_away: 8,
    request: Duration::from_secs(1),
    answer: Duration::from_secs(2),
    end: Duration::from_secs(60),
};
/// For clients whose time must not be up, however busy the machine is.
const PATIENT: Limits = Limits {
    request: Duration::from_secs(60),
    ..LIMITS
};

struct Echo;

impl Pages for Echo {
    fn answer(&self, request: http::Request<'_>) -> Answer {
        let body = match request.path {
            "/large" => "x".repeat(8 << 20),
            path => format!("{} {path}", request.method),
        };
        Answer::plain(Status::Ok, body)
    }
}

struct Server {
    address: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start() -> Self {
        Self::with(LIMITS)
    }

    fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let pages: Arc<dyn Pages> = Arc::new(Echo);
        let thread = thread::spawn(move || run(&listener, &stopped, &pages, limits));
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        all(&mut stream)
    }

    fn end(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_request_is_answered_and_its_connection_closed() {
    let server = Server::start();
    let text = server.ask(GET);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("Connection: close") && text.ends_with("\r\n\r\nGET /x"));
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let server = Server::start();
    let mut stream = server.connect();
    for piece in GET.chunks(5) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(all(&mut stream).ends_with("GET /x"));
}

#[test]
fn bad_requests_get_the_status_that_says_why() {
    let server = Server::start();
    let status = |request: &[u8]| server.ask(request)[9..12].to_owned();
    assert_eq!(status(b"nonsense\r\n\r\n"), "400");
    let mut long = b"GET /x HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    long.resize(MAX_HEAD + 10, b'a');
    assert_eq!(status(&long), "431");
    // Not in time.
    assert_eq!(status(b"GET /x HTTP/1.1\r\n"), "408");
    // Not at all.
    let mut stream = server.connect();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&mut stream)[9..12].to_owned(), "400");
}

#[test]
fn slow_clients_hold_up_nobody_and_too_many_are_turned_away() {
    let server = Server::with(PATIENT);
    let mut slow: Vec<TcpStream> = (1..LIMITS.connections).map(|_| server.connect()).collect();
    assert!(server.ask(GET).ends_with("GET /x"));
    // The place of the one that was served is free again soon, and then it is taken.
    let turned_away = (0..LIMITS.connections).any(|_| {
        let mut more = server.connect();
        more.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut text = String::new();
        let refused = more.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 503");
        slow.push(more);
        refused
    });
    assert!(turned_away);
    drop(slow);
    // Their places are free as soon as the server has noticed.
    while !server.ask(GET).ends_with("GET /x") {}
}

#[test]
fn whoever_is_turned_away_reads_all_of_why() {
    // Bug: the connection was closed with the request unread, and its reset cost the client the answer.
    let server = Server::with(PATIENT);
    let _silent: Vec<TcpStream> = (0..LIMITS.connections).map(|_| server.connect()).collect();
    let mut request = b"GET /x HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    request.resize(6 << 10, b'a');
    request.extend_from_slice(b"\r\n\r\n");
    let mut more: Vec<TcpStream> = (0..LIMITS.turned_away).map(|_| server.connect()).collect();
    // Half of the request comes when the answer was sent.
    for pieces in request.chunks(4 << 10) {
        for stream in &mut more {
            stream.write_all(pieces).unwrap();
        }
        thread::sleep(Duration::from_millis(50));
    }
    for stream in &mut more {
        let text = all(stream);
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(
            text.ends_with("\r\n\r\n503 Service Unavailable\n"),
            "{text}"
        );
    }
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let server = Server::start();
    let mut stream = server.connect();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    thread::sleep(LIMITS.answer + Duration::from_millis(500));
    let mut text = Vec::new();
    // Cut short, with or without a reset.
    let _ = stream.read_to_end(&mut text);
    assert!(text.len() < 8 << 20, "{}", text.len());
}

#[test]
fn the_end_waits_for_those_that_are_being_served() {
    let mut server = Server::with(PATIENT);
    let mut stream = server.connect();
    stream.write_all(&GET[..10]).unwrap();
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    let rest = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        stream.write_all(&GET[10..]).unwrap();
        all(&mut stream)
    });
    server.end();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert!(rest.join().unwrap().ends_with("GET /x"));
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn who_sends_more_than_a_request_reads_the_answer_all_the_same() {
    let server = Server::with(PATIENT);
    let mut stream = server.connect();
    stream.write_all(GET).unwrap();
    for _ in 0..4 {
        stream.write_all(&[b'x'; MAX_REST / 8]).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    assert!(all(&mut stream).ends_with("GET /x"));
}

#[test]
fn who_never_stops_sending_is_cut_off() {
    let limits = Limits {
        answer: Duration::from_secs(600),
        ..PATIENT
    };
    let server = Server::with(limits);
    let mut stream = server.connect();
    stream
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    stream.write_all(GET).unwrap();
    // Much more than the sockets hold.
    let piece = [b'x'; 4096];
    let sent = (0..16 << 10).take_while(|_| stream.write_all(&piece).is_ok());
    let sent = sent.count() * piece.len();
    assert!(sent >= MAX_REST, "{sent}");
    assert!(sent < 64 << 20, "nobody is cut off");
}
