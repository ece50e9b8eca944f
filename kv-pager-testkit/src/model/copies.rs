//! The model's list: where the event stream says that each block is.
//! Uses `kv_pager::event`. Known by: `model`, `external`.

use kv_pager::Pager;
use kv_pager::event::BlockEvent;
use kv_pager::ids::{PrefixHash, TierId};
use std::collections::{BTreeSet, HashMap};

/// Blocks with the tiers that have a copy, as a router would know it.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    tiers: HashMap<PrefixHash, BTreeSet<TierId>>,
    events_seen: u64,
}

impl Copies {
    /// Takes in what the pager has told since the last call.
    ///
    /// # Panics
    /// If an event is missing, tells of what cannot be, or of a block that does not satisfy `was_written`.
    pub(crate) fn follow(&mut self, pager: &Pager, was_written: impl Fn(&PrefixHash) -> bool) {
        let mut events = Vec::new();
        let first = pager.drain_events(&mut events);
        assert_eq!(first, self.events_seen, "V1: an event was lost");
        self.events_seen += events.len() as u64;
        for event in events {
            match event {
                BlockEvent::Stored { hash, tier, .. } => {
                    assert!(was_written(&hash), "I3: {hash:x?} was stored in {tier} before it was written");
                    assert!(
                        self.tiers.entry(hash).or_default().insert(tier),
                        "{hash:x?} was stored in {tier} twice"
                    );
                }
                BlockEvent::Removed { hash, tier } => {
                    let tiers = self.tiers.get_mut(&hash);
                    assert!(
                        tiers.is_some_and(|tiers| tiers.remove(&tier)),
                        "{hash:x?} left {tier}, where it was not"
                    );
                }
                BlockEvent::Moved { hash, source, target } => {
                    let tiers = self.tiers.get_mut(&hash).expect("V2: what moves on was stored");
                    assert!(tiers.remove(&source), "V2: {hash:x?} moved on from {source}, where it was not");
                    assert!(
                        tiers.contains(&target),
                        "V2: {hash:x?} is not in {target}, where it should be left"
                    );
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The nearest tier that has a block.
    pub(crate) fn nearest(&self, name: &PrefixHash) -> Option<TierId> {
        self.tiers.get(name).and_then(|tiers| tiers.first().copied())
    }

    /// Whether some tier has a block.
    pub(crate) fn has(&self, name: &PrefixHash) -> bool {
        self.nearest(name).is_some()
    }

    /// The blocks that some tier has.
    pub(crate) fn names(&self) -> impl Iterator<Item = &PrefixHash> {
        self.tiers.iter().filter(|(_, tiers)| !tiers.is_empty()).map(|(name, _)| name)
    }

    /// How many copies there are.
    pub(crate) fn count(&self) -> usize {
        self.tiers.values().map(BTreeSet::len).sum()
    }
}
