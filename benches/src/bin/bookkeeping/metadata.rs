//! Tiers of nothing but metadata: no byte is behind their slots, and what moves has moved at once.

use kv_pager::clock::ManualClock;
use kv_pager::config::{DeviceOwner, Limits, Watermarks};
use kv_pager::ids::{Fence, TierId};
use kv_pager::layout::{Format, ModelLayout, shape};
use kv_pager::pager::Backend;
use kv_pager::policy::{Lru, Policy};
use kv_pager::tier::{Health, Lane, LaneEnds, Move, Persistence, SlotClass, Ticket, TicketWriter, Tier};
use kv_pager::units::Nanos;
use kv_pager::{Config, Error, Pager};
use std::sync::Arc;

#[derive(Debug)]
struct Metadata {
    id: TierId,
    classes: Vec<SlotClass>,
}

impl Tier for Metadata {
    fn id(&self) -> TierId {
        self.id
    }

    fn classes(&self) -> &[SlotClass] {
        &self.classes
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
struct AtOnce(LaneEnds);

impl Lane for AtOnce {
    fn ends(&self) -> LaneEnds {
        self.0
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let (writer, ticket) = TicketWriter::new(batch.len());
        for index in (0..batch.len()).filter(|index| writer.begin(*index)) {
            writer.end(index, Ok(()));
        }
        writer.publish(Nanos::ZERO, 1);
        Ok(ticket)
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
    build(model, &[(TierId::Device, slots)], DeviceOwner::Managed, policy)
}

/// A pager over a host of `host_slots` slots too, whose device slots are `owner`'s.
#[cfg(feature = "hold-times")]
pub(crate) fn tiered(slots: u32, host_slots: u32, owner: DeviceOwner, policy: Box<dyn Policy>) -> Pager {
    let model = shape("tiny").expect("known");
    build(model, &[(TierId::Device, slots), (TierId::Host, host_slots)], owner, policy)
}

fn build(model: ModelLayout, sizes: &[(TierId, u32)], owner: DeviceOwner, policy: Box<dyn Policy>) -> Pager {
    let mut backend = Backend::default();
    for (id, slots) in sizes {
        let class = |group| SlotClass { slots: *slots, slot_bytes: model.part_bytes(group) };
        let classes = model.group_ids().map(class).collect();
        backend.tiers.push(Arc::new(Metadata { id: *id, classes }));
        for (other, _) in sizes.iter().filter(|(other, _)| other != id || *id == TierId::Device) {
            backend.lanes.push(Arc::new(AtOnce(LaneEnds { source: *id, target: *other })));
        }
    }
    let limits = Limits { sequence_tokens: 8192 * TOKENS, ..Limits::default() };
    let watermarks = Watermarks { low: 0.0, high: 0.0 };
    let config = Config { limits, watermarks, device_owner: owner, ..Config::default() };
    Pager::new(model, config, backend, policy, Arc::new(ManualClock::new())).expect("fits")
}
