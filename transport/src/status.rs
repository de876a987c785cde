//! The status a call ends with.

/// The codes that the codec itself gives; handlers may end with any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub message: String,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code as u16,
            message: message.into(),
        }
    }
}
