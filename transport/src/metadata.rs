//! Headers of a call: what the codec reads of them, and metadata in both directions.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::framing::Encoding;
use crate::status::{Code, Status};

/// Binary values travel without padding; with it they are understood too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const NOT_IN_A_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Headers of the protocol itself, which are no metadata.
const RESERVED: [&str; 6] = [
    "te",
    "content-type",
    "content-length",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Binary(Vec<u8>),
}

pub type Pair = (String, Value);

/// What a client sent before its messages. Metadata is only converted for who asks.
pub struct Head {
    headers: HeaderMap,
    pub timeout_seconds: Option<f64>,
}

impl Head {
    pub fn read(headers: HeaderMap) -> Result<Self, Status> {
        let timeout_seconds = match headers.get("grpc-timeout") {
            None => None,
            Some(value) => Some(
                timeout(value.as_bytes())
                    .ok_or_else(|| Status::new(Code::Internal, "grpc-timeout is malformed"))?,
            ),
        };
        Ok(Self {
            headers,
            timeout_seconds,
        })
    }

    /// How messages that say they are compressed are compressed.
    pub fn encoding(&self) -> Result<Encoding, Status> {
        match self.headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(Encoding::Identity),
            Some(b"gzip") => Ok(Encoding::Gzip),
            Some(_) => Err(Status::new(
                Code::Unimplemented,
                "the encoding of the messages is neither identity nor gzip",
            )),
        }
    }

    /// Pairs in the order of the names' first arrival; a binary value that is not base64 is left out.
    pub fn metadata(&self) -> Vec<Pair> {
        let pairs = self.headers.iter();
        pairs
            .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), decode(name, value)?)))
            .collect()
    }
}

/// The size of headers as HTTP/2 counts it: 32 bytes for each beside name and value.
pub fn size_bytes(headers: &HeaderMap) -> usize {
    let sizes = headers.iter();
    sizes
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

fn decode(name: &HeaderName, value: &HeaderValue) -> Option<Value> {
    if !name.as_str().ends_with("-bin") {
        let text = value.as_bytes().iter().map(|byte| char::from(*byte));
        return Some(Value::Text(text.collect()));
    }
    let last = value.as_bytes().rsplit(|byte| *byte == b',').next()?;
    BASE64.decode(last.trim_ascii()).ok().map(Value::Binary)
}

/// Adds pairs to headers; the error names the pair that cannot travel.
pub fn append(headers: &mut HeaderMap, pairs: Vec<Pair>) -> Result<(), String> {
    for (name, value) in pairs {
        let refused = || format!("metadata {name:?} cannot be sent");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let value = match (value, name.ends_with("-bin")) {
            (Value::Text(text), false) => HeaderValue::from_str(&text),
            (Value::Binary(bytes), true) => HeaderValue::from_str(&BASE64.encode(bytes)),
            _ => return Err(refused()),
        };
        headers.append(key, value.map_err(|_| refused())?);
    }
    Ok(())
}

/// The text of a status as it travels in `grpc-message`.
pub fn percent_encoded(message: &str) -> HeaderValue {
    let encoded = utf8_percent_encode(message, NOT_IN_A_MESSAGE).to_string();
    HeaderValue::try_from(encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Seconds of a `grpc-timeout`: at most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<f64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0.0, |sum, digit| sum * 10.0 + f64::from(digit - b'0'));
    let seconds = match unit {
        b'H' => 3600.0,
        b'M' => 60.0,
        b'S' => 1.0,
        b'm' => 1e-3,
        b'u' => 1e-6,
        b'n' => 1e-9,
        _ => return None,
    };
    Some(number * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&str, &str)]) -> Head {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Head::read(headers).unwrap()
    }

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        assert_eq!(timeout(b"250m"), Some(0.25));
        assert_eq!(timeout(b"99999999H"), Some(99_999_999.0 * 3600.0));
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S"] {
            assert_eq!(timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn binary_metadata_is_understood_with_and_without_padding() {
        let head = head(&[
            ("a-bin", "AQI"),
            ("b-bin", "AQI="),
            ("te", "trailers"),
            ("x", "y"),
        ]);
        let expected = [
            ("a-bin".to_owned(), Value::Binary(vec![1, 2])),
            ("b-bin".to_owned(), Value::Binary(vec![1, 2])),
            ("x".to_owned(), Value::Text("y".to_owned())),
        ];
        assert_eq!(head.metadata(), expected);
    }

    #[test]
    fn metadata_that_cannot_travel_is_refused() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (name, value) in [
            ("a b", text("x")),
            ("a", text("x\n")),
            ("a", Value::Binary(vec![1])),
            ("a-bin", text("x")),
        ] {
            append(&mut HeaderMap::new(), vec![(name.to_owned(), value)]).unwrap_err();
        }
    }

    #[test]
    fn status_messages_are_percent_encoded() {
        assert_eq!(percent_encoded("a%b\n\u{e9} c"), "a%25b%0A%C3%A9 c");
    }
}
