//! What may happen to a pager, in the words of its users and of its machine.

use kv_pager::tier::MoveFault;
use proptest::prelude::*;

/// One thing that happens. Numbers choose among what is there, modulo how much there is.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "each variant's doc names its fields")]
pub enum Operation {
    /// A request with these blocks, all of whose tokens are the letter, and a tail.
    Open { letters: Vec<u32>, tail: usize, salt: u64 },
    /// The same, of high priority, or with a time to live of so many nanoseconds, or both.
    OpenFor { letters: Vec<u32>, salt: u64, is_high: bool, time_to_live: Option<u64> },
    /// A salt may have so many blocks on the device, or in the host, or as many as there are.
    Quota { salt: u64, slots: Option<u32>, is_device: bool },
    /// Time passes.
    Time { ns: u64 },
    /// The next step of a sequence, and its commit: all of it, or its first `part` tokens.
    Step { sequence: usize, tokens_max: usize, part: usize },
    /// More tokens.
    Append { sequence: usize, letter: u32, count: usize },
    /// Another sequence with the same tokens.
    Fork { sequence: usize },
    /// Fewer tokens.
    Truncate { sequence: usize, tokens: usize },
    /// The end of a sequence, once a fence is over.
    Close { sequence: usize },
    /// The next moves of a lane end well.
    Lane { lane: usize, count: usize },
    /// The next move of a lane fails.
    Fault { lane: usize, fault: MoveFault },
    /// The next move of a lane begins and does not end.
    Stall { lane: usize },
    /// What stalled on a lane ends, late.
    Release { lane: usize },
    /// A stream of the device reaches its next fences.
    Compute { stream: usize, fences: u64 },
    /// A stream hangs: its fences are not over while anybody asks. The first never does.
    Hang { stream: usize },
    /// All blocks of a salt are erased.
    Invalidate { salt: u64 },
    /// A request is queued, and its prompt prefetched.
    Prefetch { letters: Vec<u32>, salt: u64 },
    /// A prefetch is called off.
    CallOff { prefetch: usize },
    /// A prompt is to stay on the device, or in the host.
    Hold { letters: Vec<u32>, salt: u64, is_device: bool },
    /// What a salt has is to stay on the device, or in the host, so many blocks of it, or all.
    HoldSalt { salt: u64, blocks: Option<u32>, is_device: bool },
    /// A hold is released.
    ReleaseHold { hold: usize },
    /// The weights change.
    Epoch,
    /// So much time passes that what is under way is given up.
    Deadline,
}

/// Any of them, as often as it happens.
pub fn operation() -> impl Strategy<Value = Operation> {
    let sequence = 0..8_usize;
    let lane = 0..5_usize;
    let fault = prop_oneof![
        4 => Just(MoveFault::Io),
        4 => Just(MoveFault::Damaged),
        1 => Just(MoveFault::Lost),
        1 => Just(MoveFault::TimedOut),
        1 => Just(MoveFault::Unwritable)
    ];
    prop_oneof![
        4 => (prop::collection::vec(0..2_u32, 0..8), 0..4_usize, 0..2_u64)
            .prop_map(|(letters, tail, salt)| Operation::Open { letters, tail, salt }),
        3 => (prop::collection::vec(0..2_u32, 1..8), 0..2_u64, any::<bool>(), prop::option::of(0..500_u64)).prop_map(
            |(letters, salt, is_high, time_to_live)| Operation::OpenFor { letters, salt, is_high, time_to_live }
        ),
        1 => (0..2_u64, prop::option::of(0..8_u32), any::<bool>())
            .prop_map(|(salt, slots, is_device)| Operation::Quota { salt, slots, is_device }),
        1 => (1..400_u64).prop_map(|ns| Operation::Time { ns }),
        8 => (sequence.clone(), 1..20_usize, 1..20_usize)
            .prop_map(|(sequence, tokens_max, part)| Operation::Step { sequence, tokens_max, part }),
        3 => (sequence.clone(), 0..2_u32, 1..6_usize)
            .prop_map(|(sequence, letter, count)| Operation::Append { sequence, letter, count }),
        1 => sequence.clone().prop_map(|sequence| Operation::Fork { sequence }),
        1 => (sequence.clone(), 0..32_usize).prop_map(|(sequence, tokens)| Operation::Truncate { sequence, tokens }),
        3 => sequence.prop_map(|sequence| Operation::Close { sequence }),
        8 => (lane.clone(), 1..10_usize).prop_map(|(lane, count)| Operation::Lane { lane, count }),
        1 => (lane.clone(), fault).prop_map(|(lane, fault)| Operation::Fault { lane, fault }),
        1 => lane.clone().prop_map(|lane| Operation::Stall { lane }),
        1 => lane.prop_map(|lane| Operation::Release { lane }),
        6 => (0..6_usize, 1..4_u64).prop_map(|(stream, fences)| Operation::Compute { stream, fences }),
        1 => (0..6_usize).prop_map(|stream| Operation::Hang { stream }),
        1 => Just(Operation::Deadline),
        1 => (0..2_u64).prop_map(|salt| Operation::Invalidate { salt }),
        1 => Just(Operation::Epoch),
        2 => (prop::collection::vec(0..2_u32, 0..8), 0..2_u64)
            .prop_map(|(letters, salt)| Operation::Prefetch { letters, salt }),
        1 => (0..4_usize).prop_map(|prefetch| Operation::CallOff { prefetch }),
        1 => (prop::collection::vec(0..2_u32, 1..8), 0..2_u64, any::<bool>())
            .prop_map(|(letters, salt, is_device)| Operation::Hold { letters, salt, is_device }),
        1 => (0..2_u64, prop::option::of(0..6_u32), any::<bool>())
            .prop_map(|(salt, blocks, is_device)| Operation::HoldSalt { salt, blocks, is_device }),
        1 => (0..4_usize).prop_map(|hold| Operation::ReleaseHold { hold }),
    ]
}

