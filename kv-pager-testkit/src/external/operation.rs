//! What may happen to a pager over an engine's own slots.

use kv_pager::tier::MoveFault;
use proptest::prelude::*;

/// What a prompt is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Worth {
    /// Whether its priority is high.
    pub is_high: bool,
    /// How many nanoseconds its blocks live, if no others use them.
    pub time_to_live: Option<u64>,
}

/// One thing that happens. Numbers choose among what is there, modulo how much there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum ExternalOperation {
    /// Blocks of a prompt, whose tokens are the letters, are computed from one on and offloaded.
    Offload { letters: Vec<u32>, salt: u64, from: usize, worth: Worth },
    /// Blocks of a prompt are asked for, from one on.
    Onboard { letters: Vec<u32>, salt: u64, from: usize, worth: Worth },
    /// A prompt is looked up.
    Lookup { letters: Vec<u32>, salt: u64 },
    /// The engine looks at its tickets, and reuses the slots of those that have ended.
    Look,
    /// Everything that can end does, and the engine looks.
    Settle,
    /// The engine drops one of its deliveries: it never hears of its slots again.
    Forget { which: usize },
    /// A stream reaches its next fences.
    Compute { stream: usize, fences: u64 },
    /// A stream hangs: its fences are not over while anybody asks. The first never does.
    Hang { stream: usize },
    /// The next moves of a lane end well.
    Lane { lane: usize, count: usize },
    /// The next move of a lane fails.
    Fault { lane: usize, fault: MoveFault },
    /// The next move of a lane begins and does not end.
    Stall { lane: usize },
    /// What stalled on any lane ends, late.
    Release,
    /// So much time passes that what is under way is given up.
    Deadline,
    /// All blocks of a salt are erased.
    Invalidate { salt: u64 },
    /// The weights change.
    Epoch,
}

/// Any of them, as often as it happens.
pub fn external_operation() -> impl Strategy<Value = ExternalOperation> {
    use ExternalOperation::{
        Compute, Deadline, Epoch, Fault, Forget, Hang, Invalidate, Lane, Look, Lookup, Offload, Onboard,
        Release, Settle, Stall,
    };
    let named = || {
        let from = prop_oneof![3 => Just(0), 1 => 1..10_usize];
        (prop::collection::vec(0..2_u32, 1..14), prop_oneof![3 => Just(0), 1 => Just(1_u64)], from)
    };
    let time_to_live = prop_oneof![2 => Just(None), 1 => (0..3_000_u64).prop_map(Some)];
    let worth =
        (any::<bool>(), time_to_live).prop_map(|(is_high, time_to_live)| Worth { is_high, time_to_live });
    let lane = 0..5_usize;
    let fault = prop_oneof![
        4 => Just(MoveFault::Io),
        4 => Just(MoveFault::Damaged),
        1 => Just(MoveFault::Lost),
        1 => Just(MoveFault::TimedOut),
        2 => Just(MoveFault::Unwritable)
    ];
    prop_oneof![
        8 => (named(), worth.clone())
            .prop_map(|((letters, salt, from), worth)| Offload { letters, salt, from, worth }),
        8 => (named(), worth)
            .prop_map(|((letters, salt, from), worth)| Onboard { letters, salt, from, worth }),
        3 => named().prop_map(|(letters, salt, _)| Lookup { letters, salt }),
        4 => Just(Look),
        3 => Just(Settle),
        1 => (0..4_usize).prop_map(|which| Forget { which }),
        8 => (0..6_usize, 1..4_u64).prop_map(|(stream, fences)| Compute { stream, fences }),
        1 => (0..6_usize).prop_map(|stream| Hang { stream }),
        10 => (lane.clone(), 1..8_usize).prop_map(|(lane, count)| Lane { lane, count }),
        1 => (lane.clone(), fault).prop_map(|(lane, fault)| Fault { lane, fault }),
        1 => lane.prop_map(|lane| Stall { lane }),
        1 => Just(Release),
        1 => Just(Deadline),
        1 => (0..2_u64).prop_map(|salt| Invalidate { salt }),
        1 => Just(Epoch),
    ]
}
