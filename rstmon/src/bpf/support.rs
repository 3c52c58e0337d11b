//! Asks the kernel whether it takes kprobes and fentry at all, by loading and attaching one of each
//! and letting go of it.
//!
//! The plan is made from the answers. A refusal is a fact about the host and is left alone.

use super::programs::{AttachPoint, FrozenFacts, MapSizes, Programs, ProgramsError};
use crate::kernel::facts::{Obstacle, ProbeSupport, Support};
use rstmon_common::classic::ClassicLayout;
use rstmon_common::config::ProbeConfig;
use rstmon_common::layout::KernelLayout;
use std::collections::BTreeMap;

/// A function that every kernel has and that the probes of rstmon need anyway.
const FUNCTION: &str = "tcp_reset";
/// A tracepoint of every kernel that has any of ours.
const TRACEPOINT: &str = "inet_sock_set_state";

/// Asks. The programs are gone from the kernel when this returns.
#[must_use]
pub fn ask_probe_support() -> ProbeSupport {
    let facts = FrozenFacts {
        layout: KernelLayout::NONE,
        config: ProbeConfig::NONE,
        classic: ClassicLayout::NONE,
        log_level: 0,
        tracepoint_ids: BTreeMap::new(),
    };
    match Programs::create(&facts, MapSizes::ToAsk) {
        Ok(mut programs) => ask(&mut programs),
        Err(error) => support_without_maps(&error),
    }
}

/// What follows from maps that could not be created.
fn support_without_maps(error: &ProgramsError) -> ProbeSupport {
    let reason = error.to_string();
    match error {
        ProgramsError::NoRingBuffer(_) => ProbeSupport {
            ring_buffer: Support::Refused(reason),
            ..ProbeSupport::default()
        },
        ProgramsError::NotPermitted(_) => ProbeSupport {
            obstacle: Some(Obstacle::NotPermitted(reason)),
            ..ProbeSupport::default()
        },
        _ => ProbeSupport {
            obstacle: Some(Obstacle::Failed(reason)),
            ..ProbeSupport::default()
        },
    }
}

/// Asks with programs whose maps, the ring buffer among them, the kernel has created already.
fn ask(programs: &mut Programs) -> ProbeSupport {
    let mut attach = |name: &str, point| -> Support {
        Support::from(
            programs
                .attach(name, point)
                .map_err(|error: ProgramsError| error.to_string()),
        )
    };
    ProbeSupport {
        fentry: attach("fentry_support", AttachPoint::Fentry(FUNCTION)),
        kprobe: attach("kprobe_support", AttachPoint::Kprobe(FUNCTION)),
        raw_tracepoint: attach("raw_tp_support", AttachPoint::RawTracepoint(TRACEPOINT)),
        ring_buffer: Support::Works,
        obstacle: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_kind_of_map_is_the_kernels_lack() {
        let support = |error| support_without_maps(&error);
        let lacking = support(ProgramsError::NoRingBuffer("EINVAL".to_owned()));
        assert!(lacking.ring_buffer.refusal().is_some() && lacking.obstacle.is_none());
        let forbidden = support(ProgramsError::NotPermitted("EPERM".to_owned()));
        assert!(matches!(
            forbidden.obstacle,
            Some(Obstacle::NotPermitted(_))
        ));
        assert!(forbidden.ring_buffer.refusal().is_none());
        let failed = support(ProgramsError::Create("ENOMEM".to_owned()));
        assert!(matches!(failed.obstacle, Some(Obstacle::Failed(_))));
    }
}
