//! HTTP/2 and gRPC framing of a server, driven by hand: bytes in, calls out, replies in, bytes out.
//!
//! `Connection` is the whole of it. Nothing here opens a socket, waits, or starts a thread; the
//! Python package around it does, through the classes of `python`.

mod admission;
mod connection;
mod framing;
mod limits;
mod metadata;
mod meter;
mod methods;
mod opening;
mod outgoing;
mod parts;
mod pipe;
mod status;
mod stream;
mod unfinished;
mod wakers;

#[cfg(feature = "python")]
mod python;

pub use connection::{Connection, Event};
pub use limits::Limits;
pub use metadata::{Head, Pair, Value, append as append_metadata};
pub use methods::Methods;
pub use parts::Parts;
pub use status::{Code, Status};
