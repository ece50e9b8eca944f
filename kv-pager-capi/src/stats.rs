//! Statistics: counters, occupancy, and the stream of block events.
//! Uses `pager`, `status`, `edge`, the core's `event`. Known by: C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::options::KvpU128;
use crate::pager::KvpPager;
use crate::sequence::group_of;
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::Pager;
use kv_pager::event::BlockEvent;
use kv_pager::ids::TierId;
use kv_pager::pool::SlotState;
use std::collections::VecDeque;
use std::mem::MaybeUninit;

/// A kind of memory; lower is nearer the accelerator. Arrays by tier are in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpTier {
    /// The accelerator's memory, or what plays its role.
    Device = 0,
    /// Host memory.
    Host = 1,
    /// Files on a local drive.
    File = 2,
}

/// Counters since the pager was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpStats {
    /// Slots freed to make room, by tier.
    pub evictions: [u64; 3],
    /// Blocks whose last copy went.
    pub drops: u64,
    /// Parts that a checksum stopped.
    pub damaged: u64,
    /// Loads that did not end well: their blocks were computed.
    pub failed_loads: u64,
    /// Blocks found in a file tier of an earlier process.
    pub recovered: u64,
}

/// What one lane has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpLaneStats {
    /// The `KvpTier` that bytes come from.
    pub source: u32,
    /// The `KvpTier` that they go to.
    pub target: u32,
    /// Batches that are over.
    pub batches: u64,
    /// Moves that ended well.
    pub moves: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// How long the lane worked, by its own account.
    pub busy_ns: u64,
    /// In how many copy calls.
    pub copies: u64,
    /// Moves that failed, were cancelled or timed out.
    pub failed: u64,
}

/// How many slots of a class are in each state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpOccupancy {
    /// Nothing of value.
    pub free: u32,
    /// Being written.
    pub filling: u32,
    /// Holds the whole part of a named block.
    pub resident: u32,
    /// Resident, and being copied away to make room.
    pub leaving: u32,
    /// A move into or out of it timed out, and may still touch it.
    pub quarantined: u32,
    /// Known to be bad.
    pub retired: u32,
}

/// Copies the counters.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_stats(
    pager: Option<&KvpPager>,
    stats: Option<&mut MaybeUninit<KvpStats>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, told) = (given(pager, "pager")?, given(stats, "stats")?);
        let stats = pager.pager.stats();
        told.write(KvpStats {
            evictions: stats.evictions,
            drops: stats.drops,
            damaged: stats.damaged,
            failed_loads: stats.failed_loads,
            recovered: stats.recovered,
        });
        Ok(())
    })
}

/// Copies the counters of each lane. If there are more than `capacity`, `len` says how many, and nothing is copied.
///
/// # Safety
/// A1: `lanes` has room for `capacity` lanes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_lane_stats(
    pager: Option<&KvpPager>,
    lanes: *mut KvpLaneStats,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, len) = (given(pager, "pager")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(lanes, capacity, "lanes") }?;
        let stats = pager.pager.stats();
        let told = stats.lanes.iter().map(|lane| KvpLaneStats {
            source: lane.ends.source as u32,
            target: lane.ends.target as u32,
            batches: lane.stats.batches,
            moves: lane.stats.moves,
            bytes: lane.stats.bytes.as_u64(),
            busy_ns: lane.stats.busy.as_u64(),
            copies: lane.stats.copies,
            failed: lane.stats.failed,
        });
        edge::put_all(told, buffer, len)
    })
}

/// The tier of that number.
pub(crate) fn tier_of(number: u32) -> Result<TierId, Failure> {
    let tier = TierId::ALL.into_iter().find(|known| *known as u32 == number);
    tier.ok_or_else(|| Failure::argument(format!("tier {number} is not one of KvpTier")))
}

