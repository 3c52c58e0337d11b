//! From the path of a cgroup to the container, pod and unit that it belongs to.
//!
//! Pure; called by [`super::Workloads`] once for each path. The names of cgroups follow habits of
//! systemd, the container runtimes and the kubelet, and there are three rules where they meet:
//!
//! * The container is the nearest one: of a container within a container (kind, Docker in Docker)
//!   the inner one.
//! * The pod is the outermost one: it is the one that this host's kubelet knows.
//! * The unit is one of this host's systemd, so it is looked for above the outermost container, and
//!   the scope that a runtime makes for a container is none: it only repeats the container's id.
//!
//! A process that supervises a container (conmon, `systemd-nspawn`, the LXC monitor) is not in it.

use crate::event::printable::printable;
use crate::event::workload::{Container, ContainerId, Pod, PodUid, Runtime, Workload};

/// What stands before the id in the name of a container's cgroup.
const PREFIXES: &[(&str, Runtime)] = &[
    ("docker", Runtime::Docker),
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Containerd),
    ("crio", Runtime::CriO),
    ("libpod", Runtime::Podman),
    ("libpod-payload", Runtime::Podman),
];

/// Ends of the names of units that have a cgroup (`systemd.unit(5)`), slices apart.
const UNIT_SUFFIXES: &[&str] = &[".service", ".scope", ".socket", ".mount", ".swap"];
/// Longest name of a unit, bytes (`UNIT_NAME_MAX`).
const UNIT_LENGTH: usize = 255;

/// What the path tells; None if that is nothing. `path` is printable and begins with `/`; of one
/// that was read in another cgroup namespace (`/../../a`) what leads up is passed over.
pub(super) fn parse_workload(path: &str) -> Option<Workload> {
    let components: Vec<&str> = path
        .split('/')
        .filter(|component| !matches!(*component, "" | "." | ".."))
        .collect();
    let container = (0..components.len())
        .rev()
        .find_map(|at| parse_container(&components, at));
    let pod = parse_pod(&components).map(|uid| Pod { uid, names: None });
    let is_contained = container.is_some() || pod.is_some();
    let unit = parse_unit(&components, is_contained);
    if !is_contained && unit.is_none() {
        return None;
    }
    Some(Workload {
        container,
        pod,
        unit: unit.map(Into::into),
    })
}

/// The container that begins at a component.
fn parse_container(components: &[&str], at: usize) -> Option<Container> {
    let name = *components.get(at)?;
    let parent = at.checked_sub(1).and_then(|above| components.get(above));
    let child = components.get(at + 1);
    parse_prefixed(name)
        .or_else(|| parse_bare(name, parent.copied()))
        .or_else(|| parse_lxc(name, parent.copied()))
        .or_else(|| parse_nspawn(name, child.copied()))
}

/// `docker-ID.scope`, `crio-ID`, and `SLICE:cri-containerd:ID`, which runc makes of a path meant for
/// systemd when it writes cgroups itself. In `crio-conmon-ID.scope` no id follows the prefix.
fn parse_prefixed(name: &str) -> Option<Container> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = match stem.rsplit_once(':') {
        Some((slice_and_prefix, id)) => (slice_and_prefix.rsplit_once(':')?.1, id),
        None => stem.rsplit_once('-')?,
    };
    let (_, runtime) = PREFIXES.iter().find(|(known, _)| *known == prefix)?;
    Some(Container::Identified {
        id: ContainerId::parse(id)?,
        name: None,
        runtime: Some(*runtime),
    })
}

/// `docker/ID`, `kubepods/podUID/ID`, `ecs/TASK/ID`: a whole id alone. Below `libpod_parent` that
/// is a pod of Podman.
fn parse_bare(name: &str, parent: Option<&str>) -> Option<Container> {
    let id = ContainerId::parse(name).filter(ContainerId::is_full)?;
    let runtime = match parent {
        Some("libpod_parent") => return None,
        Some("docker") => Some(Runtime::Docker),
        _ => None,
    };
    Some(Container::Identified {
        id,
        name: None,
        runtime,
    })
}

