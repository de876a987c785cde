//! Bytes in parts: large ones are kept as they came, small ones are copied together.

use bytes::Bytes;

/// A smaller part is copied. A part may keep a buffer of several times its size alive, and a header
/// of its own costs as much as copying this.
const KEPT_BYTES: usize = 4 << 10;

#[derive(Clone, Debug, Default)]
pub struct Parts {
    whole: Vec<Bytes>,
    tail: Vec<u8>,
    bytes: usize,
}

impl Parts {
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn copy(&mut self, data: &[u8]) {
        self.bytes += data.len();
        self.tail.extend_from_slice(data);
    }

    pub fn push(&mut self, data: Bytes) {
        if data.len() < KEPT_BYTES {
            return self.copy(&data);
        }
        self.bytes += data.len();
        if !self.tail.is_empty() {
            self.whole.push(std::mem::take(&mut self.tail).into());
        }
        self.whole.push(data);
    }

    /// The only part, when there is one.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match (&*self.whole, self.tail.is_empty()) {
            ([], _) => Some(&self.tail),
            ([only], true) => Some(only),
            _ => None,
        }
    }

    /// `into` is as long as this.
    pub fn copy_to(&self, into: &mut [u8]) {
        let mut start = 0;
        let parts = self.whole.iter().map(AsRef::as_ref);
        for part in parts.chain([&*self.tail]) {
            into[start..start + part.len()].copy_from_slice(part);
            start += part.len();
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        let mut all = vec![0; self.bytes];
        self.copy_to(&mut all);
        all.into()
    }
}

impl From<Bytes> for Parts {
    /// Without a copy, whatever its size: for what is used at once.
    fn from(data: Bytes) -> Self {
        Self {
            bytes: data.len(),
            whole: vec![data],
            tail: Vec::new(),
        }
    }
}

impl PartialEq<[u8]> for Parts {
    fn eq(&self, other: &[u8]) -> bool {
        self.to_bytes() == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_order_whatever_their_sizes() {
        let mut parts = Parts::default();
        let mut expected = Vec::new();
        for (letter, size) in (b'a'..).zip([1, KEPT_BYTES, 2, 3, KEPT_BYTES + 1, KEPT_BYTES, 4]) {
            let data = vec![letter; size];
            expected.extend(&data);
            parts.push(data.into());
        }
        assert_eq!(parts.len(), expected.len());
        assert!(parts == *expected);
    }
}
