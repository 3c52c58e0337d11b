//! Runs one kernel in QEMU and returns what it said on its console.

use super::cache;
use super::judge::BEGIN;
use super::kernels::Kernel;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Boots that may die before they reach `/init`; about one emulated boot in a hundred does.
const TRIES: u32 = 3;
/// Time for the boot and the first run of the lab in three modes, on a busy machine.
const FIRST_RUN: Duration = Duration::from_mins(7);
/// Time for each further run.
const FURTHER_RUN: Duration = Duration::from_mins(2);

/// Where the console's text is kept.
pub(super) fn log_path(version: &str) -> PathBuf {
    cache().join("logs").join(format!("{version}.log"))
}

/// Boots until the guest reaches `/init`, and returns its console. What happens after that is ours
/// and is not tried again.
pub(super) fn boot(version: &str, kernel: &Kernel, image: &Path, repeat: u32) -> Result<String> {
    let time = FIRST_RUN + FURTHER_RUN * repeat.saturating_sub(1);
    for attempt in 1..=TRIES {
        eprintln!("vm: booting {} (attempt {attempt})", kernel.release);
        let console = boot_once(kernel, image, time)?;
        fs::create_dir_all(cache().join("logs"))?;
        fs::write(log_path(version), &console)?;
        if console.contains(BEGIN) {
            return Ok(console);
        }
    }
    bail!(
        "{} did not reach /init in {TRIES} boots; its console is in {}",
        kernel.release,
        log_path(version).display()
    )
}

fn boot_once(kernel: &Kernel, image: &Path, time: Duration) -> Result<String> {
    let mut child = Command::new("qemu-system-x86_64")
        .args([
            "-M",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
        ])
        .args([
            "-m",
            "768M",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ])
        .args(["-serial", "stdio", "-no-reboot", "-kernel"])
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        // Without the last one the check of the timer warns in many emulated boots.
        .args([
            "-append",
            "console=ttyS0 panic=-1 loglevel=3 no_timer_check",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start qemu-system-x86_64; run `cargo xtask setup`")?;
    let stdout = child.stdout.take().context("QEMU has no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + time;
    let mut console = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => console.push_str(&line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().context("cannot end QEMU")?;
                console.push_str("\nvm: out of time\n");
                break;
            }
        }
    }
    child.wait().context("cannot wait for QEMU")?;
    Ok(console)
}
