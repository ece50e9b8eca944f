//! Costs that are learnt while requests are served, on a machine in virtual time that takes exactly what its profile says.

use kv_pager::clock::{Clock, Time};
use kv_pager::config::{Config, Limits};
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, Load, Profile, TokenSpan};
use kv_pager::error::ErrorKind;
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Forecast, Pager, Request, Sequence, Step};
use kv_pager::policy::Steward;
use kv_pager::policy::plan::EngineAbility;
use kv_pager::tier::LaneEnds;
use kv_pager::units::{Bytes, Nanos};
use std::sync::Arc;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const STEP_TOKENS: u32 = 8192;

/// A pager over a machine whose host memory is quantised.
#[derive(Debug)]
struct World {
    machine: VirtualMachine,
    pager: Pager,
    profile: Profile,
}

impl World {
    /// Codecs take `codec` times what they take on the machine of the shipped profile.
    fn new(codec: f64) -> Self {
        let mut profile = Profile::h200_llama3_8b();
        for cost in &mut profile.codecs {
            cost.encode_ns_per_byte *= codec;
            cost.decode_ns_per_byte *= codec;
        }
        // What meets the opposite lane takes longer than its profile says.
        profile.lanes.iter_mut().for_each(|lane| lane.both_ways_factor = 1.0);
        let model = shape("llama3-8b").expect("known");
        let size = |tier, gib: u64, format| VirtualTierSize { tier, bytes: Bytes::mib(gib << 10), format };
        let sizes = [size(TierId::Device, 1, Format::Raw), size(TierId::Host, 16, Format::Int8)];
        let limits = Limits { sequence_tokens: 4096, ..Limits::default() };
        let machine = VirtualMachine::new(&model, &profile, &sizes, limits.moves_queued as usize);
        let machine = machine.expect("the tiers hold blocks");
        let clock: Arc<dyn Clock> = machine.clock();
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        let config = Config { limits, ..Config::default() };
        let pager = Pager::new(model, config, backend, Box::new(Steward::default()), clock).expect("fits");
        let engine = EngineAbility { can_overlap: true, step_tokens_max: STEP_TOKENS };
        pager.set_costs(CostModel::new(&profile).expect("plausible"), engine);
        Self { machine, pager, profile }
    }

    /// Lets the next thing happen.
    fn go_on(&self) {
        let next = self.machine.next_event();
        let later = self.machine.now().after(Nanos::from_millis(1));
        self.machine.run_until(if next < Time::NEVER { next } else { later });
        self.pager.poll();
    }

    fn open(&self, tokens: &[TokenId]) -> Sequence {
        for _ in 0..1000 {
            match self.pager.open(&Request::new(tokens)) {
                Ok(sequence) => return sequence,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
            }
            self.go_on();
        }
        panic!("never opened: {:?}", self.pager.open(&Request::new(tokens)).err());
    }

    /// Serves a request alone: what was planned and what came of it, where blocks were loaded.
    fn serve(&self, tokens: &[TokenId]) -> Option<Forecast> {
        let prefill = self.profile.prefill.cost();
        let mut sequence = self.open(tokens);
        loop {
            match sequence.next_step(STEP_TOKENS as usize).expect("room") {
                Step::Compute(range) => {
                    let tokens = [range.start, range.end].map(|token| u32::try_from(token).expect("few"));
                    let took = prefill.step(TokenSpan::between(tokens[0], tokens[1]));
                    self.machine.run_until(self.machine.now().after(took));
                    self.pager.poll();
                    sequence.observe(range.clone(), took);
                    sequence.commit(range, Fence::OVER).expect("as told");
                }
                Step::Wait => self.go_on(),
                Step::Ready => break,
            }
        }
        let forecast = sequence.forecast();
        sequence.close(Fence::OVER);
        while self.machine.next_event() < Time::NEVER {
            self.go_on();
        }
        forecast.filter(|forecast| forecast.plan.load.blocks() > 0)
    }
}

/// A prompt of one of 20 users: together they are more than the device holds.
fn prompt(user: u32) -> Vec<TokenId> {
    (0..100 * 16 + 8).map(|token| TokenId(user * 100_000 + token)).collect()
}

#[test]
fn a_lane_with_a_codec_that_takes_what_it_should_is_predicted_so_however_much_it_has_learnt() {
    for codec in [1.0, 4.0, 40.0] {
        let world = World::new(codec);
        let load = Load { bytes: Bytes::mib(100), copies: 7 };
        let busy = || world.pager.costs().expect("set").lane(UP).expect("measured").busy(load).as_secs_f64();
        let at_first = busy();
        let mut ratios = Vec::new();
        for round in 0..200 {
            let forecast = world.serve(&prompt(round % 20));
            ratios.extend(
                forecast.map(|made| made.outcome.load.as_secs_f64() / made.plan.predicted.load.as_secs_f64()),
            );
        }
        assert!(ratios.len() > 150, "{codec}: {} loads", ratios.len());
        for ratio in &ratios[ratios.len() - 20..] {
            assert!((0.95..1.05).contains(ratio), "{codec}: a load took {ratio} times what was predicted");
        }
        let learnt = busy() / at_first;
        assert!((0.95..1.05).contains(&learnt), "{codec}: the lane takes {learnt} times what it takes");
        // Saved and loaded, it is the same lane.
        let costs = world.pager.costs().expect("set");
        let mut again = CostModel::new(&costs.update(&world.profile).expect("plausible")).expect("plausible");
        again.set_formats(&shape("llama3-8b").expect("known"), [Format::Raw, Format::Int8, Format::Raw]);
        let ratio = again.lane(UP).expect("measured").busy(load).as_secs_f64() / busy();
        assert!((0.99..1.01).contains(&ratio), "{codec}: {ratio} after it was saved");
    }
}
