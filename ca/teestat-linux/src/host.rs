//! Linux host of the tool: names of applications, files, network.
//!
//! **Invariant:** a file that cannot be written whole is an error that says why.

use std::fs::File;
use std::io::Write as _;

use teestat::{FileSink, Files, Host, HostNames, Server, Terminal};

use crate::names::Directory;
use crate::serve;
use crate::terminal::Tty;

/// This machine.
pub(crate) struct Machine {
    names: Directory,
    applications: String,
    terminal: Tty<'static>,
}

impl Machine {
    /// With names from the directory `applications`.
    pub(crate) fn new(applications: &str) -> Self {
        Self {
            names: Directory::new(applications),
            applications: applications.to_owned(),
            terminal: Tty::own(),
        }
    }
}

impl Host for Machine {
    fn names(&self) -> &dyn HostNames {
        &self.names
    }

    fn files(&self) -> &dyn Files {
        self
    }

    fn terminal(&self) -> &dyn Terminal {
        &self.terminal
    }

    fn server(&self) -> &dyn Server {
        self
    }
}

impl Server for Machine {
    fn serve(
        &self,
        listen: &str,
        hosts: &[&str],
        labels: &[(String, String)],
    ) -> Result<(), String> {
        serve::serve(listen, hosts, labels, &self.applications)
    }
}

impl Files for Machine {
    fn create(&self, path: &str) -> Result<Box<dyn FileSink>, String> {
        match File::create(path) {
            Ok(file) => Ok(Box::new(Sink(file))),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }
}

struct Sink(File);

impl FileSink for Sink {
    fn write(&mut self, data: &[u8]) -> Result<(), String> {
        self.0.write_all(data).map_err(|error| error.to_string())
    }
}
