//! The path of a cgroup, by its id.
//!
//! Called by [`super::Annotator`]. The id that the kernel side reports (`cgroup->kn->id`) is the
//! file handle of the cgroup's directory in the version 2 hierarchy; `open_by_handle_at(2)` finds
//! the directory at once. Where that is refused (no `CAP_DAC_READ_SEARCH`, or the agent's own filter of
//! system calls), the hierarchy is walked and the ids are its inode numbers, which are the same on 64-bit
//! machines. A host with version 1
//! only has no ids that name anything: every answer is `None`. A host with both may tell a workload in
//! version 1 alone ([`Cgroups::has_version_1`]).

use crate::event::printable::printable;
use lru::LruCache;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Cgroups remembered; the least recently used goes first.
const CGROUPS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// How long "no such cgroup" is believed, nanoseconds. A path is believed for ever: ids are never
/// used again and a cgroup of version 2 cannot be renamed.
const ABSENT_NS: u64 = 5_000_000_000;
/// Least time between two walks, nanoseconds: for an unknown id one is made at once, as its cgroup may be
/// gone soon.
const WALK_PAUSE_NS: u64 = 100_000_000;
/// And as many times what the last one took: walking takes 5 % of the time at most.
const WALK_PAUSES: u64 = 20;
/// Directories that one walk looks at, at most.
const WALKED: usize = 16_384;
/// `FILEID_KERNFS` of `include/linux/exportfs.h`: the handle is the 64-bit id.
const FILEID_KERNFS: libc::c_int = 0xfe;

/// Bounded memory of cgroup paths.
#[derive(Debug)]
pub struct Cgroups {
    /// The mounted version 2 hierarchy and its open root; None: there is none.
    root: Option<(PathBuf, File)>,
    has_version_1: bool,
    by_handle: bool,
    entries: LruCache<u64, Entry>,
    /// Until when the hierarchy is not walked again, monotonic nanoseconds.
    rests_until_ns: u64,
}

#[derive(Clone, Debug)]
enum Entry {
    Path(Arc<str>),
    AbsentSince(u64),
}

impl Cgroups {
    /// Finds the version 2 hierarchy in `self/mountinfo` below `proc_root`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        let mounts = fs::read(proc_root.join("self/mountinfo")).unwrap_or_default();
        let mount = parse_mount(&mounts, "cgroup2");
        let root = mount.and_then(|path| File::open(&path).ok().map(|file| (path, file)));
        Self {
            root,
            has_version_1: parse_mount(&mounts, "cgroup").is_some(),
            by_handle: true,
            entries: LruCache::new(CGROUPS),
            rests_until_ns: 0,
        }
    }

    /// Whether version 1 hierarchies are mounted, beside one of version 2 or alone.
    #[must_use]
    pub const fn has_version_1(&self) -> bool {
        self.has_version_1
    }

    /// Whether [`Self::resolve`] would answer from memory.
    #[must_use]
    pub fn is_fresh(&self, id: u64, now_ns: u64) -> bool {
        match self.entries.peek(&id) {
            Some(Entry::Path(_)) => true,
            Some(Entry::AbsentSince(since)) => now_ns.saturating_sub(*since) < ABSENT_NS,
            None => self.root.is_none(),
        }
    }

    /// The path of a cgroup below the root of the hierarchy, beginning with `/`, printable.
    /// `now_ns` is the monotonic time.
    pub fn resolve(&mut self, id: u64, now_ns: u64) -> Option<&Arc<str>> {
        if !self.is_fresh(id, now_ns) {
            self.refresh(id, now_ns);
        }
        match self.entries.get(&id) {
            Some(Entry::Path(path)) => Some(path),
            _ => None,
        }
    }

    fn refresh(&mut self, id: u64, now_ns: u64) {
        let Some((mount, root)) = &self.root else {
            return;
        };
        if self.by_handle {
            match read_path_by_handle(mount, root, id) {
                Ok(path) => {
                    let entry = path.map_or(Entry::AbsentSince(now_ns), Entry::Path);
                    self.entries.put(id, entry);
                    return;
                }
                Err(_) => self.by_handle = false,
            }
        }
        if now_ns < self.rests_until_ns {
            // Asked again with the next event.
            return;
        }
        let mount = mount.clone();
        let began = Instant::now();
        self.walk(&mount);
        let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let rest_ns = took_ns.saturating_mul(WALK_PAUSES).max(WALK_PAUSE_NS);
        self.rests_until_ns = now_ns.saturating_add(rest_ns);
        if !matches!(self.entries.peek(&id), Some(Entry::Path(_))) {
            self.entries.put(id, Entry::AbsentSince(now_ns));
        }
    }

    /// Notes the id of every cgroup, breadth first.
    fn walk(&mut self, mount: &Path) {
        if let Ok(root) = fs::metadata(mount) {
            self.entries.put(root.ino(), Entry::Path("/".into()));
        }
        let mut waiting = std::collections::VecDeque::from([mount.to_owned()]);
        let mut walked = 0;
        while let Some(dir) = waiting.pop_front() {
            // A cgroup removed meanwhile has no entries.
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || walked >= WALKED {
                    continue;
                }
                walked += 1;
                let path = entry.path();
                if let Some(text) = path_below(mount, path.as_os_str().as_bytes()) {
                    self.entries.put(entry.ino(), Entry::Path(text));
                }
                waiting.push_back(path);
            }
        }
    }
}

