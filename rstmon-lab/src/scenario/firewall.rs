//! A netfilter rule that answers with a reset. The only scenario with an external program: `nft`.

use std::io::ErrorKind;
use std::process::Command;

use super::Scenario;
use crate::error::LabError;
use crate::segment::flag;
use crate::stage::{SERVICE_PORT, Stage};
use crate::truth::{Expectation, Kind, Needs};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    id: "firewall-reject",
    title: "an nft rule that rejects with a TCP reset",
    play: firewall_reject,
}];

/// Where `nft` is when root's path is the short one.
const NFT_PATHS: &[&str] = &["nft", "/usr/sbin/nft", "/sbin/nft"];

fn firewall_reject(stage: &mut Stage) -> Result<(), LabError> {
    let _listener = stage.listener(8)?;
    install_reject_rule()?;
    let end = stage.stranger(SERVICE_PORT);
    let syn = end.segment(flag::SYN);
    stage.peer.send(&syn)?;
    stage.receive(&end, "the firewall's RST", |s| s.has(flag::RST))?;
    stage.expect(
        Expectation::new(Kind::Sent, "firewall-reject", end.local, end.fake)
            .rst_answering(&syn)
            .needs(Needs::Firewall),
    );
    Ok(())
}

/// Rejects what comes for the service port, in the calling thread's namespace.
pub(crate) fn install_reject_rule() -> Result<(), LabError> {
    run_nft(&format!(
        "table inet rstmon_lab {{ chain input {{ type filter hook input priority 0; \
         tcp dport {SERVICE_PORT} reject with tcp reset; }}; }}"
    ))
}

/// The child is born into the calling thread's namespace.
fn run_nft(rules: &str) -> Result<(), LabError> {
    let skipped = |reason: String| LabError::Skipped { reason };
    for path in NFT_PATHS {
        match Command::new(path).arg(rules).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(skipped(format!("cannot run {path}: {error}"))),
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.lines().next().unwrap_or("no message");
                return Err(skipped(format!("nft refused the reject rule: {said}")));
            }
        }
    }
    Err(skipped("the program nft is not installed".to_owned()))
}
