//! Sequences: the calls of an engine whose device slots the pager owns.
//! Uses `pager`, `prompt`, `status`, `edge`. Known by: C.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::given;
use crate::pager::KvpPager;
use crate::prompt::{KvpPrompt, read_tokens};
use crate::status::{Failure, KvpStatus, guarded};
use kv_pager::ids::{Fence, GroupId};
use kv_pager::pager::{Sequence, Step};
use kv_pager::sync::{Mutex, MutexGuard};
use kv_pager::units::Nanos;
use std::mem::MaybeUninit;

/// An open request. Owned by one thread at a time, and may move between them.
#[derive(Debug)]
pub struct KvpSequence {
    /// Never waited for: a lock that is taken is a caller's mistake.
    sequence: Mutex<Sequence>,
    groups: usize,
}

impl KvpSequence {
    fn lock(&self) -> Result<MutexGuard<'_, Sequence>, Failure> {
        self.sequence.try_lock().ok_or_else(|| Failure::in_use("sequence"))
    }

    fn into_raw(sequence: Sequence, groups: usize) -> *mut Self {
        Box::into_raw(Box::new(Self { sequence: Mutex::new(sequence), groups }))
    }
}

/// What the engine does next for a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpStepKind {
    /// Compute K and V of the tokens `first..end`, through the tables as they are now, then commit.
    Compute = 0,
    /// Moves are under way for it; wait, then ask again.
    Wait = 1,
    /// All tokens given so far have been computed or loaded.
    Ready = 2,
}

/// A step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpStep {
    /// What to do.
    pub kind: KvpStepKind,
    /// The first token to compute; 0 unless something is to be computed.
    pub first: usize,
    /// The one after the last.
    pub end: usize,
}

/// What became of a sequence so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpReport {
    /// Tokens of blocks that were cached, by the tier they came from.
    pub hit_tokens: [u64; 3],
    /// Tokens that the engine computed.
    pub computed_tokens: u64,
}

/// Opens a sequence for a prompt: matches its prefix, holds or loads what was found, and takes device slots for the rest. Never
/// blocks. End it with `kvp_sequence_close` or `kvp_sequence_drop`.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_open(
    pager: Option<&KvpPager>,
    prompt: Option<&KvpPrompt>,
    sequence: Option<&mut MaybeUninit<*mut KvpSequence>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let sequence = given(sequence, "sequence")?;
        let opened = pager.pager.open_prompt(&prompt.prompt)?;
        sequence.write(KvpSequence::into_raw(opened, pager.model.groups().len()));
        Ok(())
    })
}

/// What to do next. A range to compute has at most `tokens_max` tokens, at least one. Read the tables after this call: they may
/// have changed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_next_step(
    sequence: Option<&KvpSequence>,
    tokens_max: usize,
    step: Option<&mut MaybeUninit<KvpStep>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, told) = (given(sequence, "sequence")?, given(step, "step")?);
        let (kind, range) = match sequence.lock()?.next_step(tokens_max)? {
            Step::Compute(range) => (KvpStepKind::Compute, range),
            Step::Wait => (KvpStepKind::Wait, 0..0),
            Step::Ready => (KvpStepKind::Ready, 0..0),
        };
        told.write(KvpStep { kind, first: range.start, end: range.end });
        Ok(())
    })
}

/// The block table of a group: one device slot for each block that the tokens reach, in order; `KVP_SLOT_NONE` where a window
/// needs none. It is the sequence's own and good until `next_step`, `commit`, `append`, `truncate`, `close` or `drop`.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_table(
    sequence: Option<&KvpSequence>,
    group: u32,
    slots: Option<&mut MaybeUninit<*const u32>>,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let sequence = given(sequence, "sequence")?;
        let (slots, len) = (given(slots, "slots")?, given(len, "len")?);
        let group = group_of(group, sequence.groups)?;
        let locked = sequence.lock()?;
        let table = locked.table(group);
        // A slot has the layout of its number.
        slots.write(table.as_ptr().cast::<u32>());
        len.write(table.len());
        Ok(())
    })
}

