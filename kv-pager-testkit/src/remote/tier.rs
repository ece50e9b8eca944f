//! A tier whose memory is a worker's.
//! Uses `remote::link`. Known by: `remote::process`.

use super::link::{Link, Shared};
use kv_pager::ids::{Fence, TierId};
use kv_pager::layout::Format;
use kv_pager::tier::{Health, Persistence, SlotClass, Tier};
use std::sync::Arc;

/// Slots in a worker's memory. What the worker has reached is over, and all is when it is lost (C6).
#[derive(Debug)]
pub struct RemoteTier {
    id: TierId,
    format: Format,
    classes: Vec<SlotClass>,
    link: Arc<Shared>,
}

impl RemoteTier {
    /// A tier on the worker that is like `model`.
    pub fn new(link: &Link, model: &dyn Tier) -> Self {
        let (id, format, classes) = (model.id(), model.format(), model.classes().to_vec());
        Self { id, format, classes, link: Arc::clone(link.shared()) }
    }
}

impl Tier for RemoteTier {
    fn id(&self) -> TierId {
        self.id
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    fn format(&self) -> Format {
        self.format
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER || fence.0 <= self.link.reached() || self.link.lost().is_some()
    }

    fn health(&self) -> Health {
        self.link.lost().map_or(Health::Well, |why| Health::Lost { why })
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}
