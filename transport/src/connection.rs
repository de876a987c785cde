//! A server's side of one connection.
//!
//! `h2` is polled after every input and every reply until nothing moves. It wakes the streams that
//! have news (`wakers`), so idle streams cost nothing.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use h2::server::{self, Handshake, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{HeaderMap, Request as HttpRequest};

use crate::admission::{self, Admitted, Refusal};
use crate::framing::Incoming;
use crate::limits::Limits;
use crate::metadata::Head;
use crate::meter::Meter;
use crate::methods::Methods;
use crate::opening;
use crate::outgoing::{Backlog, Outgoing};
use crate::parts::Parts;
use crate::pipe::Pipe;
use crate::status::{Code, Status};
use crate::stream::{Broken, Phase, Request, Stream};
use crate::unfinished::{Share, Unfinished};
use crate::wakers::Wakers;

/// What the owner has to do, in this order.
pub enum Event {
    /// Run a method of the table. `request` is None when requests are to be asked for.
    Call {
        stream: u32,
        method: usize,
        head: Head,
        request: Option<Parts>,
    },
    /// `next_request` was pending, and is worth another try.
    Readable(u32),
    /// `send` said that the client was behind, and it has caught up.
    Writable(u32),
    /// The client is gone: nobody waits for the call any more.
    Cancelled(u32),
}

enum State {
    Handshake(Handshake<Pipe, Outgoing>),
    Open(server::Connection<Pipe, Outgoing>),
    Closed,
}

pub struct Connection {
    state: State,
    pipe: Pipe,
    streams: HashMap<u32, Stream>,
    /// Running streams that cannot be woken by a reset yet: most calls end before they need it.
    unwatched: Vec<u32>,
    wakers: Arc<Wakers>,
    events: Vec<Event>,
    methods: Arc<Methods>,
    limits: Arc<Limits>,
    meter: Meter,
    pings: Option<PingPong>,
    replies_bytes: Arc<AtomicUsize>,
    unfinished: Arc<Unfinished>,
}

impl Connection {
    pub fn new(methods: Arc<Methods>, limits: Arc<Limits>) -> Self {
        let pipe = Pipe::default();
        let wakers = Arc::<Wakers>::default();
        let handshake = opening::builder(&limits).handshake(pipe.clone());
        let unfinished_bytes = limits.unfinished_requests_bytes;
        let resets = limits.concurrent_streams.saturating_mul(2);
        Self {
            state: State::Handshake(handshake),
            pipe,
            streams: HashMap::new(),
            unwatched: Vec::new(),
            events: Vec::new(),
            meter: Meter::new(
                limits.control_frames,
                resets.max(limits.control_frames),
                limits.control_frames_per_second,
                Instant::now(),
            ),
            methods,
            limits,
            pings: None,
            replies_bytes: Arc::default(),
            unfinished: Arc::new(Unfinished::new(unfinished_bytes, wakers.clone())),
            wakers,
        }
    }

    /// Takes what came from the socket. Events follow.
    pub fn receive(&mut self, data: Bytes) {
        self.watch();
        if self.meter.observe(&data, Instant::now()).is_err() {
            return self.abort(Reason::ENHANCE_YOUR_CALM);
        }
        self.pipe.feed(data);
        self.turn();
    }

    /// What the owner has to do now.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Moves replies into the output, as far as it has room and the client's windows are open, and
    /// hands it over. True when there is more. Events may follow.
    pub fn flush(&mut self) -> (Parts, bool) {
        self.turn();
        self.pipe.take()
    }

    /// Input that waits until there is room in the output.
    pub fn unread_bytes(&self) -> usize {
        self.pipe.unread_bytes()
    }

    /// True when the client has introduced itself as one of HTTP/2.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// True when the connection ends as soon as the output is written.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The next request of a stream, asked for by the owner. An error ends the call: the client has
    /// been told, and the owner is to cancel the handler.
    pub fn next_request(&mut self, id: u32) -> Result<Request, Broken> {
        let stream = self.streams.get_mut(&id).ok_or(Broken::Reset)?;
        let result = match stream.asked.take() {
            Some(result) => result,
            None => stream.next_request(&self.wakers),
        };
        stream.reads = matches!(result, Ok(Request::Pending));
        if let Err(broken) = &result {
            self.break_off(id, broken);
        }
        result
    }

    /// The whole answer of a call that has one. Nothing happens when the call is over.
    pub fn reply(&mut self, id: u32, message: Bytes, trailing: HeaderMap) {
        if let Some(mut stream) = self.streams.remove(&id) {
            self.meter.earn(message.len());
            // An error says that the client has reset the stream, which also ends the call.
            let _ = stream
                .send(message)
                .and_then(|_| stream.finish(&OK, trailing));
        }
    }