/// The group of that number.
pub(crate) fn group_of(number: u32, groups: usize) -> Result<GroupId, Failure> {
    if (number as usize) < groups {
        return Ok(GroupId::from_index(number as usize));
    }
    Err(Failure::argument(format!("group {number} of a model of {groups} groups")))
}

/// Fences of other sequences' compute that wrote what was found on the device: the engine's stream waits for them before it reads.
/// Good as long as a table is.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_waits(
    sequence: Option<&KvpSequence>,
    fences: Option<&mut MaybeUninit<*const u64>>,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let sequence = given(sequence, "sequence")?;
        let (fences, len) = (given(fences, "fences")?, given(len, "len")?);
        let locked = sequence.lock()?;
        let waits = locked.waits();
        // A fence has the layout of its number.
        fences.write(waits.as_ptr().cast::<u64>());
        len.write(waits.len());
        Ok(())
    })
}

/// Says that K and V of the tokens `first..end`, the range of the last step or a front of it, are in the slots once `fence` is over.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_commit(
    sequence: Option<&KvpSequence>,
    first: usize,
    end: usize,
    fence: u64,
) -> KvpStatus {
    guarded(|| {
        let sequence = given(sequence, "sequence")?;
        if first > end {
            return Err(Failure::argument(format!("a range from {first} to {end}")));
        }
        sequence.lock()?.commit(first..end, Fence(fence))?;
        Ok(())
    })
}

/// Says that computing the tokens `first..end` took so long, in one step: the costs that plans are made by learn from it. A step of
/// fewer tokens than the smallest that was measured, such as one that decodes, teaches nothing.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_observe(
    sequence: Option<&KvpSequence>,
    first: usize,
    end: usize,
    took_ns: u64,
) -> KvpStatus {
    guarded(|| {
        let sequence = given(sequence, "sequence")?;
        if first >= end || u32::try_from(end).is_err() {
            return Err(Failure::argument(format!("tokens from {first} to {end}")));
        }
        sequence.lock()?.observe(first..end, Nanos::new(took_ns));
        Ok(())
    })
}

/// Adds tokens, and takes the slots that they need; all or nothing.
///
/// # Safety
/// A1: `tokens` points to `tokens_len` tokens.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_sequence_append(
    sequence: Option<&KvpSequence>,
    tokens: *const u32,
    tokens_len: usize,
) -> KvpStatus {
    guarded(|| {
        let sequence = given(sequence, "sequence")?;
        // SAFETY: A1, given on by this function's own contract.
        let tokens = unsafe { read_tokens(tokens, tokens_len) }?;
        sequence.lock()?.append(&tokens)?;
        Ok(())
    })
}

/// Another sequence with the same tokens, which shares all blocks. Not between a step to compute and its commit.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_fork(
    sequence: Option<&KvpSequence>,
    child: Option<&mut MaybeUninit<*mut KvpSequence>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, child) = (given(sequence, "sequence")?, given(child, "child")?);
        let forked = sequence.lock()?.fork()?;
        child.write(KvpSequence::into_raw(forked, sequence.groups));
        Ok(())
    })
}

/// Gives up all tokens from `tokens` on; their slots may be reused once `fence`, the last compute that uses them, is over.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_truncate(
    sequence: Option<&KvpSequence>,
    tokens: usize,
    fence: u64,
) -> KvpStatus {
    guarded(|| {
        given(sequence, "sequence")?.lock()?.truncate(tokens, Fence(fence));
        Ok(())
    })
}

/// Blocks until something has ended since the last `next_step`, or for `timeout_ns`. Says in `has_progressed`, unless it is NULL,
/// whether something did.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_wait(
    sequence: Option<&KvpSequence>,
    timeout_ns: u64,
    has_progressed: Option<&mut MaybeUninit<bool>>,
) -> KvpStatus {
    guarded(|| {
        let has = given(sequence, "sequence")?.lock()?.wait(Nanos::new(timeout_ns));
        if let Some(told) = has_progressed {
            told.write(has);
        }
        Ok(())
    })
}

