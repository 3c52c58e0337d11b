//! `rstmon agent --check-config`: what would end a start, without a start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test panics"
)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use support::programs::copy_program;
use support::skip::cannot_run;
use support::{bpf_works, rstmon};

/// Exit code and standard error of an agent that does not come to run.
fn agent(args: &[&str], folder: &Path) -> (Option<i32>, String) {
    let mut command = rstmon();
    command.args(["agent", "--web.listen-address", "", "--socket"]);
    command.arg(folder.join("socket"));
    let output = command.args(args).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), message)
}

#[test]
fn what_ends_a_start_is_found_in_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "no BTF").unwrap();
    let starts = bpf_works();
    for wrong in [
        ["--socket-group", "nosuchgrp"],
        ["--events-file", "/nosuch/x"],
        ["--events-file", &at("file/x")],
        ["--events-file", &at("")],
        ["--btf", "/nosuch"],
        ["--btf", &at("file")],
    ] {
        let (code, found) = agent(&["--check-config", wrong[0], wrong[1]], folder.path());
        assert_eq!(code, Some(2), "{wrong:?}: {found}");
        if starts {
            let (code, said) = agent(&wrong, folder.path());
            assert_eq!(code, Some(1), "{wrong:?}: {said}");
            assert_eq!(found, said, "{wrong:?}");
        }
    }
}

#[test]
fn what_is_right_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("events.jsonl");
    let args = ["--check-config", "--events-file", log.to_str().unwrap()];
    let group = ["--socket-group", "root"];
    let (code, said) = agent(&[&args[..], &group].concat(), folder.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is right"), "{said}");
    assert!(!log.exists(), "only a start makes it");
    std::fs::write(&log, "half a line").unwrap();
    assert_eq!(agent(&args, folder.path()).0, Some(0));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "half a line");
}

/// The binary where a user that is not root may run it, and what such a user is told.
fn as_nobody(args: &[&str], folder: &Path) -> (Option<i32>, String) {
    let binary = folder.join("rstmon");
    if !binary.exists() {
        copy_program(env!("CARGO_BIN_EXE_rstmon"), &binary);
    }
    let output = Command::new(binary)
        .args(["agent", "--check-config"])
        .args(args)
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), message)
}

#[test]
fn what_a_user_may_not_see_is_not_called_wrong_nor_right() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("it needs root to be another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    mode(folder.path(), 0o755);
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let secret = |name: &str, text: &str| {
        std::fs::write(at(name), text).unwrap();
        mode(Path::new(&at(name)), 0o600);
        at(name)
    };
    let logs = at("logs");
    std::fs::create_dir(&logs).unwrap();
    mode(Path::new(&logs), 0o700);
    let log = format!("{logs}/events.jsonl");
    let hidden_web = secret("web.yml", "tls_server_config: {}");
    let key = secret("key.pem", "");
    let web = at("open.yml");
    std::fs::write(
        &web,
        format!("tls_server_config: {{cert_file: {key}, key_file: {key}}}"),
    )
    .unwrap();
    for hidden in [
        ["--events-file", &log],
        ["--web.config.file", &hidden_web],
        ["--web.config.file", &web],
        ["--btf", &secret("btf", "")],
        ["--config", &secret("rstmon.toml", "[events]\nkeep = 0\n")],
    ] {
        let (code, said) = as_nobody(&hidden, folder.path());
        assert_eq!(code, Some(3), "{hidden:?}: {said}");
        assert!(
            said.contains("ermission denied") && said.contains("run it as root"),
            "{said}"
        );
        // What is wrong for everybody is wrong.
        let wrong = [&hidden[..], &["--events-keep", "no"]].concat();
        let (code, said) = as_nobody(&wrong, folder.path());
        let is_config = hidden[0] == "--config";
        assert_eq!(
            code,
            Some(if is_config { 3 } else { 2 }),
            "{wrong:?}: {said}"
        );
    }
    // A certificate that anybody can see to be none, beside a key that this user may not read.
    let certificate = at("certificate.pem");
    std::fs::write(&certificate, "none").unwrap();
    let web = at("wrong.yml");
    std::fs::write(
        &web,
        format!("tls_server_config: {{cert_file: {certificate}, key_file: {key}}}"),
    )
    .unwrap();
    let (code, said) = as_nobody(&["--web.config.file", &web], folder.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no PEM certificate"), "{said}");
    let both = ["--events-file", &log, "--socket-group", "nosuchgrp"];
    assert_eq!(as_nobody(&both, folder.path()).0, Some(2));
    let (code, said) = as_nobody(&["--events-file", "/dev/null"], folder.path());
    assert_eq!(code, Some(0), "{said}");
}
