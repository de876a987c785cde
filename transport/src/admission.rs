//! Decides from its headers alone whether a request is a call.

use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, header, request};

use crate::framing::Encoding;
use crate::metadata::{self, Head};
use crate::methods::{Method, Methods};
use crate::outgoing::Outgoing;
use crate::status::{Code, Status};
use crate::stream;

/// A call that may begin.
pub struct Admitted {
    pub method: Method,
    pub head: Head,
    pub encoding: Encoding,
}

pub enum Refusal {
    Http(StatusCode),
    Grpc(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Grpc(status)
    }
}

pub fn admit(
    parts: request::Parts,
    methods: &Methods,
    largest_metadata_bytes: usize,
) -> Result<Admitted, Refusal> {
    check_protocol(&parts)?;
    if metadata::size_bytes(&parts.headers) > largest_metadata_bytes {
        return Err(Status::new(Code::ResourceExhausted, "the metadata is too large").into());
    }
    let method = methods
        .find(parts.uri.path())
        .ok_or_else(|| Status::new(Code::Unimplemented, "Method not found!"))?;
    let head = Head::read(parts.headers)?;
    Ok(Admitted {
        method,
        encoding: head.encoding()?,
        head,
    })
}

/// The checks of gRPC over HTTP/2 on a request's headers.
fn check_protocol(parts: &request::Parts) -> Result<(), Refusal> {
    if parts.method != HttpMethod::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let subtype = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    if !matches!(subtype, Some([] | [b'+' | b';', ..])) {
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    if parts.headers.get(header::TE).is_none() {
        let proxy = "te: trailers is missing; is there a proxy that does not know gRPC?";
        return Err(Status::new(Code::Internal, proxy).into());
    }
    Ok(())
}

/// Tells the client. An error means that it has cancelled the call, and wants no answer.
pub fn refuse(mut respond: SendResponse<Outgoing>, refusal: &Refusal) {
    let response = match refusal {
        Refusal::Http(status) => {
            let mut response = http::Response::new(());
            *response.status_mut() = *status;
            response
        }
        Refusal::Grpc(status) => {
            let mut headers = HeaderMap::new();
            if status.code == Code::Unimplemented as u16 {
                let known = HeaderValue::from_static("identity,gzip");
                headers.insert("grpc-accept-encoding", known);
            }
            stream::response(stream::trailers(status, headers))
        }
    };
    let _ = respond.send_response(response, true);
}