/// Asks the kernel for the directory with this id. None if there is none, or none that can be seen
/// from this mount.
///
/// # Errors
/// The kernel refuses to resolve handles at all.
fn read_path_by_handle(mount: &Path, root: &File, id: u64) -> io::Result<Option<Arc<str>>> {
    let found = match open_by_id(root, id) {
        Ok(found) => found,
        Err(error) if error.raw_os_error() == Some(libc::ESTALE) => return Ok(None),
        Err(error) => return Err(error),
    };
    let link = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    Ok(path_below(mount, link.as_os_str().as_bytes()))
}

fn open_by_id(root: &File, id: u64) -> io::Result<OwnedFd> {
    /// `struct file_handle` with room for the 64-bit id.
    #[repr(C)]
    struct KernfsHandle {
        handle_bytes: libc::c_uint,
        handle_type: libc::c_int,
        id: [u8; 8],
    }
    let mut handle = KernfsHandle {
        handle_bytes: 8,
        handle_type: FILEID_KERNFS,
        id: id.to_ne_bytes(),
    };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: the pointer is to a live, writable `file_handle` followed by as many bytes as its
    // `handle_bytes` says; the kernel only reads it.
    let fd = unsafe {
        libc::open_by_handle_at(
            root.as_raw_fd(),
            (&raw mut handle).cast::<libc::file_handle>(),
            flags,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `path` as seen from the mount point, which is `/`.
fn path_below(mount: &Path, path: &[u8]) -> Option<Arc<str>> {
    let below = path.strip_prefix(mount.as_os_str().as_bytes())?;
    match below {
        [] => Some("/".into()),
        [b'/', ..] => Some(printable(below).into()),
        _ => None,
    }
}

/// The mount point of the first file system of a type in a mountinfo file (`proc_pid_mountinfo(5)`): the fields
/// before ` - ` hold the mount point fifth, the first one after is the type.
fn parse_mount(mounts: &[u8], file_system: &str) -> Option<PathBuf> {
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        let text = std::str::from_utf8(line).ok()?;
        let (mount, source) = text.split_once(" - ")?;
        if source.split(' ').next()? != file_system {
            return None;
        }
        Some(PathBuf::from(parse_octal_escapes(mount.split(' ').nth(4)?)))
    })
}

/// Undoes `\040` and its like (`seq_path`): blanks, line ends and backslashes are written so.
fn parse_octal_escapes(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escape, plain)| {
        text.replace(escape, plain)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A tree that looks like a mounted hierarchy, on a file system whose inodes are no handles.
    fn fake_host(root: &Path) -> PathBuf {
        let mount = root.join("cg");
        fs::create_dir_all(mount.join("system.slice/web.service")).unwrap();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        let mountinfo = format!(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu\n\
             41 31 0:38 / {} rw,relatime shared:4 - cgroup2 cgroup2 rw\n",
            mount.display()
        );
        fs::write(root.join("proc/self/mountinfo"), mountinfo).unwrap();
        mount
    }

    fn walking(root: &Path) -> Cgroups {
        let mut cgroups = Cgroups::new(&root.join("proc"));
        cgroups.by_handle = false;
        cgroups
    }

    #[test]
    fn the_walk_finds_paths_and_remembers_absence() {
        let root = tempfile::tempdir().unwrap();
        let mount = fake_host(root.path());
        let mut cgroups = walking(root.path());
        let id = fs::metadata(mount.join("system.slice/web.service"))
            .unwrap()
            .ino();
        assert_eq!(
            cgroups.resolve(id, SECOND).map(AsRef::as_ref),
            Some("/system.slice/web.service")
        );
        let mount_id = fs::metadata(&mount).unwrap().ino();
        assert_eq!(cgroups.resolve(mount_id, SECOND), Some(&"/".into()));
        // Younger than the walk, and asked for within its pause: looked for as soon as that is over.
        fs::create_dir(mount.join("late")).unwrap();
        let late = fs::metadata(mount.join("late")).unwrap().ino();
        assert_eq!(cgroups.resolve(late, SECOND + WALK_PAUSE_NS / 2), None);
        let later = cgroups.rests_until_ns;
        assert!(later >= SECOND + WALK_PAUSE_NS);
        assert_eq!(cgroups.resolve(late, later), Some(&"/late".into()));
        // What a walk did not find is gone, and not looked for with each event.
        let now = 10 * SECOND;
        assert_eq!(cgroups.resolve(u64::MAX, now), None);
        assert!(cgroups.is_fresh(u64::MAX, now + ABSENT_NS - 1));
        assert!(!cgroups.is_fresh(u64::MAX, now + ABSENT_NS));
        // A path that was found stays when its cgroup is gone.
        fs::remove_dir(mount.join("late")).unwrap();
        assert_eq!(cgroups.resolve(late, 100 * SECOND), Some(&"/late".into()));
    }

    #[test]
    fn a_host_without_version_2_has_no_paths_and_asks_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::new(root.path());
        assert!(cgroups.is_fresh(1, SECOND));
        assert_eq!(cgroups.resolve(1, SECOND), None);
    }

    #[test]
    fn mount_points_are_unescaped_and_only_version_2_counts() {
        let mounts = b"1 2 0:3 / /a rw - cgroup cgroup rw\n\xff\n1 2 0:3 / /b\\040c\\134 rw - cgroup2 x rw\n";
        let found = |file_system| parse_mount(mounts, file_system);
        assert_eq!(found("cgroup2"), Some(PathBuf::from("/b c\\")));
        assert_eq!(found("cgroup"), Some(PathBuf::from("/a")));
        assert_eq!(parse_mount(b"1 2 0:3 / /a\n - cgroup2\n", "cgroup2"), None);
    }

    #[test]
    fn only_what_is_below_the_mount_has_a_path() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(path_below(mount, b"/sys/fs/cgroup"), Some("/".into()));
        assert_eq!(
            path_below(mount, b"/sys/fs/cgroup/a\n"),
            Some(r"/a\x0a".into())
        );
        assert_eq!(path_below(mount, b"/sys/fs/cgroup2/a"), None);
        assert_eq!(path_below(mount, b"(unreachable)/a"), None);
    }

    /// On the real hierarchy, by handle and by walk alike.
    #[test]
    fn a_real_cgroup_is_resolved_both_ways() {
        let mut cgroups = Cgroups::new(Path::new("/proc"));
        let Some(mount) = cgroups.root.as_ref().map(|(mount, _)| mount.clone()) else {
            return crate::skip::cannot_run("no cgroup version 2 hierarchy is mounted here");
        };
        let dir = mount.join(format!("rstmon-test-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&dir) {
            return crate::skip::cannot_run(&format!("no cgroup can be made here: {error}"));
        }
        let id = fs::metadata(&dir).unwrap().ino();
        let expected = path_below(&mount, dir.as_os_str().as_bytes());
        let by_default = cgroups.resolve(id, SECOND).cloned();
        let by_handle = cgroups.by_handle;
        let mut walked = Cgroups::new(Path::new("/proc"));
        walked.by_handle = false;
        let by_walk = walked.resolve(id, SECOND).cloned();
        fs::remove_dir(&dir).unwrap();
        assert_eq!(by_default, expected);
        assert_eq!(by_walk, expected);
        if nix::unistd::geteuid().is_root() {
            assert!(by_handle, "root may resolve handles");
            assert_eq!(cgroups.resolve(u64::MAX, SECOND), None);
            assert!(cgroups.by_handle, "an unknown id is no refusal");
        }
    }
}
