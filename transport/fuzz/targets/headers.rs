//! Headers with any names and values: metadata, deadlines, encodings.
#![no_main]

use client::{DATA, END_HEADERS, END_STREAM, HEADERS, Server, UNARY, beginning, call_block, frame};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use reapi_transport_codec::Head;

const NAMED: [&[u8]; 6] = [
    b"grpc-timeout",
    b"grpc-encoding",
    b"grpc-accept-encoding",
    b"x-bytes-bin",
    b"content-length",
    b"x-text",
];
const NO_MESSAGE: [u8; 5] = [0; 5];

fuzz_target!(|pairs: Vec<(u8, Vec<u8>, Vec<u8>)>| {
    let named: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(which, name, value)| {
            let known = NAMED.get(usize::from(*which)).copied();
            (known.unwrap_or(name), value.as_slice())
        })
        .collect();
    let mut server = Server::default();
    server.receive(&beginning());
    server.receive(&frame(HEADERS, END_HEADERS, 1, &call_block(UNARY, &named)));
    server.receive(&frame(DATA, END_STREAM, 1, &NO_MESSAGE));
    server.flush();
    let mut headers = HeaderMap::new();
    for (name, value) in named {
        let both = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = both {
            headers.append(name, value);
        }
    }
    let count = headers.len();
    if let Ok(head) = Head::read(headers) {
        assert!(head.metadata().len() <= count);
        assert!(head.timeout_seconds.is_none_or(f64::is_finite));
    }
});
