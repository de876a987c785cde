//! Frames with any content on a few streams, and an owner that does something in between.
#![no_main]

use arbitrary::Arbitrary;
use client::{Doing, END_HEADERS, HEADERS, STREAM, Server, UNARY, beginning, call_block, frame};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    Open { stream: u8, is_unary: bool, flags: u8 },
    Frame { kind: u8, flags: u8, stream: u8, content: Vec<u8> },
    Work { back: u8, doing: Doing },
    Ping,
    Drain,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut server = Server::default();
    server.receive(&beginning());
    for step in steps {
        match step {
            Step::Open { stream, is_unary, flags } => {
                let block = call_block(if is_unary { UNARY } else { STREAM }, &[]);
                let flags = END_HEADERS | flags & 1;
                server.receive(&frame(HEADERS, flags, u32::from(stream) | 1, &block));
            }
            Step::Frame { kind, flags, stream, content } => {
                server.receive(&frame(kind % 11, flags, stream.into(), &content));
            }
            Step::Work { back, doing } => server.work((back % 8).into(), doing),
            Step::Ping => server.connection.ping(),
            Step::Drain => server.connection.drain(),
        }
        server.flush();
    }
});
