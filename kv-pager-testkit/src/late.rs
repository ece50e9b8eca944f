//! Late fences: a tier and its lanes for compute that ends when a test says so, in any order, or never.
//! Uses `relay`. Known by: `tagged`, conformance and model tests.
//!
//! - **LA1** a fence that the book gave out is over once it was ended, and stays so; any other is not over;
//! - **LA2** a lane of the book's gives a move to the inner lane after both its fences are over (L4), and says `OVER` there.

use crate::relay::{Fate, Gate, Relay};
use kv_pager::Error;
use kv_pager::ids::{Fence, TierId};
use kv_pager::layout::Format;
use kv_pager::tier::{Health, Lane, LaneEnds, Move, Persistence, Signal, SlotClass, Ticket, Tier};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// Which fences there are, and which of them are over.
#[derive(Debug, Default)]
pub struct FenceBook {
    pages: Mutex<Pages>,
    /// Rung at every end, for the lanes that wait.
    watchers: Mutex<Vec<Arc<Signal>>>,
}

#[derive(Debug, Default)]
struct Pages {
    issued: u64,
    open: HashSet<Fence>,
}

impl FenceBook {
    /// A book with no fence but [`Fence::OVER`].
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A new fence, which is not over.
    pub fn issue(&self) -> Fence {
        let mut pages = self.pages.lock();
        pages.issued += 1;
        let fence = Fence(pages.issued);
        pages.open.insert(fence);
        fence
    }

    /// Takes in the fences up to `fence`, which somebody else gives out in this order. Those that are new are not over.
    pub fn follow(&self, fence: Fence) {
        let mut pages = self.pages.lock();
        let new = pages.issued + 1..=fence.0;
        pages.open.extend(new.map(Fence));
        pages.issued = pages.issued.max(fence.0);
    }

    /// Ends `fence`. Ending it again changes nothing.
    pub fn end(&self, fence: Fence) {
        self.pages.lock().open.remove(&fence);
        self.ring();
    }

    /// Ends the fences up to `fence`, as far as they were given out.
    pub fn end_up_to(&self, fence: Fence) {
        self.pages.lock().open.retain(|open| *open > fence);
        self.ring();
    }

    /// Ends every fence that was given out.
    pub fn end_all(&self) {
        self.pages.lock().open.clear();
        self.ring();
    }

    fn ring(&self) {
        for watcher in self.watchers.lock().iter() {
            watcher.ring();
        }
    }

    /// Whether `fence` is over (LA1).
    pub fn is_over(&self, fence: Fence) -> bool {
        let pages = self.pages.lock();
        fence == Fence::OVER || fence.0 <= pages.issued && !pages.open.contains(&fence)
    }
}

/// A tier whose fences are a book's.
#[derive(Debug)]
pub struct LateTier {
    inner: Arc<dyn Tier>,
    book: Arc<FenceBook>,
}

impl LateTier {
    /// `inner`, with the fences of `book`.
    pub fn new(inner: Arc<dyn Tier>, book: &Arc<FenceBook>) -> Self {
        Self { inner, book: Arc::clone(book) }
    }
}

impl Tier for LateTier {
    fn id(&self) -> TierId {
        self.inner.id()
    }

    fn classes(&self) -> &[SlotClass] {
        self.inner.classes()
    }

    fn format(&self) -> Format {
        self.inner.format()
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        self.book.is_over(fence)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        self.inner.persistence()
    }
}

impl Gate for FenceBook {
    fn admit(&self, _order: &Move) -> Fate {
        Fate::Forward(0)
    }

    fn may_begin(&self, order: &Move) -> bool {
        self.is_over(order.source_fence) && self.is_over(order.target_fence)
    }

    fn forward(&self, order: &Move) -> Move {
        Move { source_fence: Fence::OVER, target_fence: Fence::OVER, ..*order }
    }
}

/// A lane that waits for a book's fences.
#[derive(Debug)]
pub struct LateLane {
    relay: Relay,
}

impl LateLane {
    /// `inner`, with the fences of `book`.
    pub fn new(inner: Arc<dyn Lane>, book: &Arc<FenceBook>) -> Self {
        let signal = Arc::new(Signal::new());
        book.watchers.lock().push(Arc::clone(&signal));
        Self { relay: Relay::new(inner, Arc::<FenceBook>::clone(book), signal) }
    }
}

impl Lane for LateLane {
    fn ends(&self) -> LaneEnds {
        self.relay.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.relay.submit(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::FenceBook;
    use kv_pager::ids::Fence;

    #[test]
    fn fences_end_in_any_order_and_strangers_never() {
        let book = FenceBook::new();
        let (first, second) = (book.issue(), book.issue());
        book.end(second);
        assert!(!book.is_over(first));
        assert!(book.is_over(second));
        assert!(book.is_over(Fence::OVER));
        assert!(!book.is_over(Fence(99)));
        book.follow(Fence(5));
        book.end_up_to(Fence(3));
        assert!([first, Fence(3)].iter().all(|fence| book.is_over(*fence)));
        assert!(!book.is_over(Fence(4)));
        book.end_all();
        assert!(book.is_over(Fence(5)) && !book.is_over(Fence(6)));
    }
}
