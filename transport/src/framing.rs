//! From DATA frames to gRPC messages: five bytes of prefix, then the message, perhaps compressed.

use std::io::Read;

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;

use crate::parts::Parts;
use crate::status::{Code, Status};
use crate::unfinished::Share;

const PREFIX_BYTES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
}

/// The messages of one request stream, put together one at a time.
pub struct Incoming {
    largest_bytes: usize,
    encoding: Encoding,
    rest: Bytes,
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    message: Parts,
    share: Share,
}

impl Incoming {
    pub fn new(encoding: Encoding, largest_bytes: usize, share: Share) -> Self {
        Self {
            largest_bytes,
            encoding,
            rest: Bytes::new(),
            prefix: [0; PREFIX_BYTES],
            prefix_filled: 0,
            message: Parts::default(),
            share,
        }
    }

    /// Takes the content of a DATA frame. Only when `next_message` has found no message in the one before.
    pub fn push(&mut self, data: Bytes) {
        debug_assert!(self.rest.is_empty());
        self.rest = data;
    }

    /// True when more may be pushed. Otherwise the stream is woken when that has changed.
    pub fn may_push(&self) -> bool {
        self.message.is_empty() || self.share.may_grow()
    }

    /// True when the stream may end here: between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.prefix_filled == 0 && self.rest.is_empty()
    }

    /// The next whole message, None when more has to come first.
    pub fn next_message(&mut self) -> Result<Option<Parts>, Status> {
        let wanted = (PREFIX_BYTES - self.prefix_filled).min(self.rest.len());
        self.prefix[self.prefix_filled..self.prefix_filled + wanted]
            .copy_from_slice(&self.rest[..wanted]);
        self.prefix_filled += wanted;
        self.rest.advance(wanted);
        if self.prefix_filled < PREFIX_BYTES {
            return Ok(None);
        }
        let [flag, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length) as usize;
        self.check(flag, length)?;
        let Some(message) = self.body(length) else {
            return Ok(None);
        };
        self.prefix_filled = 0;
        if flag == 0 {
            return Ok(Some(message));
        }
        inflate(&message.to_bytes(), self.largest_bytes).map(Some)
    }

    fn check(&self, flag: u8, length: usize) -> Result<(), Status> {
        if length > self.largest_bytes {
            return Err(too_large(self.largest_bytes));
        }
        match (flag, self.encoding) {
            (0, _) | (1, Encoding::Gzip) => Ok(()),
            (1, Encoding::Identity) => Err(Status::new(
                Code::Internal,
                "a message is compressed, and grpc-encoding does not say how",
            )),
            _ => Err(Status::new(
                Code::Internal,
                "the prefix of a message has unknown flags",
            )),
        }
    }

    /// The message when all of it is there; without a copy when one frame holds it.
    fn body(&mut self, length: usize) -> Option<Parts> {
        if self.message.is_empty() && self.rest.len() >= length {
            return Some(self.rest.split_to(length).into());
        }
        let wanted = (length - self.message.len()).min(self.rest.len());
        self.message.push(self.rest.split_to(wanted));
        if self.message.len() < length {
            self.share.set(self.message.len());
            return None;
        }
        self.share.set(0);
        Some(std::mem::take(&mut self.message))
    }
}

fn inflate(compressed: &[u8], largest_bytes: usize) -> Result<Parts, Status> {
    let mut message = Vec::new();
    let limit = largest_bytes as u64 + 1;
    MultiGzDecoder::new(compressed)
        .take(limit)
        .read_to_end(&mut message)
        .map_err(|_| Status::new(Code::Internal, "a message is not gzip, as it should be"))?;
    if message.len() > largest_bytes {
        return Err(too_large(largest_bytes));
    }
    Ok(Bytes::from(message).into())
}

fn too_large(largest_bytes: usize) -> Status {
    Status::new(
        Code::ResourceExhausted,
        format!("a message is larger than {largest_bytes} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unfinished::Unfinished;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::sync::Arc;

    fn framed(flag: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![flag];
        message.extend((body.len() as u32).to_be_bytes());
        message.extend(body);
        message
    }

    fn all(encoding: Encoding, pieces: &[&[u8]]) -> Result<Vec<Bytes>, Status> {
        let unfinished = Arc::new(Unfinished::new(1000, Arc::default()));
        let mut incoming = Incoming::new(encoding, 1000, Share::new(1, unfinished));
        let mut messages = Vec::new();
        for piece in pieces {
            incoming.push(Bytes::copy_from_slice(piece));
            while let Some(message) = incoming.next_message()? {
                messages.push(message.to_bytes());
            }
        }
        assert!(incoming.is_between_messages());
        Ok(messages)
    }

    #[test]
    fn messages_are_found_however_the_data_is_cut() {
        let data = [framed(0, b"one"), framed(0, b""), framed(0, b"three")].concat();
        for size in 1..=data.len() {
            let pieces: Vec<&[u8]> = data.chunks(size).collect();
            let messages = all(Encoding::Identity, &pieces).unwrap();
            assert_eq!(messages, [&b"one"[..], b"", b"three"]);
        }
    }

    #[test]
    fn a_compressed_message_is_inflated_up_to_the_limit() {
        let gzip = |body: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body).unwrap();
            framed(1, &encoder.finish().unwrap())
        };
        let messages = all(Encoding::Gzip, &[&gzip(&[7; 1000])]).unwrap();
        assert_eq!(messages, [vec![7; 1000]]);
        let bomb = all(Encoding::Gzip, &[&gzip(&[7; 100_000])]).unwrap_err();
        assert_eq!(bomb.code, Code::ResourceExhausted as u16);
    }

    #[test]
    fn bad_prefixes_are_refused() {
        let code = |data: &[u8]| all(Encoding::Identity, &[data]).unwrap_err().code;
        assert_eq!(code(&framed(1, b"x")), Code::Internal as u16);
        assert_eq!(code(&framed(2, b"x")), Code::Internal as u16);
        assert_eq!(
            code(&[0, 255, 255, 255, 255]),
            Code::ResourceExhausted as u16
        );
    }
}
