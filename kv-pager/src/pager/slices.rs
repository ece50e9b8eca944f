//! Slices: what takes long is done in several holds of the lock, and others get it in between.
//! Layer 9. Uses `pager::core`. Known by: `pager::handle`.
//!
//! - **SL1** one hold handles at most `Limits::slice_blocks` blocks of a sequence;
//! - **SL2** between two slices everything that the pager knows is consistent: a sequence that is half open is one whose later blocks
//!   are not there yet, one that is half closed is one whose later blocks have gone;
//! - **SL3** long sequences, and those for which room takes more than one hold, are opened one at a time, so that no two of them wait
//!   for the slots that the other has taken;
//! - **SL4** the policy is told of one request at a time, slice by slice, while its blocks are held or referred to: what it has been
//!   told of some and not of others is a request that is not over yet.

use super::Shared;
use super::chores::Chores;
use super::core::Core;
use super::keepers::{KeeperId, Kept};
use super::opening::{Opening, Stage};
use super::step::{Slice, Step};
use super::telling::{ChangesTold, Telling};
use crate::clock::Time;
use crate::error::Error;
use crate::event::BlockEvent;
use crate::ids::Fence;
use crate::policy::Urgency;
use crate::sequence::SequenceState;
use crate::sync::TimedGuard;
use std::ops::Range;

/// In so many holds of the lock room is made for one slice at most: a class of a million slots can be gone through in them.
const HOLDS_MAX: u32 = 1 << 13;

/// How many events one hold hands out.
const EVENTS_A_SLICE: usize = 1024;

/// Takes the lock until `slice` says that all is done; whoever waits for it has his turn in between.
pub(super) fn in_slices(
    shared: &Shared,
    mut slice: impl FnMut(&mut Core) -> Result<bool, Error>,
) -> Result<(), Error> {
    loop {
        let mut core = shared.core.lock();
        if slice(&mut core)? {
            return Ok(());
        }
        core.pass();
    }
}

/// The same for what can't fail.
pub(super) fn repeat(shared: &Shared, mut slice: impl FnMut(&mut Core) -> bool) {
    let is_done = in_slices(shared, |core| Ok(slice(core)));
    is_done.expect("nothing is asked for that could be refused");
}

/// The lock, after what has ended was taken in and room was made (G1): in holds of their own, if there was anything to do. To pass the
/// lock on for nothing would make threads slower together than one is alone.
fn kept_house(shared: &Shared, now: Time) -> TimedGuard<'_, Core> {
    let mut chores = Chores::default();
    let mut before = None;
    loop {
        let mut core = shared.core.lock();
        let is_over = core.chores_slice(&mut chores, now);
        if is_over && core.is_fresh() {
            // Others may have made room in between, or closed what was in the way.
            if before.is_some_and(|before| core.looked_again != before) {
                core.look_again();
            }
            return core;
        }
        before = Some(core.looked_again);
        core.pass();
    }
}

/// Takes in what has ended, makes room and starts what waits, in as many holds as it takes (G1).
pub(super) fn keep_house(shared: &Shared, now: Time) {
    let mut chores = Chores::default();
    repeat(shared, |core| core.chores_slice(&mut chores, now));
}

/// Starts loads that wait, as many as a call may, in as many holds as it takes.
fn start_loads(shared: &Shared, now: Time) {
    let mut chores = Chores::loads();
    repeat(shared, |core| core.chores_slice(&mut chores, now));
}

/// What `attempt` comes to, once the room that it needs is made, in as many holds as it takes (CH3); and the lock. Where others use up
/// what is made again and again, it ends all the same: as busy.
pub(super) fn with_room<'a, T>(
    shared: &'a Shared,
    now: Time,
    mut core: TimedGuard<'a, Core>,
    mut attempt: impl FnMut(&mut Core) -> Result<T, Error>,
) -> (Result<T, Error>, TimedGuard<'a, Core>) {
    let mut holds_left = HOLDS_MAX;
    loop {
        let outcome = attempt(&mut core);
        if outcome.is_ok() || !core.goes_on || holds_left == 0 {
            return (outcome, core);
        }
        holds_left -= 1;
        core.pass();
        repeat(shared, |core| core.make_room_farther(now));
        core = shared.core.lock();
    }
}

