//! Finding: how far a prompt is cached, for calls that open no sequence; in slices of the lock.
//! Layer 9. Uses `pager::{core, opening, slices}`. Known by: `pager::{external, onboarding, prefetch}`.
//!
//! - **FI1** what is found is used and referred to only if the caller asks for it; otherwise some of it may have gone by the time it is told;
//! - **FI2** a match goes on from the block that it has come to only while that is still there.

use super::Shared;
use super::core::Core;
use super::opening::Opening;
use super::slices;
use crate::ids::BlockId;
use crate::policy::MatchedBlock;
use crate::sequence::SequenceState;

/// Whether what is found is used by the request, and referred to: then its records stay until it is [given back](give_back).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grip {
    Loose,
    Used,
}

/// The leading blocks of a prompt, whose tokens and names `state` has, that are cached somewhere, as far as every group can go on.
///
/// # Panics
/// If a model with windows is to be used: where its match ends is not known before all has been seen.
pub(super) fn find(shared: &Shared, state: &SequenceState, grip: Grip) -> Vec<MatchedBlock> {
    assert!(grip == Grip::Loose || shared.model.groups().len() == 1, "only what is matched is used");
    let mut finding = Opening::default();
    slices::repeat(shared, |core| core.find_slice(state, &mut finding, grip));
    finding.look_round(&shared.model);
    finding.matched
}

/// Gives back the references to what was found, the leaf first.
pub(super) fn give_back(shared: &Shared, found: &[MatchedBlock]) {
    let mut slices = found.rchunks(shared.slice_blocks);
    slices::repeat(shared, |core| {
        let Some(slice) = slices.next() else { return true };
        slice.iter().rev().for_each(|found| core.unrefer(found.block));
        false
    });
}

impl Core {
    /// Goes on with a match by one slice. Returns whether that was its end.
    fn find_slice(&mut self, state: &SequenceState, finding: &mut Opening, grip: Grip) -> bool {
        if grip == Grip::Used {
            self.note_standing(state);
        }
        let from = finding.matched.len();
        if from.checked_sub(1).is_some_and(|last| !self.is_still(state, last, finding.matched[last].block)) {
            return true;
        }
        let is_over = self.match_on(state, &mut finding.matched, self.config.limits.slice_blocks as usize);
        for at in from..finding.matched.len() {
            let block = finding.matched[at].block;
            match grip {
                Grip::Loose => self.see(finding, block),
                Grip::Used => self.index.add_reference(block),
            }
        }
        if grip == Grip::Used {
            self.note_request(state, &finding.matched[from..]);
        }
        is_over
    }

    /// Whether `block` is still the record of block `at` of a prompt, and can be found.
    pub(super) fn is_still(&self, state: &SequenceState, at: usize, block: BlockId) -> bool {
        self.index.is_named(block) && self.index.hash(block) == state.hashes[at]
    }
}
