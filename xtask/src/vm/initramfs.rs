//! What runs in the guest: busybox, the static binary, `nft`, a few modules, and the script `/init`.

use super::apt::entries;
use super::cache;
use super::judge::{BEGIN, made_marker};
use super::kernels::{self, Kernel};
use super::results::Made;
use super::runs::{BTF_COPY, Run};
use super::target::{Arch, Target};
use crate::process::{output_of, run};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Applets that `/init` and the kernel call by name.
const APPLETS: &[&str] = &[
    "cat", "dmesg", "grep", "ip", "mkdir", "mknod", "modprobe", "mount", "poweroff", "sed", "sh",
    "timeout",
];
/// Modules that the lab needs, where the kernel has them as modules. Those of netfilter's reject
/// are loaded by the kernel itself when the lab's rule comes: that is part of the test.
const MODULES: &[&str] = &[
    "tun",
    "nf_tables",
    "nfnetlink",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_netdev",
    "nft_reject_bridge",
    "nft_meta_bridge",
    "bridge",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "inet_diag",
    "tcp_diag",
    // What libcrc32c asks for by name when it starts, where it is no part of the kernel.
    "crc32c_generic",
];
/// How long one run of the lab, or a check, may take in the guest, in seconds: one that hangs must
/// not hide the others.
const RUN_LIMIT: u32 = 300;
/// The programs of the lab that are not its own, on this machine.
const PROGRAMS: &[&str] = &["/usr/sbin/nft", "/usr/bin/ss"];
/// And where they lie in Debian's packages.
const PACKAGED_PROGRAMS: &[&str] = &["usr/sbin/nft", "bin/ss"];

/// How the kernel begins to tell of the process that the lab lets run out of memory; the trace that
/// comes with it is no complaint.
const OOM_BEGINS: &str = "invoked oom-killer";

/// The guest's `/init`: how this was made, all runs, then every variant, then what the kernel logged.
pub(super) fn init_script(runs: &[&Run], repeat: u32, made: &Made) -> String {
    let line = |run: &&&Run| {
        let Run { name, args, .. } = run;
        let lab = if run.has_lab {
            format!(" && lab {name} {args}")
        } else {
            String::new()
        };
        format!("check {name} {args}{lab}\n")
    };
    let lines = |is_meant: &dyn Fn(&Run) -> bool| -> String {
        runs.iter()
            .filter(|run| is_meant(run))
            .map(|run| line(&run))
            .collect()
    };
    // Of what is in modules, a check without the lab shows that it waits for them.
    let unloaded = lines(&|run| !run.hides_btf && !run.has_lab);
    let loaded = lines(&|run| !run.hides_btf && run.has_lab);
    let hidden = lines(&|run| run.hides_btf);
    let numbers: Vec<String> = (1..=repeat).map(|number| number.to_string()).collect();
    let numbers = numbers.join(" ");
    let made = made_marker(made);
    format!(
        r#"#!/bin/sh
echo "{BEGIN}"
echo "{made}"
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# A memory cgroup that stays. With the first one, and when the last one goes, the kernel patches code
# of its sockets, and one emulated processor now and then runs into what the other is patching: it
# dies of an int3 in __sk_mem_raise_allocated, which nobody probes.
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/stays
ip link set lo up
modprobe tun
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
check() {{
  name=$1; shift
  timeout -k 5 {RUN_LIMIT} rstmon check "$@" -o json > /tmp/check 2> /tmp/err
  code=$?
  echo "@@check run=$name code=$code"
  cat /tmp/check /tmp/err
  return $code
}}
# The first run in the lab's order, each further one in an order of its own, which the lab tells.
lab() {{
  name=$1; shift
  order=
  for number in {numbers}; do
    echo "@@lab run=$name number=$number"
    timeout -k 5 {RUN_LIMIT} rstmon lab --global "$@" $order -o json 2> /tmp/err
    echo "@@lab-end run=$name number=$number code=$?"
    cat /tmp/err
    order=--shuffle
  done
}}
{unloaded}modprobe -a nf_reject_ipv4 nf_reject_ipv6 2> /dev/null
{loaded}echo "@@variants"
timeout -k 5 {RUN_LIMIT} rstmon check --variants 2>&1
echo "@@hidden"
cat /sys/kernel/btf/vmlinux > {BTF_COPY}
mkdir /tmp/nothing
mount -o bind /tmp/nothing /sys/kernel/btf
{hidden}echo "@@dmesg"
dmesg | sed '/{OOM_BEGINS}/,/Call Trace/d' | grep -E 'WARNING:|BUG:|Oops|Call Trace|general protection|refcount_t|stack-protector'
echo "@@done"
poweroff -f
"#
    )
}

