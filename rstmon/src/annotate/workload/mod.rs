//! What a cgroup belongs to.

mod path;
