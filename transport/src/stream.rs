//! One call: both halves of an HTTP/2 stream, and the message that is being put together.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::framing::Incoming;
use crate::metadata::{Head, percent_encoded};
use crate::outgoing::{Backlog, Outgoing};
use crate::parts::Parts;
use crate::status::{Code, Status};
use crate::wakers::Wakers;

type SendStream = h2::SendStream<Outgoing>;

/// What the owner has to be told first when there is news for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The one request of the call has not come whole; nobody knows of the call.
    Arriving,
    /// The owner runs the call.
    Running,
}

/// What asking for a request gives.
pub enum Request {
    Message(Parts),
    Pending,
    End,
}

/// The call ended while a request was read.
pub enum Broken {
    Reset,
    Refused(Status),
}

enum Reply {
    Unsent(SendResponse<Outgoing>),
    Begun(SendStream),
}

pub struct Stream {
    pub method: usize,
    pub phase: Phase,
    pub head: Option<Head>,
    /// The owner waits for a request.
    pub reads: bool,
    /// What has come for it.
    pub asked: Option<Result<Request, Broken>>,
    body: RecvStream,
    incoming: Incoming,
    /// The one request, whose end of stream has not come.
    only: Option<Parts>,
    reply: Reply,
    backlog: Arc<Backlog>,
    waker: Option<Waker>,
}

impl Stream {
    pub fn new(
        method: usize,
        head: Head,
        incoming: Incoming,
        body: RecvStream,
        respond: SendResponse<Outgoing>,
        backlog: Backlog,
    ) -> Self {
        Self {
            method,
            phase: Phase::Arriving,
            head: Some(head),
            reads: false,
            asked: None,
            body,
            incoming,
            only: None,
            reply: Reply::Unsent(respond),
            backlog: Arc::new(backlog),
            waker: None,
        }
    }

    fn waker(&mut self, wakers: &Arc<Wakers>) -> Waker {
        let id = self.body.stream_id().as_u32();
        self.waker.get_or_insert_with(|| wakers.waker(id)).clone()
    }

    /// True when the client has cancelled the call; otherwise it wakes the stream when it does.
    pub fn is_reset(&mut self, wakers: &Arc<Wakers>) -> bool {
        let waker = self.waker(wakers);
        let context = &mut Context::from_waker(&waker);
        match &mut self.reply {
            Reply::Unsent(respond) => respond.poll_reset(context),
            Reply::Begun(send) => send.poll_reset(context),
        }
        .is_ready()
    }

    /// The next request. Pending wakes the stream when more has come.
    ///
    /// The client may send more as soon as a frame is taken out of its window, which happens here:
    /// who does not ask holds a window at most.
    pub fn next_request(&mut self, wakers: &Arc<Wakers>) -> Result<Request, Broken> {
        loop {
            if let Some(message) = self.incoming.next_message().map_err(Broken::Refused)? {
                return Ok(Request::Message(message));
            }
            if !self.incoming.may_push() {
                return Ok(Request::Pending);
            }
            let mut polled = self.body.poll_data(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                let waker = self.waker(wakers);
                polled = self.body.poll_data(&mut Context::from_waker(&waker));
            }
            match polled {
                Poll::Pending => return Ok(Request::Pending),
                Poll::Ready(Some(Ok(data))) => {
                    let released = self.body.flow_control().release_capacity(data.len());
                    released.map_err(|_| Broken::Reset)?;
                    self.incoming.push(data);
                }
                Poll::Ready(Some(Err(_))) => return Err(Broken::Reset),
                Poll::Ready(None) if self.incoming.is_between_messages() => {
                    return Ok(Request::End);
                }
                Poll::Ready(None) => {
                    return Err(Broken::Refused(Status::new(
                        Code::Internal,
                        "the requests end in the middle of a message",
                    )));
                }
            }
        }
    }

    /// The one request of a call that has one.
    pub fn only_request(&mut self, wakers: &Arc<Wakers>) -> Result<Option<Parts>, Broken> {
        let message = match self.only.take() {
            Some(message) => message,
            None => match self.next_request(wakers)? {
                Request::Message(message) => message,
                Request::Pending => return Ok(None),
                Request::End => return Err(not_one_request()),
            },
        };
        match self.next_request(wakers)? {
            Request::End => Ok(Some(message)),
            Request::Message(_) => Err(not_one_request()),
            Request::Pending => {
                self.only = Some(message);
                Ok(None)
            }
        }
    }

    /// Sends the leading headers, unless that was done.
    pub fn begin_reply(&mut self, metadata: HeaderMap) -> Result<&mut SendStream, h2::Error> {
        if let Reply::Unsent(respond) = &mut self.reply {
            self.reply = Reply::Begun(respond.send_response(response(metadata), false)?);
        }
        match &mut self.reply {
            Reply::Begun(send) => Ok(send),
            Reply::Unsent(_) => unreachable!("the reply was begun above"),
        }
    }

    /// Sends a reply. False when the client is behind: more should wait until it has room.
    pub fn send(&mut self, message: Bytes) -> Result<bool, h2::Error> {
        let outgoing = Outgoing::new(message, &self.backlog);
        self.begin_reply(HeaderMap::new())?
            .send_data(outgoing, false)?;
        Ok(!self.backlog.is_full())
    }

    /// Ends the call. The client hears of it in one block of headers when there was no reply.
    pub fn finish(mut self, status: &Status, metadata: HeaderMap) -> Result<(), h2::Error> {
        let trailers = trailers(status, metadata);
        match &mut self.reply {
            Reply::Unsent(respond) => respond.send_response(response(trailers), true).map(|_| ()),
            Reply::Begun(send) => send.send_trailers(trailers),
        }
    }
}

fn not_one_request() -> Broken {
    Broken::Refused(Status::new(
        Code::Unimplemented,
        "the method takes one request, no more and no less",
    ))
}

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

pub fn response(mut headers: HeaderMap) -> Response<()> {
    headers.insert(header::CONTENT_TYPE, GRPC);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    *response.headers_mut() = headers;
    response
}

pub fn trailers(status: &Status, mut headers: HeaderMap) -> HeaderMap {
    headers.insert("grpc-status", HeaderValue::from(status.code));
    if !status.message.is_empty() {
        headers.insert("grpc-message", percent_encoded(&status.message));
    }
    headers
}
