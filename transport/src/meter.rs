//! Counts the frames that cost the server work and the client nothing.
//!
//! `h2` answers every PING and SETTINGS and forgets every reset, however many come. The meter reads
//! the frame headers of the input, nothing else, and says when there are too many.

use std::time::Instant;

const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// The client sent more than it may.
#[derive(Debug, PartialEq, Eq)]
pub struct Flood;

/// Tokens up to a most, refilled with time and by useful work.
struct Bucket {
    tokens: f64,
    most: f64,
    per_second: f64,
    refilled: Instant,
}

impl Bucket {
    fn new(most: u32, per_second: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(most),
            most: f64::from(most),
            per_second: f64::from(per_second),
            refilled: now,
        }
    }

    fn earn(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.most);
    }

    fn spend(&mut self, tokens: f64, now: Instant) -> Result<(), Flood> {
        if self.tokens < tokens {
            let elapsed = now.saturating_duration_since(self.refilled);
            self.earn(elapsed.as_secs_f64() * self.per_second);
            self.refilled = now;
        }
        if self.tokens < tokens {
            return Err(Flood);
        }
        self.tokens -= tokens;
        Ok(())
    }
}

pub struct Meter {
    skip: usize,
    header: [u8; HEADER_BYTES],
    filled: usize,
    control: Bucket,
    resets: Bucket,
}

impl Meter {
    /// `resets` are apart from other control frames: a client may cancel all its calls at once.
    pub fn new(control: u32, resets: u32, per_second: u32, now: Instant) -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            filled: 0,
            control: Bucket::new(control, per_second, now),
            resets: Bucket::new(resets, per_second, now),
        }
    }

    /// Work was done for a client that waits for it: so many frames more are fair, such as the
    /// pings by which Go measures the bandwidth while it reads.
    pub fn earn(&mut self, bytes_sent: usize) {
        self.control.earn(2.0 + (bytes_sent >> 14) as f64);
        self.resets.earn(1.0);
    }

    /// Reads the input that comes next.
    pub fn observe(&mut self, mut data: &[u8], now: Instant) -> Result<(), Flood> {
        loop {
            let skipped = self.skip.min(data.len());
            self.skip -= skipped;
            data = &data[skipped..];
            let wanted = (HEADER_BYTES - self.filled).min(data.len());
            self.header[self.filled..self.filled + wanted].copy_from_slice(&data[..wanted]);
            self.filled += wanted;
            data = &data[wanted..];
            if self.filled < HEADER_BYTES {
                return Ok(());
            }
            self.filled = 0;
            self.frame(now)?;
        }
    }

    fn frame(&mut self, now: Instant) -> Result<(), Flood> {
        let [a, b, c, kind, ..] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            DATA | HEADERS | WINDOW_UPDATE | CONTINUATION => Ok(()), // bounded by h2
            RST_STREAM => self.resets.spend(1.0, now),
            _ => self.control.spend(1.0, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn after_preface(now: Instant) -> Meter {
        let mut meter = Meter::new(3, 2, 1, now);
        meter.observe(&[0; PREFACE_BYTES], now).unwrap();
        meter
    }

    #[test]
    fn pings_beyond_the_burst_are_a_flood_until_time_passes() {
        let now = Instant::now();
        let mut meter = after_preface(now);
        let ping = frame(6, &[0; 8]);
        for _ in 0..3 {
            meter.observe(&ping, now).unwrap();
        }
        assert_eq!(meter.observe(&ping, now), Err(Flood));
        meter.observe(&ping, now + Duration::from_secs(2)).unwrap();
    }

    #[test]
    fn work_done_for_the_client_allows_more_pings() {
        let now = Instant::now();
        let mut meter = after_preface(now);
        for _ in 0..100 {
            meter.observe(&frame(6, &[0; 8]), now).unwrap();
            meter.earn(0);
        }
    }

    #[test]
    fn frames_are_found_however_the_input_is_cut() {
        let now = Instant::now();
        let mut meter = after_preface(now);
        let resets = frame(RST_STREAM, &[0; 4]).repeat(3);
        let mut seen = resets.iter().map(|byte| meter.observe(&[*byte], now));
        assert!(seen.any(|result| result == Err(Flood)));
    }

    #[test]
    fn what_a_frame_carries_is_not_taken_for_frames() {
        let now = Instant::now();
        let mut meter = after_preface(now);
        meter.observe(&frame(DATA, &[6; 4096]), now).unwrap();
    }
}
