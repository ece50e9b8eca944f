//! A wish to stop: Ctrl-C or a termination signal, seen by whoever looks.
//! Known by: every command that takes long.
//!
//! A signal ends nothing by itself. Commands look between two steps and return, so that temporary directories are removed
//! by the same code as always.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether someone asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    wished: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on. Where that is not possible, a signal ends the process as usual.
    pub(crate) fn listen() -> Self {
        let interrupt = Self::default();
        let wished = Arc::clone(&interrupt.wished);
        // The second command of a process would fail here, and there is none; the handler is a comfort, not a need.
        ctrlc::set_handler(move || wished.store(true, Ordering::Relaxed)).ok();
        interrupt
    }

    /// Whether someone asked.
    pub(crate) fn is_wished(&self) -> bool {
        self.wished.load(Ordering::Relaxed)
    }

    /// Asks.
    pub(crate) fn wish(&self) {
        self.wished.store(true, Ordering::Relaxed);
    }
}
