//! The other side of a connection under test, and an owner that does with its events what a server
//! might.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::HeaderMap;
use reapi_transport_codec::{Code, Connection, Event, Limits, Methods, Parts, Status};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const UNARY: &str = "/s/Unary";
pub const STREAM: &str = "/s/Stream";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const SETTINGS: u8 = 4;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

const LARGEST_REQUEST: usize = 1 << 16;
const LARGEST_OUTPUT: usize = 8 << 20;

/// What the owner does with a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Doing {
    Reply { bytes: u16 },
    Send { bytes: u16 },
    Read,
    Fail,
    Begin,
    Nothing,
}

/// A server's side, with small bounds, so that the fuzzer gets to them.
pub struct Server {
    pub connection: Connection,
    calls: Vec<u32>,
}

impl Default for Server {
    fn default() -> Self {
        let methods = Methods::new([(UNARY.to_owned(), false), (STREAM.to_owned(), true)]);
        let limits = Limits {
            largest_request_bytes: LARGEST_REQUEST,
            largest_metadata_bytes: 4 << 10,
            refused_metadata_bytes: 8 << 10,
            concurrent_streams: 8,
            stream_window_bytes: 1 << 15,
            connection_window_bytes: 1 << 17,
            unfinished_requests_bytes: 1 << 17,
            stream_replies_bytes: 1 << 15,
            connection_replies_bytes: 1 << 18,
            control_frames: 100,
            control_frames_per_second: 1,
        };
        let connection = Connection::new(Arc::new(methods), Arc::new(limits));
        Self {
            connection,
            calls: Vec::new(),
        }
    }
}

impl Server {
    /// Feeds input as it comes from a socket; the requests of unary calls that begin by it.
    pub fn receive(&mut self, data: &[u8]) -> Vec<Parts> {
        self.connection.receive(Bytes::copy_from_slice(data));
        self.take_events()
    }

    /// Does one thing with the call that began last but `back`.
    pub fn work(&mut self, back: usize, doing: Doing) {
        let Some(&stream) = self.calls.iter().nth_back(back) else {
            return;
        };
        let connection = &mut self.connection;
        match doing {
            Doing::Reply { bytes } => connection.reply(stream, zeros(bytes), HeaderMap::new()),
            Doing::Send { bytes } => drop(connection.send(stream, zeros(bytes))),
            Doing::Read => drop(connection.next_request(stream).is_ok()),
            Doing::Fail => {
                let status = Status::new(Code::Internal, "as told\n%");
                connection.finish(stream, &status, HeaderMap::new());
            }
            Doing::Begin => connection.begin_reply(stream, HeaderMap::new()),
            Doing::Nothing => {}
        }
        self.flush();
        self.take_events();
    }

    /// Takes the output, of which there is a bound.
    pub fn flush(&mut self) {
        let mut total = 0;
        loop {
            let (output, has_more) = self.connection.flush();
            total += output.len();
            assert!(total < LARGEST_OUTPUT, "the output does not end");
            if !has_more || output.is_empty() {
                return;
            }
        }
    }

    fn take_events(&mut self) -> Vec<Parts> {
        let mut requests = Vec::new();
        for event in self.connection.take_events() {
            match event {
                Event::Call {
                    stream,
                    method,
                    head,
                    request,
                } => {
                    assert!(method < 2, "there are two methods");
                    head.metadata();
                    if let Some(seconds) = head.timeout_seconds {
                        assert!(seconds.is_finite() && seconds >= 0.0);
                    }
                    if let Some(request) = request {
                        assert!(request.len() <= LARGEST_REQUEST, "the request is too large");
                        requests.push(request);
                    }
                    self.calls.push(stream);
                }
                Event::Cancelled(stream) => self.calls.retain(|call| *call != stream),
                Event::Readable(_) | Event::Writable(_) => {}
            }
        }
        requests
    }
}

fn zeros(count: u16) -> Bytes {
    vec![0; count.into()].into()
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = (content.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// Preface and settings, as each client begins.
pub fn beginning() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The header block of a call, never indexed and never huffman-coded.
pub fn call_block(path: &str, more: &[(&[u8], &[u8])]) -> Vec<u8> {
    let fixed: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fixed.iter().chain(more) {
        block.push(0x10);
        for text in [name, value] {
            let length = u8::try_from(text.len().min(126)).unwrap_or(126);
            block.push(length);
            block.extend(&text[..length.into()]);
        }
    }
    block
}

/// Gives `data` in the pieces that the input tells.
pub fn in_pieces<'a>(data: &'a [u8], input: &mut Unstructured) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let wanted = usize::from(input.arbitrary::<u16>().unwrap_or(u16::MAX)) + 1;
        let (piece, after) = rest.split_at(wanted.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
