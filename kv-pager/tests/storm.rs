//! Everything at once over tiers that are too small: requests, sequences that fork, grow and are cut, holds, prefetches, erasures, new
//! epochs, faults and deadlines, with moves that end a few at a time. The pager is audited after each step.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Limits, Reserves, Watermarks};
use kv_pager::cost::{CostModel, Profile};
use kv_pager::ids::{Fence, Salt, TierId, TokenId};
use kv_pager::layout::{Attention, DType, Entry, KvGroup, ModelLayout};
use kv_pager::pager::{Hold, Prefetch, Prompt, Request, Sequence, Step};
use kv_pager::policy::plan::EngineAbility;
use kv_pager::policy::{Lru, Policy, Steward, Urgency};
use kv_pager::tier::MoveFault;
use kv_pager::units::Nanos;
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use proptest::prelude::*;
use std::sync::Arc;

const TOKENS: u32 = 4;
const DEADLINE: Nanos = Nanos::new(1_000_000);

/// Which tiers, and what else is chosen at the start.
#[derive(Clone, Copy, Debug)]
struct Setting {
    is_windowed: bool,
    device: u32,
    host: u32,
    file: u32,
    low: f64,
    learns: bool,
}

#[derive(Clone, Debug)]
enum Act {
    /// A request from its start to its end, if there is room.
    Serve,
    Hold {
        is_device: bool,
    },
    Prefetch,
    Release {
        which: usize,
        prefetches: bool,
    },
    Fault {
        lane: usize,
        fault: MoveFault,
    },
    Invalidate,
    Epoch,
    Deadline,
    /// A sequence is opened whose loads are late before they have ended, and some have begun.
    Late {
        tokens: usize,
    },
    /// What has begun, and not ended, ends.
    Resume,
    Fork,
    /// A sequence that stays open.
    Open,
    Close {
        which: usize,
    },
    Append {
        tokens: usize,
    },
    Truncate {
        share: usize,
    },
    Step {
        tokens: usize,
    },
}

/// What is done, with which prompt, and which moves end then.
#[derive(Clone, Debug)]
struct Turn {
    act: Act,
    letter: u32,
    blocks: u32,
    ends: Vec<(usize, usize)>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let low = prop::sample::select(vec![0.0, 0.1, 0.25, 0.4]);
    (prop::bool::weighted(0.3), 10..20_u32, 8..20_u32, 20..80_u32, low, any::<bool>()).prop_map(
        |(is_windowed, device, host, file, low, learns)| Setting {
            is_windowed,
            device,
            host,
            file,
            low,
            learns,
        },
    )
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let fault = prop::sample::select(vec![MoveFault::Io, MoveFault::Damaged, MoveFault::Unwritable]);
    let act = prop_oneof![
        5 => Just(Act::Serve),
        1 => prop::bool::weighted(0.25).prop_map(|is_device| Act::Hold { is_device }),
        1 => Just(Act::Prefetch),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, prefetches)| Act::Release { which, prefetches }),
        1 => (any::<usize>(), fault).prop_map(|(lane, fault)| Act::Fault { lane, fault }),
        1 => prop_oneof![Just(Act::Invalidate), Just(Act::Epoch), Just(Act::Deadline)],
        2 => (1..13_usize).prop_map(|tokens| Act::Late { tokens }),
        1 => Just(Act::Resume),
        1 => Just(Act::Fork),
        1 => Just(Act::Open),
        1 => any::<usize>().prop_map(|which| Act::Close { which }),
        1 => (0..5_usize).prop_map(|tokens| Act::Append { tokens }),
        1 => any::<usize>().prop_map(|share| Act::Truncate { share }),
        3 => (1..13_usize).prop_map(|tokens| Act::Step { tokens }),
    ];
    let ends = prop::collection::vec((any::<usize>(), 1..7_usize), 0..4);
    let turn = (act, 0..8_u32, 1..9_u32, ends).prop_map(|(act, letter, blocks, ends)| Turn {
        act,
        letter,
        blocks,
        ends,
    });
    prop::collection::vec(turn, 1..150)
}

struct Storm {
    machine: Machine,
    clock: Arc<ManualClock>,
    pager: Pager,
    holds: Vec<Hold>,
    prefetches: Vec<Prefetch>,
    open: Vec<Sequence>,
}

impl Storm {
    fn new(setting: Setting) -> Self {
        let entry = Entry::KeyValue { kv_heads: 1, head_dim: 8 };
        let group = |attention| KvGroup { attention, layers: 1, entry, dtype: DType::F32 };
        let mut groups = vec![group(Attention::Full)];
        if setting.is_windowed {
            groups.push(group(Attention::SlidingWindow { window_tokens: 8, sink_tokens: 0 }));
        }
        let model = ModelLayout::new(TOKENS, groups).expect("valid");
        let Setting { device, host, file, low, .. } = setting;
        let machine = Machine::new(&model, MachineSpec { device, host, file, lane_limit: 64 });
        let config = Config {
            limits: Limits { move_deadline: DEADLINE, sequence_tokens: 1024, ..Limits::default() },
            reserves: Reserves { prefetches: 4, prefetched_share: 0.2, holds: 8, held_share: 0.7 },
            watermarks: Watermarks { low, high: low + 0.1 },
            ..Config::default()
        };
        let policy: Box<dyn Policy> =
            if setting.learns { Box::new(Steward::default()) } else { Box::new(Lru) };
        let clock = Arc::new(ManualClock::new());
        let pager =
            Pager::new(model, config, machine.backend(), policy, Arc::clone(&clock) as _).expect("it fits");
        if setting.learns {
            let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
            pager.set_costs(costs, EngineAbility { can_overlap: true, step_tokens_max: 8 });
        }
        Self { machine, clock, pager, holds: Vec::new(), prefetches: Vec::new(), open: Vec::new() }
    }

