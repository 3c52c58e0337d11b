//! The end of a connection, made so that neither side has cause to send a RST.
//!
//! A host answers with a RST what reaches a socket that is closed, and closes with a RST one that holds
//! what nobody has read. So a peer that has ended is sent nothing more; one that is asked to end gets a
//! moment to do it first; and what it still says is read until it has ended, too, within bounds of time
//! and of bytes. Used by `server`, for every connection that ends by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// How long a peer has to end first, where the end is more than a FIN: it may have all that it wants,
/// and close before what it is told would reach it. A round trip, and time to read the page.
const PEER_FIRST: Duration = Duration::from_secs(1);
/// How long our end may take to be told, and how long is waited for the peer's after it.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are read for it: a peer that says more is no longer listened to.
const MAX_FORGOTTEN: usize = 2 << 20;
/// Bytes that are read at once and forgotten.
const FORGOTTEN: usize = 4096;

/// TCP, or TLS over it.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether it tells its peer of the end by more than a FIN.
    const TELLS_ITS_END: bool;

    /// The connection itself.
    fn tcp(&mut self) -> &mut TcpStream;
}

impl Transport for TcpStream {
    const TELLS_ITS_END: bool = false;

    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Transport for TlsStream<TcpStream> {
    const TELLS_ITS_END: bool = true;

    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

/// A connection that knows whether its peer has ended, and is ended by [`Closing::end`] alone.
pub(super) struct Closing<T> {
    transport: T,
    has_peer_ended: bool,
}

impl<T: Transport> Closing<T> {
    pub(super) fn new(transport: T) -> Self {
        Self {
            transport,
            has_peer_ended: false,
        }
    }

    /// Ends it; `peer_first` where the peer was asked to end, by what it was sent or by its own wish. One
    /// that was idle for too long may be about to ask again, and must not be read for nothing. To be left
    /// off at any await: then it is just closed.
    pub(super) async fn end(mut self, peer_first: bool) {
        if T::TELLS_ITS_END && peer_first {
            // Nothing within the time: it waits for us.
            let _ = timeout(PEER_FIRST, read_to_end(&mut self)).await;
        }
        let has_peer_ended = self.has_peer_ended;
        let telling = async {
            // An end that cannot be told is one already.
            let _ = if has_peer_ended {
                self.transport.tcp().shutdown().await
            } else {
                self.transport.shutdown().await
            };
        };
        // Before it, what the peer does not take would have to be written.
        if timeout(LINGER, telling).await.is_ok() {
            let _ = timeout(LINGER, read_to_end(self.transport.tcp())).await;
        }
    }
}

/// Reads until the peer ends, or an error, which is an end, too.
async fn read_to_end(from: &mut (impl AsyncRead + Unpin)) {
    let mut forgotten = [0; FORGOTTEN];
    let mut left = MAX_FORGOTTEN;
    while let Ok(read @ 1..) = from.read(&mut forgotten).await
        && left > 0
    {
        left = left.saturating_sub(read);
    }
}

impl<T: Transport> AsyncRead for Closing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let had_room = buffer.remaining() > 0;
        let read = Pin::new(&mut self.transport).poll_read(context, buffer);
        match &read {
            Poll::Ready(Ok(())) if had_room && buffer.filled().len() == before => {
                self.has_peer_ended = true;
            }
            // Without a close_notify, or by a RST.
            Poll::Ready(Err(_)) => self.has_peer_ended = true,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        read
    }
}

impl<T: Transport> AsyncWrite for Closing<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(context)
    }

    /// Leaves the end to [`Closing::end`]: whoever speaks HTTP does not know whether the peer has ended.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }
}
