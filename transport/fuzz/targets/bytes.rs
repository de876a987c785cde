//! Any bytes, in any pieces, with the preface before them or without it.
#![no_main]

use arbitrary::Unstructured;
use client::{Server, beginning, in_pieces};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (cuts, data) = data.split_at(data.len().min(16));
    let mut cuts = Unstructured::new(cuts);
    let mut server = Server::default();
    if cuts.arbitrary().unwrap_or(true) {
        server.receive(&beginning());
    }
    for piece in in_pieces(data, &mut cuts) {
        server.receive(piece);
        server.flush();
    }
});
