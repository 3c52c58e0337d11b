//! A terminal of a test: tmux, with a server of its own.

use super::programs::wait_until;
use std::path::PathBuf;
use std::process::{Command, Output};

/// One terminal with a shell in it.
pub struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    /// A terminal of this size.
    pub fn start(width: u16, height: u16) -> Self {
        let tmux = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", width.as_str(), "-y", height.as_str()];
        let shell = "env LANG=C.UTF-8 PS1='$ ' sh -i";
        let output =
            tmux.run(&[&["new-session", "-d", "-s", "test"], &size[..], &[shell]].concat());
        assert!(output.status.success(), "{output:?}");
        tmux.wait_for("the prompt", |screen| screen.contains('$'));
        tmux
    }

    fn run(&self, args: &[&str]) -> Output {
        let socket: PathBuf = self.folder.path().join("tmux");
        Command::new("tmux")
            .arg("-S")
            .arg(socket)
            .args(args)
            .env("LANG", "C.UTF-8")
            .output()
            .expect("tmux runs")
    }

    /// Types keys, as tmux names them.
    pub fn keys(&self, keys: &[&str]) {
        let output = self.run(&[&["send-keys", "-t", "test"], keys].concat());
        assert!(output.status.success(), "{output:?}");
    }

    /// Types a line.
    pub fn line(&self, line: &str) {
        self.keys(&["-l", line]);
        self.keys(&["Enter"]);
    }

    /// Another size.
    pub fn resize(&self, width: u16, height: u16) {
        let (width, height) = (width.to_string(), height.to_string());
        self.run(&["resize-window", "-t", "test", "-x", &width, "-y", &height]);
    }

    /// What it shows.
    pub fn screen(&self) -> String {
        let output = self.run(&["capture-pane", "-p", "-t", "test"]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until it shows that.
    pub fn wait_for(&self, what: &str, is_shown: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        wait_until(what, || {
            screen = self.screen();
            is_shown(&screen)
        });
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}
