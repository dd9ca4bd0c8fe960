//! A running server, and what is needed to end it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::http;
use crate::program::{command, text};

/// How long a test waits for something that must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(240);

/// Polls until something is there.
#[track_caller]
pub fn poll<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct Server {
    child: Child,
    pub address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server on a free port, and returns once it says where it listens.
    pub fn start(data: &Path, more: &[&str]) -> Server {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--data", text(data)], more].concat();
        Server::run(command(&arguments))
    }

    /// Starts a server by a command of the test's own.
    pub fn run(mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (err, kept) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        let address = poll("the address on standard error", || {
            let lines = lines.lock().unwrap();
            assert!(child.try_wait().unwrap().is_none() || !lines.is_empty(), "the server ended at once");
            let line = lines.iter().find(|line| line.contains("http://"))?;
            let rest = line.split("http://").nth(1)?;
            Some(rest.split('/').next()?.to_owned())
        });
        Server { child, address, lines }
    }

    /// Starts a server and waits until it answers searches.
    pub fn ready(data: &Path, more: &[&str]) -> Server {
        let mut server = Server::start(data, more);
        poll("/readyz", || {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended: {:?}", server.said());
            (http::get(&server.address, "/readyz").status == 200).then_some(())
        });
        server
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> http::Answer {
        http::get(&self.address, path)
    }

    pub fn post(&self, path: &str, body: &[u8]) -> http::Answer {
        http::post(&self.address, path, body)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> http::Answer {
        http::try_request(&self.address, "DELETE", path, &[], None).unwrap()
    }

    /// What it said on standard error.
    pub fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        poll("the end of the server", || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
