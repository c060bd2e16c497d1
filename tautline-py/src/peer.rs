//! The id of a peer.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;

/// One peer of a link. Give it to `to=` to send to this peer alone. A peer that was restarted is another peer (native wire).
#[pyclass(frozen, eq, module = "tautline")]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerId(pub(crate) tautline::PeerId);

#[pymethods]
impl PeerId {
    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __copy__(&self) -> Self {
        *self
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        *self
    }

    fn __repr__(&self) -> String {
        format!("<peer {}>", self.0)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }
}