/// Reads operations off a fuzzer's bytes, until there are none left.
pub fn decode(bytes: &[u8]) -> Vec<Operation> {
    let mut bytes = bytes.iter().copied();
    let mut operations = Vec::new();
    while let Some(operation) = decode_one(&mut bytes) {
        operations.push(operation);
    }
    operations
}

/// Up to seven letters out of a byte.
fn letters_of(byte: usize) -> Vec<u32> {
    (0..byte % 8).map(|bit| u32::from(byte >> bit & 1 == 1)).collect()
}

fn decode_one(bytes: &mut impl Iterator<Item = u8>) -> Option<Operation> {
    let kind = bytes.next()?;
    let mut number = || bytes.next().map(usize::from);
    Some(match kind % 32 {
        0..3 => {
            let (letters, tail, salt) = (number()?, number()?, number()?);
            Operation::Open { letters: letters_of(letters), tail: tail % 4, salt: (salt % 2) as u64 }
        }
        3..9 => {
            Operation::Step { sequence: number()?, tokens_max: number()? % 20 + 1, part: number()? % 20 + 1 }
        }
        9..11 => Operation::Append {
            sequence: number()?,
            letter: u32::from(number()? % 2 == 1),
            count: number()? % 6 + 1,
        },
        11 => Operation::Fork { sequence: number()? },
        12 => Operation::Truncate { sequence: number()?, tokens: number()? % 32 },
        13..15 => Operation::Close { sequence: number()? },
        15..19 => Operation::Lane { lane: number()?, count: number()? % 10 + 1 },
        19 => {
            use MoveFault::{Damaged, Io, Lost, TimedOut, Unwritable};
            let faults = [Io, Damaged, Lost, TimedOut, Unwritable];
            Operation::Fault { lane: number()?, fault: faults[number()? % faults.len()] }
        }
        20 => Operation::Stall { lane: number()? },
        21 => Operation::Release { lane: number()? },
        22 if number()? % 16 == 1 => Operation::Epoch,
        22 if number()? % 8 == 0 => Operation::Invalidate { salt: (number()? % 2) as u64 },
        22 => {
            let number = number()?;
            Operation::Compute { stream: number / 4, fences: (number % 4 + 1) as u64 }
        }
        23 if number()? % 2 == 0 => {
            let (rest, blocks) = (number()?, u32::try_from(number()? % 7).expect("small"));
            let blocks = (blocks < 6).then_some(blocks);
            Operation::HoldSalt { salt: (rest % 2) as u64, blocks, is_device: rest & 2 == 2 }
        }
        24 => Operation::Prefetch { letters: letters_of(number()?), salt: (number()? % 2) as u64 },
        25 => Operation::CallOff { prefetch: number()? },
        26 => {
            let (letters, rest) = (letters_of(number()?), number()?);
            Operation::Hold { letters, salt: (rest % 2) as u64, is_device: rest & 2 == 2 }
        }
        28 | 29 => {
            let (letters, rest, time) = (letters_of(number()?), number()?, number()?);
            let time_to_live = (rest & 4 == 4).then_some(time as u64);
            Operation::OpenFor { letters, salt: (rest % 2) as u64, is_high: rest & 2 == 2, time_to_live }
        }
        30 => {
            let (rest, slots) = (number()?, u32::try_from(number()? % 9).expect("small"));
            let slots = (slots < 8).then_some(slots);
            Operation::Quota { salt: (rest % 2) as u64, slots, is_device: rest & 2 == 2 }
        }
        31 if number()? % 8 == 1 => Operation::Hang { stream: number()? },
        31 => Operation::Time { ns: number()? as u64 },
        27 => Operation::ReleaseHold { hold: number()? },
        _ => Operation::Deadline,
    })
}