/// Packs the image and returns its path.
pub(super) fn pack(
    target: Target,
    kernel: &Kernel,
    binary: &Path,
    busybox: &Path,
    init: &str,
) -> Result<PathBuf> {
    let images = cache().join("images");
    fs::create_dir_all(&images)?;
    let tree = tempfile::tempdir_in(&images).context("cannot make a directory for the image")?;
    let root = tree.path();
    for directory in ["bin", "sbin", "proc", "sys", "dev", "tmp", "lib", "lib64"] {
        fs::create_dir(root.join(directory))?;
    }
    install(busybox, &root.join("bin/busybox"))?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(applet))?;
    }
    std::os::unix::fs::symlink("/bin/busybox", root.join("sbin/modprobe"))?;
    install(binary, &root.join("bin/rstmon"))?;
    match target.arch {
        Arch::Amd64 => {
            for program in PROGRAMS {
                install_with_libraries(Path::new(program), root)?;
            }
        }
        Arch::Arm64 => install_packaged(&kernels::get_programs(target.arch)?, root)?,
    }
    if let Some(modules) = &kernel.modules {
        install_modules(modules, &kernel.release, root)?;
    }
    fs::write(root.join("init"), init)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let image = images.join(format!("{target}.cpio.gz"));
    let script = "find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 > \"$0\"";
    run(Command::new("sh")
        .args(["-c", script])
        .arg(&image)
        .current_dir(root))?;
    Ok(image)
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Installs a program of this machine with the libraries that its loader will look for.
fn install_with_libraries(program: &Path, root: &Path) -> Result<()> {
    let text = output_of("ldd", &[&program.display().to_string()])
        .with_context(|| format!("{} is missing; run `cargo xtask setup`", program.display()))?;
    let name = program.file_name().context("a program has a name")?;
    install(program, &root.join("bin").join(name))?;
    for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory)?;
        }
        install(Path::new(library), &place)?;
    }
    Ok(())
}

/// Installs programs of another architecture, and all libraries of the packages that they came with.
fn install_packaged(packages: &Path, root: &Path) -> Result<()> {
    for program in PACKAGED_PROGRAMS {
        let program = packages.join(program);
        let name = program.file_name().context("a program has a name")?;
        install(&program, &root.join("bin").join(name))?;
    }
    for place in ["lib", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"] {
        let to = root.join(place);
        fs::create_dir_all(&to)?;
        let files = entries(&packages.join(place)).into_iter();
        for file in files.filter(|file| file.is_file()) {
            let name = file.file_name().context("a file has a name")?;
            install(&file, &to.join(name))?;
        }
    }
    Ok(())
}

