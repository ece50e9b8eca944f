//! Holds: prompts, or salts, whose blocks stay, in a tier or nearer, until they are released: "keep this system prompt".
//! Layer 9. Known by: engines.

use super::Pager;
use super::core::Core;
use super::handle::Prompt;
use super::keepers::{KeeperId, KeeperKind, Kept};
use super::slices;
use crate::config::Allowance;
use crate::error::Error;
use crate::ids::{Salt, TierId};
use crate::sequence::SequenceState;
use crate::sync::TimedGuard;

/// A prompt, or a salt, that is held. Dropping it releases it: its blocks stay cached, and can be evicted like any others.
#[derive(Debug)]
pub struct Hold {
    pager: Pager,
    id: KeeperId,
}

impl Pager {
    /// Keeps the full blocks of `prompt` in `tier` or nearer, from the root, until the hold is dropped. Those that are farther
    /// are brought; those only on the device are copied to the host, for a hold there; those that are not cached are taken in when
    /// a sequence of the salt that has computed them closes. Held blocks are never evicted or dropped to make room, but
    /// for one case: when a request finds no room, nothing is under way and nothing else is left to drop, holds give back
    /// what it needs, the newest first and leaf first; they take it up again when a sequence of their salt closes. All holds
    /// together keep at most [`Reserves::held_share`](crate::config::Reserves) of a class, and each at most the quota of its salt; a
    /// prompt beyond it is held as far as it goes.
    /// Erasing the salt, or a new epoch, leaves the hold with nothing, until its blocks are computed anew.
    ///
    /// Never blocks. Costs 128 blocks a call until it is complete, and `O(prompt)` memory.
    ///
    /// # Errors
    /// [`Error::TooManyKept`] at [`Reserves::holds`](crate::config::Reserves). [`Error::Configuration`] if the tier is the file,
    /// whose blocks are evicted only by what is written there, is not there, or is a device whose slots are the engine's.
    pub fn hold(&self, prompt: &Prompt, tier: TierId) -> Result<Hold, Error> {
        let now = self.shared.clock.now();
        let mut state = prompt.state(self.shared.tokens_per_block);
        let mut core = self.lock_for(&mut state);
        core.check_hold(tier)?;
        let wanted = state.hashes.len();
        let id = core.add_keeper(KeeperKind::Hold(tier), state, wanted);
        drop(core);
        slices::keep_house(&self.shared, now);
        Ok(Hold { pager: self.clone(), id })
    }

    /// Keeps what `salt` has cached, and what it comes to have, in `tier` or nearer until the hold is dropped: for an engine that does
    /// not know how far the prompt reaches that its requests share. It is as [`Pager::hold`] but for what is held: at most `most`
    /// ([`Allowance::Slots`]: blocks; [`Allowance::Bytes`]: as many blocks as have so many bytes on the device, rounded down), each
    /// after its parent, first come, first held. So the fronts of the first requests are held before anything else: choose a bound
    /// near the length of the prompt that is to stay. Windows are held where they are cached.
    ///
    /// Never blocks. What is cached already is found by the calls that follow, 128 records each; what a sequence of the salt has
    /// committed is taken in when it closes, 128 blocks a call. Once `most` is held, it costs nothing.
    ///
    /// # Errors
    /// Those of [`Pager::hold`].
    pub fn hold_salt(&self, salt: Salt, tier: TierId, most: Allowance) -> Result<Hold, Error> {
        let now = self.shared.clock.now();
        let mut core = self.shared.core.lock();
        core.check_hold(tier)?;
        let most = match most {
            Allowance::Unlimited => u64::MAX,
            Allowance::Slots(blocks) => u64::from(blocks),
            Allowance::Bytes(bytes) => bytes.as_u64() / core.model.block_bytes().as_u64(),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let id = core.add_keeper_of_salt(KeeperKind::Hold(tier), salt, most);
        drop(core);
        slices::keep_house(&self.shared, now);
        Ok(Hold { pager: self.clone(), id })
    }

    /// Releases all holds of `salt` and of prompts in its cache, whoever has their handles. Returns how many it was.
    pub fn release_holds(&self, salt: Salt) -> usize {
        let meant: Vec<KeeperId> = self.shared.core.lock().keepers.holds_of(salt).collect();
        for id in &meant {
            slices::end_keeper(&self.shared, *id);
        }
        meant.len()
    }

    /// The lock, with `state` named in the epoch at hand.
    pub(super) fn lock_for(&self, state: &mut SequenceState) -> TimedGuard<'_, Core> {
        let mut core = self.shared.core.lock();
        while state.epoch != core.epoch {
            let epoch = core.epoch;
            drop(core);
            state.rename(epoch, &self.shared.hasher);
            core = self.shared.core.lock();
        }
        core
    }
}

impl Core {
    fn check_hold(&self, tier: TierId) -> Result<(), Error> {
        let is_ours = tier != TierId::Device || !self.is_engines();
        if tier == TierId::File || !self.pools.has(tier) || !is_ours {
            let why = format!(
                "nothing can be held in the {tier} tier of this pager; hold in the host, or on a device of the pager's"
            );
            return Err(Error::Configuration { setting: "Pager::hold", why });
        }
        let limit = self.config.reserves.holds;
        if self.keepers.count(KeeperKind::Hold(tier)) >= limit as usize {
            return Err(Error::TooManyKept { limit });
        }
        Ok(())
    }
}

impl Hold {
    /// What it keeps, and where.
    pub fn kept(&self) -> Kept {
        slices::kept(&self.pager.shared, self.id)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        slices::end_keeper(&self.pager.shared, self.id);
    }
}
