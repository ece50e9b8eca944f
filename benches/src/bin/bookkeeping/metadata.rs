//! A device of nothing but metadata: no byte is behind its slots, and nothing moves.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Watermarks};
use kv_pager::ids::{Fence, TierId};
use kv_pager::layout::{Format, ModelLayout, shape};
use kv_pager::pager::Backend;
use kv_pager::policy::{Lru, Policy};
use kv_pager::tier::{Health, Lane, LaneEnds, Move, Persistence, SlotClass, Ticket, TicketWriter, Tier};
use kv_pager::{Config, Error, Pager};
use std::sync::Arc;

#[derive(Debug)]
struct Metadata(Vec<SlotClass>);

impl Tier for Metadata {
    fn id(&self) -> TierId {
        TierId::Device
    }

    fn classes(&self) -> &[SlotClass] {
        &self.0
    }

    fn format(&self) -> Format {
        Format::Raw
    }

    fn is_fence_over(&self, fence: Fence) -> bool {
        fence == Fence::OVER
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn persistence(&self) -> Option<&dyn Persistence> {
        None
    }
}

#[derive(Debug)]
struct Idle;

impl Lane for Idle {
    fn ends(&self) -> LaneEnds {
        LaneEnds { source: TierId::Device, target: TierId::Device }
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        Ok(TicketWriter::new(batch.len()).1)
    }
}

/// Tokens in a block of the shape `tiny`.
pub(crate) const TOKENS: u32 = 16;

/// A pager of `slots` device slots of the shape `tiny`, which evicts when it must and not before.
pub(crate) fn pager(slots: u32) -> Pager {
    pager_of(shape("tiny").expect("known"), slots, Box::new(Lru))
}

/// The same, of another model of [`TOKENS`] tokens a block, with as many slots for each group, and with another policy.
pub(crate) fn pager_of(model: ModelLayout, slots: u32, policy: Box<dyn Policy>) -> Pager {
    let class = |group| SlotClass { slots, slot_bytes: model.part_bytes(group) };
    let tier = Metadata(model.group_ids().map(class).collect());
    let backend = Backend { tiers: vec![Arc::new(tier)], lanes: vec![Arc::new(Idle)] };
    let limits = Limits { sequence_tokens: 8192 * TOKENS, ..Limits::default() };
    let config = Config { limits, watermarks: Watermarks { low: 0.0, high: 0.0 }, ..Config::default() };
    Pager::new(model, config, backend, policy, Arc::new(ManualClock::new())).expect("fits")
}
