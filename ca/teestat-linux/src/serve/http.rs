//! Requests and answers of HTTP/1.1 (RFC 9112), as far as a scraper needs them.
//!
//! **Invariant:** a request is understood whole or refused with the status that says why; every
//! answer ends its connection.

/// Most bytes of a request's head.
pub(super) const MAX_HEAD: usize = 8192;

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    /// For another host.
    Misdirected,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Misdirected => "421 Misdirected Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// A request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// Without a query.
    pub(super) path: &'a str,
    /// The host that is asked for; only HTTP/1.0 may leave it out.
    pub(super) host: Option<&'a str>,
}

/// Where the head in `bytes` ends, if all of it is there.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Reads a request's head, its empty line included.
pub(super) fn parse(head: &[u8]) -> Result<Request<'_>, Status> {
    let bad = Status::BadRequest;
    let head = std::str::from_utf8(head).map_err(|_| bad)?;
    let mut lines = head.strip_suffix("\r\n\r\n").ok_or(bad)?.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = first[..] else {
        return Err(bad);
    };
    if !is_token(method)
        || !target.starts_with('/')
        || !target.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(bad);
    }
    let (mut hosts, mut host) = (0, None);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad)?;
        // Neither a line that goes on nor a blank before the colon.
        if !is_token(name) || value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(bad);
        }
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            host = Some(value);
        }
    }
    match version {
        "HTTP/1.1" if hosts == 1 => {}
        "HTTP/1.0" if hosts <= 1 => {}
        _ => return Err(bad),
    }
    let path = target.split(['?', '#']).next().unwrap_or(target);
    Ok(Request { method, path, host })
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_part)
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: String,
    /// Whether only the head is sent.
    pub(super) head_only: bool,
}

impl Answer {
    /// An answer for people.
    pub(super) fn plain(status: Status, body: String) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body,
            head_only: false,
        }
    }

    /// A refusal that says no more than its status.
    pub(super) fn refusal(status: Status) -> Self {
        Self::plain(status, format!("{}\n", status.line()))
    }

    /// As it is sent.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let allow = match self.status {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
            self.status.line(),
            self.content_type,
            self.body.len()
        );
        let mut bytes = head.into_bytes();
        if !self.head_only {
            bytes.extend_from_slice(self.body.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_s_request_is_understood() {
        let head = b"GET /metrics?x=/y HTTP/1.1\r\nHost: a:9644\r\nAccept: */*\r\nX-Empty:\r\n\r\n";
        assert_eq!(head_end(head), Some(head.len()));
        let request = parse(head).unwrap();
        assert_eq!((request.method, request.path), ("GET", "/metrics"));
        assert_eq!(request.host.map(str::trim), Some("a:9644"));
        assert!(parse(b"GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in [
            "\r\n\r\n",
            "GET\r\n\r\n",
            "GET /\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET metrics HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n goes on\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
        ] {
            assert_eq!(parse(head.as_bytes()), Err(Status::BadRequest), "{head:?}");
        }
        assert_eq!(
            parse(b"GET /\xff HTTP/1.1\r\n\r\n"),
            Err(Status::BadRequest)
        );
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
    }

    #[test]
    fn answers_say_their_length_and_what_is_allowed() {
        let mut answer = Answer::refusal(Status::MethodNotAllowed);
        let text = String::from_utf8(answer.bytes()).unwrap();
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(text.contains("\r\nContent-Length: 23\r\n"));
        assert!(text.ends_with("\r\n\r\n405 Method Not Allowed\n"));
        answer.head_only = true;
        assert!(answer.bytes().ends_with(b"\r\n\r\n"));
    }
}
