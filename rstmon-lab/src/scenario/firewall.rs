//! A netfilter rule that answers with a reset, set by `nft`.

use super::Scenario;
use crate::error::LabError;
use crate::program;
use crate::segment::flag;
use crate::stage::{SERVICE_PORT, Stage};
use crate::truth::{Expectation, Given, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "firewall-reject",
    title: "an nft rule that rejects with a TCP reset",
    play: firewall_reject,
}];

fn firewall_reject(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    install_reject_rule()?;
    let end = stage.stranger(SERVICE_PORT);
    let syn = end.segment(flag::SYN);
    stage.peer.send(&syn)?;
    stage.receive(&end, "the firewall's RST", |s| s.has(flag::RST))?;
    stage.expect(
        Expectation::new(Kind::Sent, "firewall-reject", end.local, end.fake)
            .certain_given(&[Given::Always])
            .rst_answering(&syn)
            .needs(Needs::Firewall),
    );
    Ok(())
}

/// Rejects what comes for the service port, in the calling thread's namespace.
pub(crate) fn install_reject_rule() -> Result<(), LabError> {
    let rules = format!(
        "table inet rstmon_lab {{ chain input {{ type filter hook input priority 0; \
         tcp dport {SERVICE_PORT} reject with tcp reset; }}; }}"
    );
    let nft = program::run("nft", &[&rules])?;
    if nft.is_success {
        return Ok(());
    }
    let said = nft.complaint.unwrap_or_else(|| "no message".to_owned());
    Err(LabError::Skipped {
        reason: format!("nft refused the reject rule: {said}"),
    })
}
