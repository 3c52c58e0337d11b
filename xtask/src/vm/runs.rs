//! What is run in each guest: `check` and the lab, in every way to capture.

/// One way to capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its name in `docs/kernel-support.toml` and in the results.
    pub(super) name: &'static str,
    /// The mode that it must give; declarations may name it in place of the runs.
    pub(super) mode: &'static str,
    /// What `check` and `lab` are told.
    pub(super) args: &'static str,
    /// Whether the lab runs, or only `check`.
    pub(super) has_lab: bool,
    /// Whether the kernel's BTF is hidden from rstmon.
    pub(super) hides_btf: bool,
}

impl Run {
    /// Whether `word` means it: its name, or its mode.
    pub(super) fn is_called(&self, word: &str) -> bool {
        self.name == word || self.mode == word
    }
}

/// Where the guest keeps a copy of the kernel's BTF.
pub(super) const BTF_COPY: &str = "/tmp/vmlinux.btf";

/// All runs, in their order. BTF can be hidden, but not shown again.
pub(super) const RUNS: &[Run] = &[
    seen("auto", "probe", "", false),
    seen("tracepoint", "tracepoint", "--mode tracepoint", true),
    seen("fentry", "probe", "--mode probe --probe fentry", true),
    seen("kprobe", "probe", "--mode probe --probe kprobe", true),
    seen("classic", "classic", "--mode classic", true),
    hidden("no-btf", "classic", "", false),
    hidden("no-btf-forced", "probe", "--mode probe", false),
    hidden("btf-file", "probe", "--btf /tmp/vmlinux.btf", true),
    // The only one whose tracepoints are all raw: `--btf` cannot be what programs are entered by.
    hidden(
        "btf-file-tracepoint",
        "tracepoint",
        "--mode tracepoint --btf /tmp/vmlinux.btf",
        true,
    ),
];

const fn seen(name: &'static str, mode: &'static str, args: &'static str, has_lab: bool) -> Run {
    Run {
        name,
        mode,
        args,
        has_lab,
        hides_btf: false,
    }
}

const fn hidden(name: &'static str, mode: &'static str, args: &'static str, has_lab: bool) -> Run {
    Run {
        hides_btf: true,
        ..seen(name, mode, args, has_lab)
    }
}

/// The run of this name.
pub(super) fn find_run(name: &str) -> Option<&'static Run> {
    RUNS.iter().find(|run| run.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn btf_is_hidden_last_and_its_copy_is_what_is_given() {
        let first_hidden = RUNS.iter().position(|run| run.hides_btf);
        let (seen, hidden) = RUNS.split_at(first_hidden.unwrap_or_default());
        assert!(!seen.is_empty() && !hidden.is_empty());
        assert!(seen.iter().all(|run| !run.hides_btf));
        assert!(hidden.iter().all(|run| run.hides_btf));
        for name in ["btf-file", "btf-file-tracepoint"] {
            let given = find_run(name).is_some_and(|run| run.args.ends_with(BTF_COPY));
            assert!(given, "{name}");
        }
    }
}
