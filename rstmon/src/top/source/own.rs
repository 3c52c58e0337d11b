//! A capture of `top`'s own.

use super::{Feeder, Feeds, SourceEvent, Wishes};
use crate::cmd::session::Session;
use crate::cmd::start::monotonic_ns;
use crate::top::state::{Ended, Header};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::mpsc::TryRecvError;

/// Runs until nobody wishes anything any more.
pub fn run(mut session: Session, mut feeder: Feeder, wishes: &Wishes, feeds: &Feeds) {
    let header = Header {
        source: "own capture".to_owned(),
        facts: session.facts().clone(),
    };
    // A loop that has ended hears nothing; the wishes tell.
    let _ = feeds.send(SourceEvent::Started(Box::new(header)));
    let why = match watch(&mut session, &mut feeder, wishes, feeds) {
        Ok(()) => return,
        Err(error) => format!("the capture ended: {error}"),
    };
    let _ = feeds.send(SourceEvent::Ended(Ended { why, failed: true }));
}

fn watch(
    session: &mut Session,
    feeder: &mut Feeder,
    wishes: &Wishes,
    feeds: &Feeds,
) -> std::io::Result<()> {
    let ring = session.ring_fd()?;
    loop {
        match wishes.try_recv() {
            Ok(wish) => {
                let counting = feeder.want(wish);
                // A loop that has ended hears nothing; the wishes tell.
                let _ = feeds.send(SourceEvent::Counting(counting));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        let wait = session.pause().min(feeder.until_next());
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        let mut ready = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
        let watched = if session.is_polling() {
            &mut [][..]
        } else {
            &mut ready[..]
        };
        match poll(watched, wait) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        session.turn(feeder)?;
        if feeder.until_next().is_zero() {
            let lost = session.stages().ok().map(|totals| totals.lost_in_all());
            let now = monotonic_ns().unwrap_or_default();
            let feed = Box::new(feeder.feed(now, lost));
            if feeds.send(SourceEvent::Feed(feed)).is_err() {
                return Ok(());
            }
        }
    }
}
