//! A reply on its way: its five bytes of prefix, then its body, which is not copied.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};

use crate::pipe::Pipe;
use crate::wakers::Wakers;

/// How many bytes of replies a stream, and all streams together, still hold.
///
/// A message counts until the last of it went into the output, or until it is dropped unsent.
pub struct Backlog {
    stream: u32,
    most_bytes: usize,
    bytes: AtomicUsize,
    all: Arc<AtomicUsize>,
    pipe: Pipe,
    wakers: Arc<Wakers>,
}

impl Backlog {
    pub fn new(
        stream: u32,
        most_bytes: usize,
        all: Arc<AtomicUsize>,
        pipe: Pipe,
        wakers: Arc<Wakers>,
    ) -> Self {
        Self {
            stream,
            most_bytes,
            bytes: AtomicUsize::new(0),
            all,
            pipe,
            wakers,
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.most_bytes
    }

    fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        if before > self.most_bytes && before - bytes <= self.most_bytes {
            self.wakers.has_room(self.stream);
        }
    }
}

pub struct Outgoing {
    prefix: [u8; 5],
    sent: usize,
    body: Bytes,
    counted: usize,
    backlog: Arc<Backlog>,
}

impl Outgoing {
    /// `body` is below 4 GiB.
    pub fn new(body: Bytes, backlog: &Arc<Backlog>) -> Self {
        let mut prefix = [0; 5];
        prefix[1..].copy_from_slice(&(body.len() as u32).to_be_bytes());
        backlog.grow(body.len());
        Self {
            prefix,
            sent: 0,
            counted: body.len(),
            body,
            backlog: backlog.clone(),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.backlog.shrink(self.counted);
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.prefix.len() - self.sent + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.prefix[self.sent..] {
            [] => &self.body,
            prefix => prefix,
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        self.backlog.pipe.lend(&self.body);
        let parts = [&self.prefix[self.sent..], &self.body];
        let mut count = 0;
        for (part, slot) in parts.iter().filter(|part| !part.is_empty()).zip(into) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(self.prefix.len() - self.sent);
        self.sent += of_prefix;
        self.body.advance(count - of_prefix);
    }
}