/// Installs the modules with all that they depend on, unpacked, and the lists that modprobe reads.
fn install_modules(from: &Path, release: &str, root: &Path) -> Result<()> {
    // depmod wants the directory that holds lib/modules.
    let base = from
        .ancestors()
        .nth(3)
        .context("modules lie in lib/modules/RELEASE")?;
    let depmod = Command::new("/sbin/depmod")
        .arg("-b")
        .arg(base)
        .arg(release)
        .output()
        .context("cannot start depmod; run `cargo xtask setup`")?;
    // It warns of lists that lie in packages nobody needs here.
    if !depmod.status.success() {
        bail!("depmod: {}", String::from_utf8_lossy(&depmod.stderr).trim());
    }
    let dependencies = fs::read_to_string(from.join("modules.dep"))?;
    let to = root.join("lib/modules").join(release);
    fs::create_dir_all(&to)?;
    let mut list = String::new();
    for (module, needs) in closure(&dependencies) {
        let plain = plain_name(&module);
        let place = to.join(&plain);
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory)?;
        }
        unpack_module(&from.join(&module), &place)?;
        let needs: Vec<String> = needs.iter().map(|need| plain_name(need)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(list, "{plain}: {}", needs.join(" "));
    }
    fs::write(to.join("modules.dep"), list)?;
    for name in ["modules.alias", "modules.builtin"] {
        // A kernel without one has nothing to say there.
        let _ = fs::copy(from.join(name), to.join(name));
    }
    Ok(())
}

/// The wanted modules and all that they need, from `modules.dep`.
fn closure(dependencies: &str) -> Vec<(String, Vec<String>)> {
    let lines: Vec<(&str, Vec<String>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| {
            (
                module,
                needs.split_whitespace().map(str::to_owned).collect(),
            )
        })
        .collect();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (module, needs) in &lines {
        if MODULES.contains(&module_name(module).as_str()) {
            wanted.insert((*module).to_owned());
            wanted.extend(needs.iter().cloned());
        }
    }
    lines
        .into_iter()
        .filter(|(module, _)| wanted.contains(*module))
        .map(|(module, needs)| (module.to_owned(), needs))
        .collect()
}

/// `kernel/net/netfilter/nf-tables.ko.xz` is the module `nf_tables`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The path without the ending of its compression.
fn plain_name(path: &str) -> String {
    path.trim_end_matches(".xz")
        .trim_end_matches(".zst")
        .to_owned()
}

fn unpack_module(from: &Path, to: &Path) -> Result<()> {
    let program = match from.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return install(from, to),
    };
    let output = Command::new(program).args(["-dcq"]).arg(from).output()?;
    if !output.status.success() {
        bail!("{program} cannot unpack {}", from.display());
    }
    fs::write(to, output.stdout)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::runs::RUNS;

    #[test]
    fn modules_come_with_what_they_need() {
        let dependencies = "kernel/net/nft_reject_inet.ko.xz: kernel/net/nft_reject.ko.xz \
                            kernel/net/nf_tables.ko.xz\nkernel/net/nf_tables.ko.xz: \
                            kernel/lib/libcrc32c.ko.xz\nkernel/lib/libcrc32c.ko.xz:\n\
                            kernel/net/nft_reject.ko.xz: kernel/net/nf_tables.ko.xz\n\
                            kernel/drivers/other.ko.xz:\n";
        let names: Vec<String> = closure(dependencies)
            .iter()
            .map(|(module, _)| module_name(module))
            .collect();
        assert_eq!(
            names,
            ["nft_reject_inet", "nf_tables", "libcrc32c", "nft_reject"]
        );
        assert_eq!(plain_name("a/b.ko.zst"), "a/b.ko");
    }

    #[test]
    fn the_script_makes_every_run_as_often_as_asked_and_hides_btf_before_those_that_lack_it() {
        let all: Vec<&Run> = RUNS.iter().collect();
        let script = init_script(&all, 2, &Made::default());
        assert!(script.contains("\ncheck kprobe --mode probe --probe kprobe && lab kprobe --mode"));
        assert!(script.contains("\ncheck auto \n"));
        assert!(script.contains("for number in 1 2;"));
        let place = |text: &str| script.find(text);
        let hiding = place("mount -o bind");
        assert!(place("\ncheck classic") < hiding && hiding < place("\ncheck no-btf "));
    }
}
