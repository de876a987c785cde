//! The classes that Python sees; `_codec.pyi` describes them.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::HeaderMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::connection::{Connection, Event};
use crate::limits::Limits;
use crate::metadata::{self, Value};
use crate::methods::Methods;
use crate::parts::Parts;
use crate::status::Status;
use crate::stream::{Broken, Request};

const READABLE: i32 = -1;
const WRITABLE: i32 = -2;
const CANCELLED: i32 = -3;

/// A copy is cheaper than keeping the Python object alive up to here.
const COPIED_BYTES: usize = 512;

fn owned(data: PyBackedBytes) -> Bytes {
    if data.len() <= COPIED_BYTES {
        return Bytes::copy_from_slice(&data);
    }
    Bytes::from_owner(data)
}

#[pyclass(frozen, module = "reapi_transport._codec")]
struct Table {
    methods: Arc<Methods>,
    limits: Arc<Limits>,
}

#[pymethods]
impl Table {
    #[new]
    fn new(methods: Vec<(String, bool)>, limits: &Bound<'_, PyAny>) -> PyResult<Self> {
        fn get<'py, T>(limits: &Bound<'py, PyAny>, name: &str) -> PyResult<T>
        where
            T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
        {
            limits.getattr(name)?.extract()
        }
        Ok(Self {
            methods: Arc::new(Methods::new(methods)),
            limits: Arc::new(Limits {
                largest_request_bytes: get(limits, "largest_request_bytes")?,
                largest_metadata_bytes: get(limits, "largest_metadata_bytes")?,
                refused_metadata_bytes: get(limits, "refused_metadata_bytes")?,
                concurrent_streams: get(limits, "concurrent_streams")?,
                stream_window_bytes: get(limits, "stream_window_bytes")?,
                connection_window_bytes: get(limits, "connection_window_bytes")?,
                unfinished_requests_bytes: get(limits, "unfinished_requests_bytes")?,
                stream_replies_bytes: get(limits, "stream_replies_bytes")?,
                connection_replies_bytes: get(limits, "connection_replies_bytes")?,
                control_frames: get(limits, "control_frames")?,
                control_frames_per_second: get(limits, "control_frames_per_second")?,
            }),
        })
    }
}

#[pyclass(frozen, module = "reapi_transport._codec")]
struct Head(metadata::Head);

#[pymethods]
impl Head {
    #[getter]
    fn timeout_seconds(&self) -> Option<f64> {
        self.0.timeout_seconds
    }

    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metadata = PyDict::new(py);
        for (name, value) in self.0.metadata() {
            match value {
                Value::Binary(bytes) => metadata.set_item(name, PyBytes::new(py, &bytes))?,
                Value::Text(text) => match metadata.get_item(&name)? {
                    Some(before) => metadata.set_item(name, format!("{before},{text}"))?,
                    None => metadata.set_item(name, text)?,
                },
            }
        }
        Ok(metadata)
    }
}

#[pyclass(module = "reapi_transport._codec")]
struct Codec(Connection);

#[pymethods]
impl Codec {
    #[new]
    fn new(table: &Table) -> Self {
        Self(Connection::new(table.methods.clone(), table.limits.clone()))
    }