    /// One of several replies. False when more should wait for `Event::Writable`.
    pub fn send(&mut self, id: u32, message: Bytes) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return true;
        };
        self.meter.earn(message.len());
        stream.send(message).unwrap_or(true)
    }

    /// Sends leading metadata now; it goes without saying at the first reply.
    pub fn begin_reply(&mut self, id: u32, metadata: HeaderMap) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let _ = stream.begin_reply(metadata);
        }
    }

    /// Ends a call. Nothing happens when it is over.
    pub fn finish(&mut self, id: u32, status: &Status, trailing: HeaderMap) {
        if let Some(stream) = self.streams.remove(&id) {
            self.meter.earn(0);
            let _ = stream.finish(status, trailing);
        }
    }

    /// Asks for a sign of life: any input is one.
    pub fn ping(&mut self) {
        if let Some(pings) = &mut self.pings {
            let _ = pings.poll_pong(&mut noop());
            let _ = pings.send_ping(Ping::opaque());
        }
    }

    /// Says that no new calls are wanted; `is_closed` once the running ones have ended.
    pub fn drain(&mut self) {
        match &mut self.state {
            State::Open(connection) => connection.graceful_shutdown(),
            _ => self.state = State::Closed,
        }
    }

    /// Ends the connection at once, with GOAWAY.
    pub fn abort(&mut self, reason: Reason) {
        match &mut self.state {
            State::Closed => {}
            State::Handshake(_) => self.pipe.write(&opening::goaway(reason)),
            State::Open(connection) => {
                connection.abrupt_shutdown(reason);
                let _ = connection.poll_closed(&mut noop());
            }
        }
        self.state = State::Closed;
    }

    fn turn(&mut self) {
        self.shake_hands();
        self.accept_all();
        for id in self.wakers.take_woken() {
            self.look_at(id);
        }
        self.note_room();
    }

    fn note_room(&mut self) {
        let roomy = self.wakers.take_roomy().into_iter();
        let known = roomy.filter(|id| self.streams.contains_key(id));
        self.events.extend(known.map(Event::Writable));
    }

    fn shake_hands(&mut self) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        match Pin::new(handshake).poll(&mut noop()) {
            Poll::Pending => {}
            Poll::Ready(Err(_)) => self.abort(Reason::PROTOCOL_ERROR),
            Poll::Ready(Ok(mut connection)) => {
                connection.set_target_window_size(self.limits.connection_window_bytes);
                self.pings = connection.ping_pong();
                self.state = State::Open(connection);
            }
        }
    }

    fn accept_all(&mut self) {
        while let State::Open(connection) = &mut self.state {
            match connection.poll_accept(&mut noop()) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok((request, respond)))) => self.accept(request, respond),
                Poll::Ready(Some(Err(_)) | None) => self.state = State::Closed,
            }
        }
    }

    fn accept(&mut self, request: HttpRequest<RecvStream>, respond: SendResponse<Outgoing>) {
        let (parts, body) = request.into_parts();
        let id = respond.stream_id().as_u32();
        let limits = &self.limits;
        let admitted = admission::admit(parts, &self.methods, limits.largest_metadata_bytes)
            .and_then(|admitted| self.refuse_when_unread().map(|()| admitted));
        let Admitted {
            method,
            head,
            encoding,
        } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return admission::refuse(respond, &refusal),
        };
        let share = Share::new(id, self.unfinished.clone());
        let incoming = Incoming::new(encoding, limits.largest_request_bytes, share);
        let backlog = Backlog::new(
            id,
            limits.stream_replies_bytes,
            self.replies_bytes.clone(),
            self.pipe.clone(),
            self.wakers.clone(),
        );
        let stream = Stream::new(method.index, head, incoming, body, respond, backlog);
        self.streams.insert(id, stream);
        if method.streams_requests {
            self.announce(id, None);
            self.watch();
        } else {
            self.assemble(id);
        }
    }

    fn refuse_when_unread(&self) -> Result<(), Refusal> {
        if self.replies_bytes.load(Ordering::Relaxed) <= self.limits.connection_replies_bytes {
            return Ok(());
        }
        let unread = "too many replies of this connection wait to be read";
        Err(Status::new(Code::ResourceExhausted, unread).into())
    }

    /// Goes on with the one request of a call.
    fn assemble(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match stream.only_request(&self.wakers) {
            Ok(None) => {}
            Ok(Some(message)) => self.announce(id, Some(message)),
            Err(broken) => self.break_off(id, &broken),
        }
    }

    fn announce(&mut self, id: u32, request: Option<Parts>) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.phase = Phase::Running;
        if let Some(head) = stream.head.take() {
            self.unwatched.push(id);
            self.events.push(Event::Call {
                stream: id,
                method: stream.method,
                head,
                request,
            });
        }
    }

    fn break_off(&mut self, id: u32, broken: &Broken) {
        if let (Some(stream), Broken::Refused(status)) = (self.streams.remove(&id), broken) {
            let _ = stream.finish(status, HeaderMap::new());
        }
    }

    fn watch(&mut self) {
        for id in std::mem::take(&mut self.unwatched) {
            self.cancel_if_reset(id);
        }
    }

    fn cancel_if_reset(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id);
        let is_reset = stream.is_some_and(|stream| stream.is_reset(&self.wakers));
        if is_reset {
            self.streams.remove(&id);
            self.events.push(Event::Cancelled(id));
        }
    }

    /// Goes on with the request that the owner waits for.
    fn read(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.reads) else {
            return;
        };
        match stream.next_request(&self.wakers) {
            Ok(Request::Pending) => {}
            result => {
                stream.reads = false;
                stream.asked = Some(result);
                self.events.push(Event::Readable(id));
            }
        }
    }

    fn look_at(&mut self, id: u32) {
        match self.streams.get(&id).map(|stream| stream.phase) {
            None => {}
            Some(Phase::Arriving) => self.assemble(id),
            Some(Phase::Running) => {
                self.cancel_if_reset(id);
                self.read(id);
            }
        }
    }
}

const OK: Status = Status {
    code: 0,
    message: String::new(),
};

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
