//! How a connection is opened: the settings that `h2` announces and keeps.

use std::time::Duration;

use h2::{Reason, server};

use crate::limits::Limits;

/// The largest frame of a client. Large ones cost less, and `h2` sets aside this much for one.
const FRAME_BYTES: u32 = 64 << 10;

/// How long frames for a stream that the server has reset may still come in.
const RESET_STREAMS_ARE_KNOWN_FOR: Duration = Duration::from_secs(10);

pub fn builder(limits: &Limits) -> server::Builder {
    let streams = limits.concurrent_streams as usize;
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(limits.stream_window_bytes)
        .max_concurrent_streams(limits.concurrent_streams)
        .max_header_list_size(limits.refused_metadata_bytes)
        .max_frame_size(FRAME_BYTES)
        .max_send_buffer_size(limits.connection_replies_bytes)
        // The meter counts resets over time, `h2` only over the life of the connection.
        .max_local_error_reset_streams(Some(streams.saturating_mul(10)))
        .max_pending_accept_reset_streams(streams)
        .max_concurrent_reset_streams(streams)
        .reset_stream_duration(RESET_STREAMS_ARE_KNOWN_FOR);
    builder
}

/// For a connection whose handshake was not finished: `h2` says nothing then.
pub fn goaway(reason: Reason) -> [u8; 17] {
    let mut frame = [0; 17];
    (frame[2], frame[3]) = (8, 7);
    frame[13..].copy_from_slice(&u32::from(reason).to_be_bytes());
    frame
}
