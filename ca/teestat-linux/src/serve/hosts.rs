//! Names that this machine is asked for by.
//!
//! **Invariant:** an address or `localhost` names no other site, so that no browser takes it for one (DNS rebinding);
//! any other name must be known.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Names that are known besides.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// Of these names, with blanks around them or not.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names = names.into_iter().map(|name| plain(&name).to_owned());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host` (RFC 9110, 7.2), with a port or without, is one that may ask.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.trim();
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, port)| {
                address.parse::<Ipv6Addr>().is_ok() && is_port(port)
            });
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        let name = plain(name);
        let is_known = name.parse::<Ipv4Addr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|known| known.eq_ignore_ascii_case(name));
        is_known && is_port(port)
    }
}

/// Without what does not tell names apart.
fn plain(name: &str) -> &str {
    let name = name.trim();
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether this is `:9644`, or nothing.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn addresses_localhost_and_known_names_may_ask() {
        let hosts = Hosts::new(["device-a\n".to_owned(), String::new()]);
        for host in [
            "127.0.0.1:9644",
            "10.0.2.15",
            "[::1]:9644",
            "[fe80::1]",
            "localhost:9644",
            "LOCALHOST.",
            "device-a:9644",
            " Device-A ",
        ] {
            assert!(hosts.has(host), "{host}");
        }
        for host in [
            "",
            ":9644",
            "evil.example",
            "evil.example:9644",
            "device-a.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::1",
            "[evil]",
            "[::1].evil.example",
            "127.0.0.1:evil",
            "device-b",
        ] {
            assert!(!hosts.has(host), "{host}");
        }
    }
}
