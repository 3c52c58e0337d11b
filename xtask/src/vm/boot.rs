//! Runs one kernel in QEMU and returns what it said on its console.

use super::cache;
use super::judge::BEGIN;
use super::kernels::Kernel;
use super::target::Target;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Boots that may die before they reach `/init`; about one emulated boot in a hundred does.
const TRIES: u32 = 3;
/// Time until `/init`, on a busy machine: three to five seconds on an idle one.
const REACH_INIT: Duration = Duration::from_mins(2);
/// Time without a word after that: longer than the guest gives one run of the lab.
const SILENCE: Duration = Duration::from_mins(6);
/// Time for all that is not the lab.
const CHECKS: Duration = Duration::from_mins(5);
/// Time for each run of the lab, which takes about a minute on an idle machine.
const LAB: Duration = Duration::from_mins(5);

/// Where the console's text is kept.
pub(super) fn log_path(target: Target) -> PathBuf {
    cache().join("logs").join(format!("{target}.log"))
}

/// Boots until the guest reaches `/init`, and returns its console. What happens after that is ours
/// and is not tried again.
///
/// `labs`: how often the lab runs in it.
pub(super) fn boot(target: Target, kernel: &Kernel, image: &Path, labs: u32) -> Result<String> {
    let time = CHECKS + LAB * labs;
    for attempt in 1..=TRIES {
        eprintln!("vm: booting {} (attempt {attempt})", kernel.release);
        let console = boot_once(target, kernel, image, time)?;
        if console.contains(BEGIN) {
            return Ok(console);
        }
    }
    bail!(
        "{} did not reach /init in {TRIES} boots; its console is in {}",
        kernel.release,
        log_path(target).display()
    )
}

/// Removes what an earlier run has left.
pub(super) fn forget_log(target: Target) -> Result<()> {
    let log = log_path(target);
    if log.exists() {
        fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    }
    Ok(())
}

/// Boots once, and returns the console when QEMU ends or is ended. It is kept line by line, for those
/// who watch.
fn boot_once(target: Target, kernel: &Kernel, image: &Path, time: Duration) -> Result<String> {
    fs::create_dir_all(cache().join("logs"))?;
    let mut log = File::create(log_path(target)).context("cannot keep the console")?;
    let mut child = qemu(target, kernel, image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start QEMU; run `cargo xtask setup`")?;
    let lines = read_lines(child.stdout.take().context("QEMU has no output")?);
    let started = Instant::now();
    let mut has_reached_init = false;
    let mut console = String::new();
    loop {
        let patience = if has_reached_init {
            SILENCE.min(time.saturating_sub(started.elapsed()))
        } else {
            REACH_INIT.saturating_sub(started.elapsed())
        };
        match lines.recv_timeout(patience) {
            Ok(line) => {
                has_reached_init |= line.starts_with(BEGIN);
                // It is judged from memory: a full disk only hides it.
                let _ = log.write_all(line.as_bytes());
                console.push_str(&line);
            }
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

/// QEMU with a console on its standard output, and nothing else of a machine's periphery.
fn qemu(target: Target, kernel: &Kernel, image: &Path) -> Command {
    let (emulator, machine) = target.arch.machine();
    // A thread for each processor: on one thread, which has them take turns, one may stand still for
    // a tenth of a second between two hooks of one reset.
    let periphery = "-accel tcg,thread=multi -smp 2 -m 768M -nodefaults -no-user-config \
                     -display none -serial stdio -no-reboot";
    let mut command = Command::new(emulator);
    command
        .args(machine.split_whitespace())
        .args(periphery.split_whitespace())
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image)
        .args(["-append", target.arch.command_line()]);
    command
}

/// Hands over the console line by line: only a channel can be waited on for a limited time.
fn read_lines(stdout: ChildStdout) -> Receiver<String> {
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
    lines
}
