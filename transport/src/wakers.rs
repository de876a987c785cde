//! Which streams have news: `h2` wakes a stream, and the connection looks at it in its next turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

#[derive(Default)]
struct Lists {
    woken: Vec<u32>,
    roomy: Vec<u32>,
}

#[derive(Default)]
pub struct Wakers(Mutex<Lists>);

impl Wakers {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A waker that notes the stream. One is enough for all that a stream waits for.
    pub fn waker(self: &Arc<Self>, stream: u32) -> Waker {
        Waker::from(Arc::new(Noted {
            stream,
            wakers: self.clone(),
        }))
    }

    /// Notes that there is news for the stream.
    pub fn wake(&self, stream: u32) {
        self.lists().woken.push(stream);
    }

    /// Notes that the backlog of the stream is no longer full.
    pub fn has_room(&self, stream: u32) {
        self.lists().roomy.push(stream);
    }

    pub fn take_woken(&self) -> Vec<u32> {
        std::mem::take(&mut self.lists().woken)
    }

    pub fn take_roomy(&self) -> Vec<u32> {
        std::mem::take(&mut self.lists().roomy)
    }
}

struct Noted {
    stream: u32,
    wakers: Arc<Wakers>,
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wakers.wake(self.stream);
    }
}
