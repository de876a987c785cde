//! The body of a unary call, cut into DATA frames and pieces: what the handler gets is what a simple
//! reading of the whole body says, or nothing.
#![no_main]

use arbitrary::Unstructured;
use client::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Server, UNARY, beginning, call_block, frame, in_pieces,
};
use libfuzzer_sys::fuzz_target;

const LARGEST_FRAME: usize = 16_384;
const PREFIX_BYTES: usize = 5;

fuzz_target!(|data: &[u8]| {
    let (cuts, body) = data.split_at(data.len().min(32));
    let mut cuts = Unstructured::new(cuts);
    let body = if cuts.arbitrary().unwrap_or(false) {
        [&[0], &(body.len() as u32).to_be_bytes()[..], body].concat()
    } else {
        body.to_vec()
    };
    let mut input = beginning();
    input.extend(frame(HEADERS, END_HEADERS, 1, &call_block(UNARY, &[])));
    for piece in in_pieces(&body, &mut cuts) {
        for part in piece.chunks(LARGEST_FRAME) {
            input.extend(frame(DATA, 0, 1, part));
        }
    }
    input.extend(frame(DATA, END_STREAM, 1, &[]));
    let mut server = Server::default();
    let mut requests = Vec::new();
    for piece in in_pieces(&input, &mut cuts) {
        requests.extend(server.receive(piece));
        server.flush();
    }
    match whole_message(&body) {
        Some(message) => {
            assert_eq!(requests.len(), 1, "the call has not begun");
            assert!(requests[0] == *message, "it has another request");
        }
        None => assert!(requests.is_empty(), "a broken request was taken for whole"),
    }
});

/// The only message of a body; none of a body that the server has to refuse.
fn whole_message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    (prefix[0] == 0 && length == message.len() && length <= 1 << 16).then_some(message)
}