    fn serve(&self, prompt: &Prompt) {
        let Ok(mut sequence) = self.pager.open_prompt(prompt) else { return };
        for _ in 0..60 {
            match sequence.next_step(8) {
                Ok(Step::Compute(range)) => sequence.commit(range, Fence::OVER).expect("as it was told"),
                Ok(Step::Wait) => _ = self.machine.advance_all(),
                Ok(Step::Ready) => break,
                Err(_busy) => {
                    self.machine.advance_all();
                    self.pager.poll();
                }
            }
        }
        sequence.close(Fence::OVER);
    }

    fn act(&mut self, turn: &Turn) {
        let first = 1000 * turn.letter;
        let tokens: Vec<TokenId> = (first..=first + turn.blocks * TOKENS).map(TokenId).collect();
        // Sooner than any load can be there: what is not there after some time is computed instead.
        let deadline = turn.letter.is_multiple_of(2).then_some(Nanos::new(1));
        let urgency = Urgency { deadline, ..Urgency::default() };
        let prompt = self.pager.prepare(&Request::new(&tokens).with_urgency(urgency));
        match turn.act {
            Act::Serve => self.serve(&prompt),
            Act::Hold { is_device } => {
                let tier = if is_device { TierId::Device } else { TierId::Host };
                self.holds.extend(self.pager.hold(&prompt, tier));
            }
            Act::Prefetch => self.prefetches.extend(self.pager.prefetch(&prompt)),
            Act::Release { which, prefetches } => {
                if !self.holds.is_empty() {
                    self.holds.swap_remove(which % self.holds.len());
                }
                if prefetches {
                    self.prefetches.clear();
                }
            }
            Act::Fault { lane, fault } => {
                self.end(lane, 1, Fate::Failed(fault));
            }
            Act::Invalidate => _ = self.pager.invalidate(Salt::default()).expect("nothing is refused"),
            Act::Epoch => _ = self.pager.advance_epoch(),
            Act::Late { tokens } => {
                self.open.extend(self.pager.open_prompt(&prompt));
                for lane in 0..self.machine.lanes().len() {
                    self.end(lane, 2, Fate::Stalled);
                }
                for _ in 0..3 {
                    self.clock.advance(Nanos::new(DEADLINE.as_u64() / 20));
                    self.step(tokens);
                }
                self.open.truncate(3);
            }
            Act::Resume => self.machine.lanes().iter().for_each(|lane| lane.release_stalled()),
            Act::Deadline => self.clock.advance(Nanos::new(DEADLINE.as_u64() + 1)),
            Act::Fork => {
                let fork = self.open.last().and_then(|last| last.fork().ok());
                self.open.extend(fork);
            }
            Act::Open if self.open.len() < 3 => self.open.extend(self.pager.open_prompt(&prompt)),
            Act::Close { which } if !self.open.is_empty() => {
                let which = which % self.open.len();
                self.open.swap_remove(which).close(Fence::OVER);
            }
            Act::Append { tokens: count } => {
                for sequence in &mut self.open {
                    // There may be no room.
                    sequence.append(&tokens[..count.min(tokens.len())]).ok();
                }
            }
            Act::Truncate { share } => {
                for sequence in self.open.iter_mut().filter(|sequence| !sequence.is_empty()) {
                    sequence.truncate(1 + share % sequence.len(), Fence::OVER);
                }
            }
            Act::Step { tokens } => self.step(tokens),
            Act::Open | Act::Close { .. } => {}
        }
    }

    /// Every open sequence computes, as far as it can.
    fn step(&mut self, tokens: usize) {
        for sequence in &mut self.open {
            if let Ok(Step::Compute(range)) = sequence.next_step(tokens) {
                sequence.commit(range, Fence::OVER).expect("as it was told");
            }
            sequence.check();
        }
    }

    fn end(&self, lane: usize, count: usize, fate: Fate) -> usize {
        let lanes = self.machine.lanes();
        lanes[lane % lanes.len()].advance(count, |_| fate)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn nothing_is_lost_left_behind_or_broken(setting in settings(), turns in turns()) {
        let mut storm = Storm::new(setting);
        for turn in &turns {
            storm.act(turn);
            for (lane, count) in &turn.ends {
                storm.end(*lane, *count, Fate::Done);
                storm.pager.poll();
            }
            storm.pager.check();
        }
    }
}
