//! Serving figures to whoever asks for them over a network.
//!
//! **Invariant:** where there is no network nothing is served, and that is said.

use alloc::string::String;

/// What every sample is labelled with: names and values.
pub type Labels = [(String, String)];

/// Who can serve.
pub trait Server {
    /// Serves the account at `listen` (address and port) until it is told to end, to whoever asks for an address, or
    /// for this machine by its own name or one of `hosts`.
    ///
    /// # Errors
    /// Why it cannot, for people.
    fn serve(&self, listen: &str, hosts: &[&str], labels: &Labels) -> Result<(), String>;
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServer;

impl Server for NoServer {
    fn serve(&self, _: &str, _: &[&str], _: &Labels) -> Result<(), String> {
        Err(String::from("there is no network here to serve on"))
    }
}
