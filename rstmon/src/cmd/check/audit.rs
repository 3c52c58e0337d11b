//! Why the agent's self-audit may find a gap on this host: the resets that the kernel counts in
//! OutRsts and that no hook of the plan sees.
//!
//! Pure; `report` asks for it, `render` prints it.

use crate::kernel::degradation::Degradation;
use crate::kernel::hook::Hook;
use serde::Serialize;

/// A path on which this host sends resets that rstmon does not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditGap {
    /// The degradation that it follows from.
    pub degradation: &'static str,
    /// Which resets `rstmon_unaccounted_resets` counts because of it.
    pub unseen: &'static str,
}

/// The gaps that follow from what could not be had. Netfilter's resets are not among them: the
/// kernel does not count those in OutRsts either (`nf_send_reset`).
pub(super) fn audit_gaps<'d>(
    degradations: impl IntoIterator<Item = &'d Degradation>,
) -> Vec<AuditGap> {
    let gap = |degradation: &Degradation| {
        let unseen = match degradation {
            Degradation::SocketlessResetsUnseen { .. } => {
                "answers to segments for a closed port, an unknown connection or TIME-WAIT"
            }
            Degradation::SocketlessResetsDeduced { .. } => {
                "answers to segments that hit TIME-WAIT; what is deduced from a dropped segment may \
                 also be off where the kernel drops one without an answer"
            }
            Degradation::HookUnavailable { hook, .. } => match hook {
                Hook::TcpSendReset => "all that TCP sends",
                Hook::TcpV4SendReset => "answers to IPv4 segments without a full socket",
                Hook::TcpV6SendReset => "answers to IPv6 segments without a full socket",
                _ => return None,
            },
            _ => return None,
        };
        Some(AuditGap {
            degradation: degradation.id(),
            unseen,
        })
    };
    degradations.into_iter().filter_map(gap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_counts_can_be_missed() {
        let reason = String::new;
        let unseen = |degradations: &[Degradation]| -> Vec<&str> {
            let gaps = audit_gaps(degradations);
            gaps.iter().map(|gap| gap.degradation).collect()
        };
        assert_eq!(
            unseen(&[
                Degradation::FirewallRejectsUnseen { reason: reason() },
                Degradation::SocketlessResetsUnseen { reason: reason() },
                Degradation::HookUnavailable {
                    hook: Hook::TcpReset,
                    reason: reason(),
                },
                Degradation::HookUnavailable {
                    hook: Hook::TcpV6SendReset,
                    reason: reason(),
                },
            ]),
            ["socketless-resets-unseen", "hook-unavailable"]
        );
        assert!(unseen(&[Degradation::NoKernelReason]).is_empty());
    }
}