/// How many tokens it has been given.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_len(
    sequence: Option<&KvpSequence>,
    tokens: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, tokens) = (given(sequence, "sequence")?, given(tokens, "tokens")?);
        tokens.write(sequence.lock()?.len());
        Ok(())
    })
}

/// How many leading tokens were found cached when it was opened, wherever; what fails to load is computed all the same.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_matched_tokens(
    sequence: Option<&KvpSequence>,
    tokens: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, tokens) = (given(sequence, "sequence")?, given(tokens, "tokens")?);
        tokens.write(sequence.lock()?.matched_tokens());
        Ok(())
    })
}

/// What became of it so far.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_report(
    sequence: Option<&KvpSequence>,
    report: Option<&mut MaybeUninit<KvpReport>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, told) = (given(sequence, "sequence")?, given(report, "report")?);
        let report = sequence.lock()?.report();
        told.write(KvpReport { hit_tokens: report.hit_tokens, computed_tokens: report.computed_tokens });
        Ok(())
    })
}

/// The tier that the bytes of block `block` came from: a `KvpTier`; or `UINT32_MAX` if this sequence computes them, or waits for
/// them still.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_block_source(
    sequence: Option<&KvpSequence>,
    block: usize,
    tier: Option<&mut MaybeUninit<u32>>,
) -> KvpStatus {
    guarded(|| {
        let (sequence, tier) = (given(sequence, "sequence")?, given(tier, "tier")?);
        let source = sequence.lock()?.block_source(block);
        tier.write(source.map_or(u32::MAX, |tier| tier as u32));
        Ok(())
    })
}

/// Ends it: its blocks stay cached, its slots may be reused once `fence`, the last compute that uses them, is over. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_close(sequence: Option<Box<KvpSequence>>, fence: u64) -> KvpStatus {
    guarded(|| {
        if let Some(sequence) = sequence {
            sequence.sequence.into_inner().close(Fence(fence));
        }
        Ok(())
    })
}

/// Ends it behind the last fence that it was given. Compute that was launched and not committed needs `kvp_sequence_close`. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_sequence_drop(sequence: Option<Box<KvpSequence>>) -> KvpStatus {
    guarded(|| {
        drop(sequence);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{KvpSequence, kvp_sequence_len};
    use crate::status::{KvpErrorCode, KvpStatus, kvp_last_error_code};
    use kv_pager::clock::MonotonicClock;
    use kv_pager::ids::TokenId;
    use kv_pager::layout::shape;
    use kv_pager::pager::{Backend, Request};
    use kv_pager::policy::Lru;
    use kv_pager::sync::Mutex;
    use kv_pager::{Config, Pager};
    use kv_pager_cpu::{CpuBackend, CpuSpec};
    use std::mem::MaybeUninit;
    use std::sync::Arc;

    #[test]
    fn a_sequence_that_another_thread_uses_is_refused() {
        let model = shape("tiny").expect("known");
        let cpu = CpuBackend::new(&CpuSpec::new(model.clone(), vec![4])).expect("small");
        let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
        let clock = Arc::new(MonotonicClock::new());
        let pager = Pager::new(model, Config::default(), backend, Box::new(Lru), clock).expect("it fits");
        let sequence = pager.open(&Request::new(&[TokenId(1)])).expect("room");
        let sequence = KvpSequence { sequence: Mutex::new(sequence), groups: 1 };
        let used = sequence.sequence.lock();
        let mut len = MaybeUninit::uninit();
        assert_eq!(kvp_sequence_len(Some(&sequence), Some(&mut len)), KvpStatus::Bug);
        assert_eq!(kvp_last_error_code(), KvpErrorCode::InUse);
        drop(used);
        assert_eq!(kvp_sequence_len(Some(&sequence), Some(&mut len)), KvpStatus::Ok);
    }
}