/// Opens a sequence, whose tokens and names are set; says how it is to be served if that is not known.
pub(super) fn open(
    shared: &Shared,
    state: &mut SequenceState,
    urgency: Option<Urgency>,
) -> Result<(), Error> {
    let now = shared.clock.now();
    let mut core = kept_house(shared, now);
    if let Some(urgency) = urgency {
        // Named in an earlier epoch: named anew, without the lock.
        while state.epoch != core.epoch {
            let epoch = core.epoch;
            drop(core);
            state.rename(epoch, &shared.hasher);
            core = shared.core.lock();
        }
        core.course(state).urgency = urgency;
    }
    if state.blocks() <= shared.slice_blocks {
        let is_open = core.open(state, now);
        let goes_on = core.goes_on;
        if is_open.is_ok() || !goes_on {
            drop(core);
            if goes_on {
                start_loads(shared, now);
            }
            return is_open;
        }
        // Room takes more holds than this one: what is claimed is kept meanwhile. To claim it anew in each would change so many slots
        // that to tell the policy of them is all that a hold does.
    }
    drop(core);
    let mut opening = shared.opening.lock();
    loop {
        opening.clear();
        let is_open = go_on(shared, state, &mut opening, now);
        if is_open.is_ok() && opening.stage == Stage::Open {
            return Ok(());
        }
        repeat(shared, |core| core.give_up_slice(state, &mut opening));
        is_open?;
        drop(kept_house(shared, now));
    }
}

/// Opens a long sequence until it is open, or something has gone that it stands on.
fn go_on(shared: &Shared, state: &mut SequenceState, opening: &mut Opening, now: Time) -> Result<(), Error> {
    while !matches!(opening.stage, Stage::Open | Stage::Anew) {
        if opening.stage == Stage::Survey {
            opening.look_round(&shared.model);
            state.extend_entries(state.blocks());
            continue;
        }
        let core = shared.core.lock();
        let (is_done, core) = with_room(shared, now, core, |core| core.open_slice(state, opening, now));
        let has_loads = core.goes_on;
        core.pass();
        is_done?;
        // Should a later slice find no room, what it waits for is under way.
        if has_loads {
            start_loads(shared, now);
        }
    }
    Ok(())
}

/// Lets go what there is, and opens again from what is cached now.
fn reopen(shared: &Shared, state: &mut SequenceState) -> Result<(), Error> {
    repeat(shared, |core| core.let_go_slice(state, 0));
    state.slid.fill(0);
    state.cursor = 0;
    open(shared, state, None)
}

pub(super) fn next_step(
    shared: &Shared,
    state: &mut SequenceState,
    tokens_max: usize,
) -> Result<Step, Error> {
    let now = shared.clock.now();
    let mut meeting = None;
    state.computing = None;
    let mut core = kept_house(shared, now);
    loop {
        let step;
        (step, core) =
            with_room(shared, now, core, |core| core.step_slice(state, tokens_max, &mut meeting, now));
        core.note_waits(state, matches!(step, Ok(Slice::Step(Step::Wait))));
        match step? {
            Slice::Step(step) => return Ok(step),
            Slice::More => core.pass(),
            Slice::Reopen => {
                drop(core);
                reopen(shared, state)?;
            }
        }
        core = shared.core.lock();
        // Others may have made room since the last slice. One look, in however many holds, is not begun anew: it would never end.
        core.look_again();
    }
}

pub(super) fn commit(
    shared: &Shared,
    state: &mut SequenceState,
    computed: Range<usize>,
    fence: Fence,
) -> Result<(), Error> {
    let now = shared.clock.now();
    let mut left = computed;
    let mut has_begun = false;
    in_slices(shared, |core| {
        if !has_begun {
            core.begin_commit(state, &left, fence)?;
            has_begun = true;
        }
        Ok(core.commit_slice(state, &mut left, now))
    })
}

/// Takes the slots for tokens that were added; none if there are not enough for all.
pub(super) fn extend(shared: &Shared, state: &mut SequenceState) -> Result<(), Error> {
    let now = shared.clock.now();
    let before = state.entries.len();
    shared.core.lock().check_length(state.tokens.len())?;
    if before == 0 {
        // One that waits to be opened again takes its slots then.
        let is_new = state.blocks() > 0 && state.computed_tokens == 0;
        return if is_new { open(shared, state, None) } else { Ok(()) };
    }
    if before == state.blocks() {
        return Ok(());
    }
    let is_extended = loop {
        let core = kept_house(shared, now);
        let (is_done, core) = with_room(shared, now, core, |core| core.extend_slice(state, now));
        match is_done {
            Ok(false) => core.pass(),
            other => break other.map(|_| ()),
        }
    };
    if is_extended.is_err() {
        repeat(shared, |core| core.unclaim_slice(state, before));
    }
    is_extended
}

