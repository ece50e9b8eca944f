//! Waiting as a future: what an asynchronous front is made of. No runtime is assumed.
//! Layer 9. Uses `tier`. Known by: `pager`, asynchronous fronts.
//!
//! - **AW1** dropping it leaves nothing behind: no waker stays with the pager.

use super::{Pager, Progress};
use crate::tier::WakerPlace;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Ready once something has ended or was closed since the moment that it was made for. Whoever awaits it calls [`Pager::poll`] then, and,
/// should nobody ring, after [`Pager::nap`]. Cancel-safe (AW1).
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Progressed<'a> {
    pager: &'a Pager,
    seen: Progress,
    place: WakerPlace,
}

impl<'a> Progressed<'a> {
    pub(super) fn new(pager: &'a Pager, seen: Progress) -> Self {
        Self { pager, seen, place: WakerPlace::default() }
    }
}

impl Future for Progressed<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.pager.shared.signal.poll_past(this.seen.0, &mut this.place, context)
    }
}

impl Drop for Progressed<'_> {
    fn drop(&mut self) {
        self.pager.shared.signal.give_back(&mut self.place);
    }
}
