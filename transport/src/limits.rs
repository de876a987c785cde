//! The bounds that the codec keeps; `limits.py` says what each is for and gives the defaults.

#[derive(Clone, Debug)]
pub struct Limits {
    pub largest_request_bytes: usize,
    pub largest_metadata_bytes: usize,
    pub refused_metadata_bytes: u32,
    pub concurrent_streams: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    pub unfinished_requests_bytes: usize,
    pub stream_replies_bytes: usize,
    pub connection_replies_bytes: usize,
    pub control_frames: u32,
    pub control_frames_per_second: u32,
}