/// `lxc.payload.NAME`, and before LXC 4 `lxc/NAME` and `lxc.payload/NAME`.
fn parse_lxc(name: &str, parent: Option<&str>) -> Option<Container> {
    let name = match parent {
        Some("lxc" | "lxc.payload") => name,
        _ => name
            .strip_prefix("lxc.payload.")
            .filter(|name| !name.is_empty())?,
    };
    Some(Container::Named {
        name: name.into(),
        runtime: Runtime::Lxc,
    })
}

/// `systemd-nspawn@NAME.service`, and `machine-NAME.scope` with a `payload`: a scope without one
/// may be a virtual machine.
fn parse_nspawn(name: &str, child: Option<&str>) -> Option<Container> {
    let instance = name
        .strip_prefix("systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(".service"))
        .filter(|_| child != Some("supervisor"));
    let machine = name
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .filter(|_| child == Some("payload"));
    let escaped = instance.or(machine).filter(|name| !name.is_empty())?;
    Some(Container::Named {
        name: printable(&unescape_unit_name(escaped)).into(),
        runtime: Runtime::Nspawn,
    })
}

/// `kubepods-burstable-podUID.slice` with underscores for hyphens, or below `kubepods` `podUID`. The
/// kubelet may put its tree below another cgroup: `kubelet-kubepods-podUID.slice`.
fn parse_pod(components: &[&str]) -> Option<PodUid> {
    let mut is_below_kubepods = false;
    components.iter().find_map(|name| {
        let name = name.split(':').next().unwrap_or_default();
        is_below_kubepods |= name == "kubepods";
        let of_slice = name
            .strip_suffix(".slice")
            .filter(|stem| is_of_kubelet(stem))
            .and_then(|stem| stem.rsplit_once("-pod"))
            .map(|(_, uid)| uid);
        let of_directory = name.strip_prefix("pod").filter(|_| is_below_kubepods);
        PodUid::parse(&of_slice.or(of_directory)?.replace('_', "-"))
    })
}

/// Whether one of the words of a slice's name is `kubepods`.
fn is_of_kubelet(stem: &str) -> bool {
    stem.split('-').any(|word| word == "kubepods")
}

/// The unit, as systemd itself reads a path: slices, then the unit; after a user's manager slices
/// and a unit again. A slice alone is a unit too, unless a container's or a pod's.
fn parse_unit<'p>(components: &[&'p str], is_contained: bool) -> Option<&'p str> {
    let mut slice = None;
    let mut unit: Option<&str> = None;
    for (at, component) in components.iter().enumerate() {
        let name = unescape_cgroup_name(component);
        let is_manager = unit.is_some_and(|unit| unit.starts_with("user@"));
        let container = parse_container(components, at);
        // A container without an id is named by its unit.
        let has_own_unit = !matches!(container, Some(Container::Identified { .. }));
        if is_unit(name, &[".slice"]) && unit.is_none() {
            slice = Some(name).filter(|_| !is_contained);
        } else if is_unit(name, UNIT_SUFFIXES) && has_own_unit && (unit.is_none() || is_manager) {
            unit = Some(name);
        } else if !(is_manager && is_unit(name, &[".slice"])) {
            break;
        }
        if container.is_some() {
            break;
        }
    }
    unit.or(slice)
}

/// Whether a name is that of a unit (`systemd.unit(5)`) with one of these ends.
fn is_unit(name: &str, suffixes: &[&str]) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() <= UNIT_LENGTH
        && name.bytes().all(is_allowed)
        && suffixes
            .iter()
            .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// systemd puts `_` before a name that could be taken for a file of the kernel (`cpu.service`).
fn unescape_cgroup_name(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// Undoes `\x2d` and its like (`systemd-escape(1)`). A hyphen, which stands for a slash, is kept: no
/// machine has a slash in its name.
fn unescape_unit_name(escaped: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = rest
            .strip_prefix(b"\\x")
            .and_then(|rest| rest.split_at_checked(2))
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let code = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                Some((code, after))
            });
        let (byte, after) = code.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests;
