//! `teestat serve`: the account over HTTP, for Prometheus and its kin.
//!
//! **Invariant:** each scrape asks the trusted OS anew, over a connection of its own, and leaves
//! nothing behind there; SIGTERM and SIGINT end the server in good order.

mod hosts;
mod http;
mod listener;

use std::fmt::Display;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use tally_insight::openmetrics::CONTENT_TYPE;
use teec::Context;
use teec_linux::DEVICE;
use teestat::Namer;
use teestat::client::ClientError;

use crate::names::Directory;
use crate::on_demand::OnDemand;
use hosts::Hosts;
use http::{Answer, Request, Status};
use listener::{Limits, Pages};

const LIMITS: Limits = Limits {
    connections: 32,
    turned_away: 32,
    request: Duration::from_secs(5),
    answer: Duration::from_secs(10),
    end: Duration::from_secs(5),
};

/// Where Linux has this machine's name.
const OWN_NAME: &str = "/proc/sys/kernel/hostname";

/// Serves at `listen` until a signal ends it, by this machine's name and `hosts`. Names come from the directory `applications`.
pub(crate) fn serve(
    listen: &str,
    hosts: &[&str],
    labels: &[(String, String)],
    applications: &str,
) -> Result<(), String> {
    let about = |error: &dyn Display| format!("{listen}: {error}");
    let listener = TcpListener::bind(listen).map_err(|error| about(&error))?;
    let address = listener.local_addr().map_err(|error| about(&error))?;
    let mut names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    names.extend(std::fs::read_to_string(OWN_NAME));
    names.extend(listen.rsplit_once(':').map(|(host, _)| host.to_owned()));
    let pages: Arc<dyn Pages> = Arc::new(Account {
        hosts: Hosts::new(names),
        labels: labels.to_vec(),
        applications: applications.to_owned(),
    });
    let (stop, signals) = signals().map_err(|error| about(&error))?;
    eprintln!("teestat: serving http://{address}/metrics");
    let result = listener::run(&listener, &stop, &pages, LIMITS);
    for signal in signals {
        unregister(signal);
    }
    result.map_err(|error| about(&error))
}

/// What can be read as soon as one of the signals has come that end a server.
fn signals() -> io::Result<(UnixStream, [signal_hook::SigId; 2])> {
    let (read, write) = UnixStream::pair()?;
    let term = pipe::register(SIGTERM, write.try_clone()?)?;
    let int = pipe::register(SIGINT, write)?;
    Ok((read, [term, int]))
}

/// The trusted OS's account.
struct Account {
    hosts: Hosts,
    labels: Vec<(String, String)>,
    applications: String,
}

impl Account {
    fn metrics(&self) -> Result<String, String> {
        ask(|context| {
            let names = Directory::new(&self.applications);
            teestat::metrics(context, &Namer::new(context, &names), &self.labels)
        })
    }
}

/// Asks the trusted OS something, over a connection of its own.
fn ask<T>(question: impl FnOnce(&Context<'_>) -> Result<T, ClientError>) -> Result<T, String> {
    let transport = OnDemand::default();
    let answer = question(&Context::new(&transport));
    answer.map_err(|error| match transport.trouble() {
        Some(trouble) => format!("{DEVICE}: {trouble}"),
        None => error.to_string(),
    })
}

impl Pages for Account {
    fn answer(&self, request: Request<'_>) -> Answer {
        if request.host.is_some_and(|host| !self.hosts.has(host)) {
            return Answer::refusal(Status::Misdirected);
        }
        let page: fn(&Self) -> Answer = match request.path {
            "/metrics" => |account| match account.metrics() {
                Ok(body) => Answer {
                    content_type: CONTENT_TYPE,
                    ..Answer::plain(Status::Ok, body)
                },
                Err(why) => Answer::plain(Status::Unavailable, why + "\n"),
            },
            "/healthz" => |_| match ask(teestat::client::times) {
                Ok(_) => Answer::plain(Status::Ok, "ok\n".into()),
                Err(why) => Answer::plain(Status::Unavailable, why + "\n"),
            },
            _ => return Answer::refusal(Status::NotFound),
        };
        match request.method {
            "GET" => page(self),
            "HEAD" => Answer {
                head_only: true,
                ..page(self)
            },
            _ => Answer::refusal(Status::MethodNotAllowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, path: &str) -> Status {
        let account = Account {
            hosts: Hosts::default(),
            labels: Vec::new(),
            applications: "/nonexistent".into(),
        };
        let request = Request {
            method,
            path,
            host: None,
        };
        account.answer(request).status
    }

    #[test]
    fn there_are_two_pages_and_two_methods() {
        assert_eq!(status("GET", "/"), Status::NotFound);
        assert_eq!(status("POST", "/metric"), Status::NotFound);
        for path in ["/metrics", "/healthz"] {
            assert_eq!(status("POST", path), Status::MethodNotAllowed);
        }
    }

    #[test]
    fn where_there_is_no_trusted_os_both_pages_say_so() {
        let account = Account {
            hosts: Hosts::default(),
            labels: Vec::new(),
            applications: "/nonexistent".into(),
        };
        assert!(!std::path::Path::new(DEVICE).exists(), "one to ask");
        for path in ["/metrics", "/healthz"] {
            for method in ["GET", "HEAD"] {
                let request = Request {
                    method,
                    path,
                    host: None,
                };
                let answer = account.answer(request);
                assert_eq!(answer.status, Status::Unavailable, "{path}");
                assert_eq!(answer.head_only, method == "HEAD");
                assert!(answer.body.starts_with("/dev/tee0: "), "{}", answer.body);
                assert!(answer.body.ends_with('\n'));
            }
        }
    }

    /// A page of another site whose name was made to lead here read the account: no Host was looked at.
    #[test]
    fn who_asks_for_another_host_is_refused() {
        let account = Account {
            hosts: Hosts::new(["device-a".to_owned()]),
            labels: Vec::new(),
            applications: "/nonexistent".into(),
        };
        let asked = |host| {
            let request = Request {
                method: "GET",
                path: "/",
                host: Some(host),
            };
            account.answer(request).status
        };
        assert_eq!(asked("evil.example:9644"), Status::Misdirected);
        assert_eq!(asked("device-a:9644"), Status::NotFound);
    }

    #[test]
    fn an_address_that_is_none_is_said() {
        let error = serve("nowhere", &[], &[], "/nonexistent").unwrap_err();
        assert!(error.starts_with("nowhere: "), "{error}");
    }
}
