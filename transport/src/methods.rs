//! The method table: what a path means.

use std::collections::HashMap;

#[derive(Clone, Copy)]
pub struct Method {
    pub index: usize,
    pub streams_requests: bool,
}

/// From a path to the row of the table; a path that is absent is an unimplemented method.
pub struct Methods(HashMap<String, Method>);

impl Methods {
    /// Rows are (path, streams requests), numbered as they come.
    pub fn new(rows: impl IntoIterator<Item = (String, bool)>) -> Self {
        let rows = rows.into_iter().enumerate();
        Self(
            rows.map(|(index, (path, streams_requests))| {
                (
                    path,
                    Method {
                        index,
                        streams_requests,
                    },
                )
            })
            .collect(),
        )
    }

    pub fn find(&self, path: &str) -> Option<Method> {
        self.0.get(path).copied()
    }
}