/// Copies how many slots of a group a tier has in each state; all are 0 where there is no such tier.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_occupancy(
    pager: Option<&KvpPager>,
    tier: u32,
    group: u32,
    occupancy: Option<&mut MaybeUninit<KvpOccupancy>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, told) = (given(pager, "pager")?, given(occupancy, "occupancy")?);
        let tier = tier_of(tier)?;
        let group = group_of(group, pager.model.groups().len())?;
        let counts = pager.pager.occupancy(tier, group).unwrap_or_default();
        told.write(KvpOccupancy {
            free: counts.of(SlotState::Free),
            filling: counts.of(SlotState::Filling),
            resident: counts.of(SlotState::Resident),
            leaving: counts.of(SlotState::Leaving),
            quarantined: counts.of(SlotState::Quarantined),
            retired: counts.of(SlotState::Retired),
        });
        Ok(())
    })
}

/// What happened to a block's copies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpEventKind {
    /// A copy can be matched in the tier.
    Stored = 0,
    /// The copy in the tier is gone.
    Removed = 1,
    /// All blocks are being erased: what was told before does not count any more.
    Cleared = 2,
    /// The copy in a tier made room; one farther away stays, of which was told when it was stored.
    Moved = 3,
    /// One that this header does not know.
    Other = 4,
}

/// Something that happened to a block's copies. What its kind has no use for is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpEvent {
    /// What happened.
    pub kind: KvpEventKind,
    /// A `KvpTier`: of what has moved on, where its nearest copy is now.
    pub tier: u32,
    /// The block's name.
    pub name: KvpU128,
    /// The parent's of what was stored, if it has one.
    pub parent: KvpU128,
    /// A `KvpTier`: where it was that has moved on.
    pub source: u32,
    /// Whether it has.
    pub has_parent: bool,
}

impl From<BlockEvent> for KvpEvent {
    fn from(event: BlockEvent) -> Self {
        let zero = KvpU128::default();
        let plain = |kind| Self { kind, tier: 0, name: zero, parent: zero, source: 0, has_parent: false };
        match event {
            BlockEvent::Stored { hash, parent, tier } => Self {
                tier: tier as u32,
                name: hash.0.into(),
                parent: parent.map_or(zero, |parent| parent.0.into()),
                has_parent: parent.is_some(),
                ..plain(KvpEventKind::Stored)
            },
            BlockEvent::Removed { hash, tier } => {
                Self { tier: tier as u32, name: hash.0.into(), ..plain(KvpEventKind::Removed) }
            }
            BlockEvent::Cleared => plain(KvpEventKind::Cleared),
            BlockEvent::Moved { hash, source, target } => Self {
                tier: target as u32,
                name: hash.0.into(),
                source: source as u32,
                ..plain(KvpEventKind::Moved)
            },
            _ => plain(KvpEventKind::Other),
        }
    }
}

/// Events that were taken from the pager and did not fit into the caller's buffer. Bounded: no more are taken before it is empty.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    first: u64,
    events: VecDeque<BlockEvent>,
}

impl Unread {
    fn fill(&mut self, pager: &Pager) {
        if self.events.is_empty() {
            let mut fresh = Vec::new();
            self.first = pager.drain_events(&mut fresh);
            self.events = fresh.into();
        }
    }
}

/// Takes the oldest block events, as many as fit, and says how many those were and the number of the first. Numbers have no gaps, but
/// for events that were lost because nobody took them in time. Ends when `len` is less than `capacity`.
///
/// # Safety
/// A1: `events` has room for `capacity` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_drain_events(
    pager: Option<&KvpPager>,
    events: *mut KvpEvent,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
    first: Option<&mut MaybeUninit<u64>>,
) -> KvpStatus {
    guarded(|| {
        let pager = given(pager, "pager")?;
        let (len, first) = (given(len, "len")?, given(first, "first")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(events, capacity, "events") }?;
        let mut unread = pager.unread.lock();
        unread.fill(&pager.pager);
        let count = unread.events.len().min(buffer.len());
        first.write(unread.first);
        len.write(count);
        for (place, event) in buffer.iter_mut().zip(unread.events.drain(..count)) {
            place.write(event.into());
        }
        unread.first += count as u64;
        Ok(())
    })
}