pub(super) fn truncate(shared: &Shared, state: &mut SequenceState, tokens: usize, fence: Fence) {
    let now = shared.clock.now();
    let kept = state.cut(&shared.model, tokens, fence);
    repeat(shared, |core| {
        core.now = now;
        let is_done = core.let_go_slice(state, kept);
        if is_done {
            core.end_truncate(state);
        }
        is_done
    });
    tell_changes(shared);
}

pub(super) fn fork(shared: &Shared, state: &SequenceState) -> Result<Box<SequenceState>, Error> {
    let mut child = {
        let mut core = shared.core.lock();
        core.check_fork(state)?;
        let child = core.lease_state()?;
        core.fork_course(state, &child);
        child
    };
    child.copy_request(state);
    repeat(shared, |core| core.fork_slice(state, &mut child));
    Ok(child)
}

/// Gives back all that a sequence holds, once its fence is over.
pub(super) fn close(shared: &Shared, state: Box<SequenceState>) {
    let now = shared.clock.now();
    let hit_tokens = state.hit_tokens();
    if shared.tells {
        let mut telling = shared.telling.lock();
        telling.clear();
        repeat(shared, |core| core.collect_slice(&state, &mut telling));
        tell(shared, &mut telling, state.blocks(), now);
    }
    let mut state = Some(state);
    let mut is_counted = false;
    let mut last = None;
    repeat(shared, |core| {
        let Some(open) = state.as_deref_mut() else { return true };
        core.now = now;
        if !is_counted {
            last = core.last_block(open);
            core.count_closed(open, hit_tokens);
            is_counted = true;
        }
        if !core.let_go_slice(open, 0) {
            return false;
        }
        if let Some(closed) = state.take() {
            core.end_close(closed, last);
        }
        true
    });
    tell_changes(shared);
    keep_house(shared, now);
}

/// Tells the policy of slots that have changed by now, so that nothing is decided in one hold on what has changed in many.
fn tell_changes(shared: &Shared) {
    if shared.tells {
        let mut told = ChangesTold::default();
        repeat(shared, |core| core.tell_changes_slice(&mut told));
    }
}

/// Tells the policy of a request of `length` blocks, which are collected and referred to (SL4). Names are read without the lock.
pub(super) fn tell(shared: &Shared, telling: &mut Telling, length: usize, now: Time) {
    if telling.is_empty() {
        return;
    }
    tell_changes(shared);
    {
        let mut core = shared.core.lock();
        core.now = now;
        core.begin_telling(telling);
    }
    telling.read(length);
    repeat(shared, |core| core.tell_slice(telling, length));
}

/// Gives back all that a keeper holds, and calls off its moves that nobody waits for.
pub(super) fn end_keeper(shared: &Shared, id: KeeperId) {
    repeat(shared, |core| core.end_keeper_slice(id));
    keep_house(shared, shared.clock.now());
}

/// Where the blocks of a keeper are.
pub(super) fn kept(shared: &Shared, id: KeeperId) -> Kept {
    let mut kept = Kept::default();
    let mut from = 0;
    repeat(shared, |core| core.kept_slice(id, &mut from, &mut kept));
    kept
}

/// Moves the block events that there are by now to `into`, and returns the number of the first.
pub(super) fn drain_events(shared: &Shared, into: &mut Vec<BlockEvent>) -> u64 {
    let mut first = None;
    let mut next = 0;
    let mut left = 0;
    repeat(shared, |core| {
        let events = &mut core.events;
        if first.is_none() {
            (first, next, left) = (Some(events.first()), events.first(), events.len());
        }
        // If some have given way meanwhile, the next call shows the gap.
        if events.first() != next || left == 0 {
            return true;
        }
        let count = left.min(EVENTS_A_SLICE);
        events.drain(count, into);
        next += count as u64;
        left -= count;
        left == 0
    });
    first.unwrap_or_default()
}
