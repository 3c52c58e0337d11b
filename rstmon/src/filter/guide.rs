//! The filter language for people who write filters: an example a row, and what it means.
//!
//! Rendered by `rstmon man filter`. Every example parses, and every field has one.

/// A stretch of the guide: what its examples have in common, and the examples.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// What it is about.
    pub title: &'static str,
    /// Filters and their meaning.
    pub examples: &'static [(&'static str, &'static str)],
}

/// The chapters, simplest first.
pub const CHAPTERS: &[Chapter] = &[
    Chapter {
        title: "The reset",
        examples: &[
            (
                "kind sent",
                "sent, received, rejected (not obeyed) or stray (for no connection)",
            ),
            ("cause port-closed", "a cause of `rstmon explain`"),
            (
                "state syn-sent",
                "state of the socket, in the spellings of ss too",
            ),
        ],
    },
    Chapter {
        title: "Addresses and ports",
        examples: &[
            ("port 443", "either end"),
            (
                "lport 443",
                "the local end; sport is the same, as ss says it",
            ),
            ("rport 443", "the remote end; dport is the same"),
            (
                "src port 443",
                "where the RST came from; dst: where it went, as tcpdump says it",
            ),
            (
                "host 192.0.2.1",
                "either end; local host, remote host, src host, dst host: that end",
            ),
            (
                "net 10.0.0.0/8",
                "an address of the network; ends as for host",
            ),
            ("portrange 8000-8100", "as port"),
        ],
    },
    Chapter {
        title: "The socket's owner",
        examples: &[
            ("pid 4242", "its process"),
            (
                "comm 'ngin*'",
                "name of the process, 15 bytes at most; * and ? stand for any text",
            ),
            (
                "netns 4026531840",
                "network namespace of the socket, by its inode",
            ),
            (
                "cgroup /system.slice",
                "that cgroup and what is below; a number: its id; a word: a part",
            ),
            (
                "container web",
                "name, id, or the first 12 or more digits of the id",
            ),
            (
                "runtime docker",
                "docker, containerd, cri-o, podman, lxc or systemd-nspawn",
            ),
            (
                "pod shop/web-1",
                "pod by name or uid, with its namespace or without",
            ),
            ("namespace shop", "namespace of the pod"),
            ("unit nginx", "systemd unit; .service may be left out"),
        ],
    },
    Chapter {
        title: "Together",
        examples: &[
            (
                "kind sent and port 80",
                "both; && is the same, and after a state, as in ss, so is nothing",
            ),
            ("kind stray or kind rejected", "either; || is the same"),
            ("not comm curl", "all others; ! is the same"),
            (
                "(kind sent or kind received) and port 80",
                "parentheses; quote them for the shell",
            ),
            ("port 80,443", "any of a list"),
            ("cause in (port-closed, linger-abort)", "the same"),
            ("port 8000-8100", "a range"),
        ],
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a failed test panics")]

    use super::CHAPTERS;
    use crate::filter::{Filter, field_names};

    #[test]
    fn every_example_is_a_filter() {
        for (example, _) in CHAPTERS.iter().flat_map(|chapter| chapter.examples) {
            if let Err(error) = Filter::parse(example) {
                panic!("{error}");
            }
        }
    }

    #[test]
    fn every_field_is_named() {
        let guide = format!("{CHAPTERS:?}");
        for field in field_names() {
            assert!(guide.contains(field), "{field}");
        }
    }
}
