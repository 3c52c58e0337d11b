//! The bytes of a response, and the place that they hold while the client takes them.
//!
//! They go out in pieces, so that what a slow client has not taken yet is held once and counted: as long
//! as pieces are left, the request is under way, for the limit of requests and for the clock.

use super::crowd::{Stage, note_stage};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// Bytes of a piece.
const PIECE: usize = 16 * 1024;

/// A request under way; dropped, it is done.
pub(super) struct UnderWay {
    stage: Arc<watch::Sender<Stage>>,
    /// Its place among the requests that are answered at a time; none for a mere refusal.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    /// A request that must be answered until then.
    pub(super) fn begin(stage: &Arc<watch::Sender<Stage>>, until: Instant) -> Self {
        note_stage(stage, Stage::Answering(until));
        Self {
            stage: Arc::clone(stage),
            permit: None,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        note_stage(&self.stage, Stage::Waiting(Instant::now()));
    }
}

/// The body of a response.
pub(super) struct PageBody {
    left: Bytes,
    /// Dropped with the last piece.
    under_way: Option<UnderWay>,
}

impl PageBody {
    pub(super) fn new(bytes: Bytes, under_way: UnderWay) -> Self {
        Self {
            left: bytes,
            under_way: Some(under_way),
        }
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            self.under_way = None;
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.left.len());
        let piece = self.left.split_to(piece);
        if self.left.is_empty() {
            self.under_way = None;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
