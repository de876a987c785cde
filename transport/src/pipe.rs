//! The byte stream under `h2`: two buffers in memory, filled and emptied by the owner.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::parts::Parts;

/// Output beyond this waits inside `h2` until the owner has taken what is there. Half as much and
/// twice as much were slower, for the number of writes and for the processor's cache.
const OUTPUT_BYTES: usize = 512 << 10;

#[derive(Default)]
struct Buffers {
    input: VecDeque<Bytes>,
    output: Parts,
    /// The body that `h2` is writing from, so that it is kept instead of copied.
    lent: Bytes,
}

/// One handle is given to `h2`, others stay with the owner and with replies.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Mutex<Buffers>>);

impl Pipe {
    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn feed(&self, data: Bytes) {
        self.buffers().input.push_back(data);
    }

    /// Input that `h2` has not taken: only while the output is full.
    pub fn unread_bytes(&self) -> usize {
        self.buffers().input.iter().map(Bytes::len).sum()
    }

    /// Takes the output. True when it was full, so that more may follow.
    pub fn take(&self) -> (Parts, bool) {
        let mut buffers = self.buffers();
        buffers.lent = Bytes::new();
        let full = buffers.output.len() >= OUTPUT_BYTES;
        (std::mem::take(&mut buffers.output), full)
    }

    /// Adds output beside that of `h2`.
    pub fn write(&self, data: &[u8]) {
        self.buffers().output.copy(data);
    }

    /// Says that what is written next may be a part of `body`.
    pub fn lend(&self, body: &Bytes) {
        self.buffers().lent = body.clone();
    }
}

impl Buffers {
    fn write(&mut self, data: &[u8]) {
        let within = self.lent.as_ptr_range();
        let part = data.as_ptr_range();
        if within.start <= part.start && part.end <= within.end {
            self.output.push(self.lent.slice_ref(data));
        } else {
            self.output.copy(data);
        }
    }
}

impl AsyncRead for Pipe {
    /// Pending when there is nothing: the owner polls again after it has fed more.
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.buffers();
        let Some(first) = buffers.input.front_mut() else {
            return Poll::Pending;
        };
        let count = first.len().min(into.remaining());
        into.put_slice(&first[..count]);
        first.advance(count);
        if first.is_empty() {
            buffers.input.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(data)])
    }

    /// Pending when the output is full: the owner polls again after it has taken it.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut buffers = self.buffers();
        if buffers.output.len() >= OUTPUT_BYTES {
            return Poll::Pending;
        }
        for slice in slices {
            buffers.write(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
