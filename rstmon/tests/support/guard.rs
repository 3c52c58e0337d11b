//! Children of a test that end with it, and what they print as it comes.

use std::io::{BufRead, BufReader, Read};
use std::ops::{Deref, DerefMut};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

/// A child that is killed when it is dropped: a test that failed half-way leaves nothing running that
/// others would measure, or that holds a file of it.
pub struct Guarded(Child);

impl Guarded {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }
}

impl Deref for Guarded {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // One that has ended takes no signal.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a stream as they come, to be waited for with a deadline.
pub fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            // A test that is over waits for nothing.
            if sender.send(line.expect("lines are UTF-8")).is_err() {
                return;
            }
        }
    });
    lines
}