    fn receive<'py>(
        &mut self,
        py: Python<'py>,
        data: PyBackedBytes,
    ) -> PyResult<Bound<'py, PyList>> {
        self.0.receive(owned(data));
        self.events(py)
    }

    fn events<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = self.0.take_events().into_iter();
        let events: PyResult<Vec<_>> = events.map(|event| event_tuple(py, event)).collect();
        PyList::new(py, events?)
    }

    fn flush<'py>(&mut self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, bool)> {
        let (output, is_more) = self.0.flush();
        Ok((joined(py, &output)?, is_more))
    }

    #[getter]
    fn has_events(&self) -> bool {
        self.0.has_events()
    }

    #[getter]
    fn unread_bytes(&self) -> usize {
        self.0.unread_bytes()
    }

    #[getter]
    fn is_open(&self) -> bool {
        self.0.is_open()
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn next_request<'py>(&mut self, py: Python<'py>, stream: u32) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.0.next_request(stream) {
            Ok(Request::Message(message)) => joined(py, &message)?.into_any(),
            Ok(Request::Pending) => true.into_pyobject(py)?.to_owned().into_any(),
            Ok(Request::End) => false.into_pyobject(py)?.to_owned().into_any(),
            Err(Broken::Reset | Broken::Refused(_)) => py.None().into_bound(py),
        })
    }

    #[pyo3(signature = (stream, message, trailing=None))]
    fn reply(
        &mut self,
        stream: u32,
        message: PyBackedBytes,
        trailing: Option<Vec<(String, Bound<'_, PyAny>)>>,
    ) -> PyResult<()> {
        let trailing = headers(trailing)?;
        self.0.reply(stream, owned(message), trailing);
        Ok(())
    }

    fn send(&mut self, stream: u32, message: PyBackedBytes) -> bool {
        self.0.send(stream, owned(message))
    }

    fn begin_reply(
        &mut self,
        stream: u32,
        metadata: Vec<(String, Bound<'_, PyAny>)>,
    ) -> PyResult<()> {
        let metadata = headers(Some(metadata))?;
        self.0.begin_reply(stream, metadata);
        Ok(())
    }

    #[pyo3(signature = (stream, code, message, trailing=None))]
    fn finish(
        &mut self,
        stream: u32,
        code: u16,
        message: String,
        trailing: Option<Vec<(String, Bound<'_, PyAny>)>>,
    ) -> PyResult<()> {
        let trailing = headers(trailing)?;
        self.0.finish(stream, &Status { code, message }, trailing);
        Ok(())
    }

    fn ping(&mut self) {
        self.0.ping();
    }

    fn drain(&mut self) {
        self.0.drain();
    }

    fn abort(&mut self) {
        self.0.abort(Reason::NO_ERROR);
    }
}

fn event_tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    let signal = |stream: u32, kind: i32| (stream, kind, py.None(), py.None()).into_pyobject(py);
    match event {
        Event::Call {
            stream,
            method,
            head,
            request,
        } => {
            let request = request.map(|message| joined(py, &message)).transpose()?;
            (stream, method, Py::new(py, Head(head))?, request).into_pyobject(py)
        }
        Event::Readable(stream) => signal(stream, READABLE),
        Event::Writable(stream) => signal(stream, WRITABLE),
        Event::Cancelled(stream) => signal(stream, CANCELLED),
    }
}

fn joined<'py>(py: Python<'py>, parts: &Parts) -> PyResult<Bound<'py, PyBytes>> {
    match parts.as_slice() {
        Some(only) => Ok(PyBytes::new(py, only)),
        None => PyBytes::new_with(py, parts.len(), |into| {
            parts.copy_to(into);
            Ok(())
        }),
    }
}

fn headers(pairs: Option<Vec<(String, Bound<'_, PyAny>)>>) -> PyResult<HeaderMap> {
    let mut headers = HeaderMap::new();
    let Some(pairs) = pairs else {
        return Ok(headers);
    };
    let mut values = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let value = match value.cast::<PyBytes>() {
            Ok(bytes) => Value::Binary(bytes.as_bytes().to_vec()),
            Err(_) => Value::Text(value.extract()?),
        };
        values.push((name, value));
    }
    metadata::append(&mut headers, values).map_err(PyValueError::new_err)?;
    Ok(headers)
}

#[pymodule]
mod _codec {
    #[pymodule_export]
    use super::{Codec, Head, Table};

    #[pymodule_export]
    const READABLE: i32 = super::READABLE;
    #[pymodule_export]
    const WRITABLE: i32 = super::WRITABLE;
    #[pymodule_export]
    const CANCELLED: i32 = super::CANCELLED;
}
