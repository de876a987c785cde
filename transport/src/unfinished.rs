//! How much of half-received messages a connection holds.
//!
//! A message that has begun must be taken out of its stream's window, or it could be no larger. All
//! together are bounded here: beyond the bound only one stream goes on, so that something ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wakers::Wakers;

struct State {
    bytes: usize,
    favoured: Option<u32>,
    waiting: Vec<u32>,
}

pub struct Unfinished {
    most_bytes: usize,
    wakers: Arc<Wakers>,
    state: Mutex<State>,
}

impl Unfinished {
    pub fn new(most_bytes: usize, wakers: Arc<Wakers>) -> Self {
        Self {
            most_bytes,
            wakers,
            state: Mutex::new(State {
                bytes: 0,
                favoured: None,
                waiting: Vec::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one stream holds of it.
pub struct Share {
    stream: u32,
    bytes: usize,
    all: Arc<Unfinished>,
}

impl Share {
    pub fn new(stream: u32, all: Arc<Unfinished>) -> Self {
        Self {
            stream,
            bytes: 0,
            all,
        }
    }

    /// True when the stream may receive more of its message now. Otherwise it is woken later.
    pub fn may_grow(&self) -> bool {
        let mut state = self.all.state();
        if state.bytes < self.all.most_bytes {
            return true;
        }
        if *state.favoured.get_or_insert(self.stream) == self.stream {
            return true;
        }
        state.waiting.push(self.stream);
        false
    }

    /// Says how much the stream holds now; 0 when its message is whole, or not wanted any more.
    pub fn set(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        let mut state = self.all.state();
        state.bytes = state.bytes - self.bytes + bytes;
        self.bytes = bytes;
        if bytes == 0 && state.favoured == Some(self.stream) {
            state.favoured = None;
        }
        if state.favoured.is_none() || state.bytes < self.all.most_bytes {
            for stream in state.waiting.drain(..) {
                self.all.wakers.wake(stream);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_one_stream_goes_on_and_then_the_next() {
        let wakers = Arc::new(Wakers::default());
        let all = Arc::new(Unfinished::new(10, wakers.clone()));
        let mut first = Share::new(1, all.clone());
        let mut second = Share::new(3, all.clone());
        first.set(6);
        second.set(6);
        assert!(second.may_grow());
        assert!(!first.may_grow());
        second.set(100);
        assert!(wakers.take_woken().is_empty());
        second.set(0);
        assert_eq!(wakers.take_woken(), [1]);
        assert!(first.may_grow());
    }
}
