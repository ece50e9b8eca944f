use super::both_ways::Measured;
use super::{LaneProbe, PrefillProbe, measure_prefill};
use crate::clock::{Clock, ManualClock, Time};
use crate::cost::fit::{PrefillSample, fit_lane, fit_prefill};
use crate::cost::machine::{VirtualMachine, VirtualTierSize};
use crate::cost::{Load, Node, PrefillCost, Profile, TokenSpan};
use crate::error::Error;
use crate::ids::TierId;
use crate::layout::{Format, shape};
use crate::tier::{LaneEnds, Ticket};
use crate::units::{Bytes, Nanos};

#[test]
fn a_virtual_machine_measures_as_its_profile_says() {
    let profile = Profile::h200_llama3_8b();
    let model = shape("llama3-8b").expect("known");
    let sizes =
        TierId::ALL.map(|tier| VirtualTierSize { tier, bytes: Bytes::mib(1024), format: Format::Raw });
    let machine = VirtualMachine::new(&model, &profile, &sizes, 5000).expect("the tiers hold blocks");
    let (tiers, clock) = (machine.tiers(), machine.clock());
    let run = |ticket: &Ticket| {
        while !ticket.is_over() {
            machine.run_until(machine.next_event());
        }
    };
    for (lane, measured) in machine.lanes().iter().zip(&profile.lanes) {
        let ends = lane.ends();
        let tier = |id: TierId| &*tiers[id.index()];
        let probe =
            LaneProbe { lane: &**lane, source: tier(ends.source), target: tier(ends.target), clock: &*clock };
        probe.fill(run).expect("virtual moves end well");
        let started = clock.now();
        let budget = Nanos::from_millis(4_000);
        let samples = probe.measure(budget, run).expect("virtual moves end well");
        assert!(clock.now().since(started).as_secs_f64() < 4.5, "{ends}: the budget is kept");
        let found = fit_lane(&samples).expect("enough samples");
        for chunks in [1, 4, 32] {
            let bytes = Bytes::new(measured.chunk_bytes.as_u64() * chunks);
            let load = Load { bytes, copies: u32::try_from(chunks).expect("few") };
            let error = found.busy_ns(load) / measured.cost().busy_ns(load) - 1.0;
            assert!(error.abs() < 0.03, "{ends}, {chunks} chunks: {error}");
        }
    }
}

#[test]
fn opposite_lanes_are_found_to_slow_each_other_as_the_profile_says() {
    let mut profile = Profile::h200_llama3_8b();
    profile.lanes.iter_mut().for_each(|lane| {
        lane.both_ways_factor = if lane.ends.source < lane.ends.target { 1.3 } else { 1.1 };
    });
    let model = shape("llama3-8b").expect("known");
    let sizes = TierId::ALL.map(|tier| VirtualTierSize { tier, bytes: Bytes::mib(256), format: Format::Raw });
    let machine = VirtualMachine::new(&model, &profile, &sizes, 5000).expect("the tiers hold blocks");
    let (tiers, clock, lanes) = (machine.tiers(), machine.clock(), machine.lanes());
    let measured = |ends: LaneEnds| {
        let lane = lanes.iter().find(|lane| lane.ends() == ends).expect("it is there");
        let cost = profile.lanes.iter().find(|lane| lane.ends == ends).expect("it is there").cost();
        let [source, target] = [ends.source, ends.target].map(|id| &*tiers[id.index()]);
        Measured { probe: LaneProbe { lane: &**lane, source, target, clock: &*clock }, cost }
    };
    let run = |ticket: &Ticket| {
        while !ticket.is_over() {
            machine.run_until(machine.next_event());
        }
    };
    for of in profile.lanes.iter().filter(|lane| lane.ends.source != lane.ends.target) {
        let opposite = LaneEnds { source: of.ends.target, target: of.ends.source };
        let started = clock.now();
        let budget = Nanos::from_millis(2_500);
        let found = measured(of.ends).slowdown(&measured(opposite), budget, run).expect("moves end well");
        assert!((found / of.both_ways_factor - 1.0).abs() < 0.03, "{}: {found}", of.ends);
        assert!(clock.now().since(started).as_secs_f64() < 3.5, "{}: the budget is kept", of.ends);
    }
}

/// An engine that takes what a cost says.
#[derive(Debug)]
struct Modelled<'a> {
    cost: PrefillCost,
    clock: &'a ManualClock,
}

impl PrefillProbe for Modelled<'_> {
    fn step_tokens_max(&self) -> u32 {
        2048
    }

    fn prompt_tokens_max(&self) -> u32 {
        16_384
    }

    fn window_tokens(&self) -> Option<u32> {
        self.cost.window_tokens()
    }

    fn prefill(
        &mut self,
        prompt_tokens: u32,
        step_tokens: u32,
        on_step: &mut dyn FnMut(PrefillSample) -> bool,
    ) -> Result<(), Error> {
        let mut start = 0;
        while start < prompt_tokens {
            let step = TokenSpan::between(start, prompt_tokens.min(start + step_tokens));
            let took = self.cost.step(step);
            self.clock.advance(took);
            if !on_step(PrefillSample { step, took }) {
                break;
            }
            start = step.end();
        }
        Ok(())
    }
}

#[test]
fn an_engine_is_measured_within_its_budget_and_found_as_it_is() {
    let node = |tokens, base_ns, context_ns| Node { tokens, base_ns, context_ns, window_ns: 0.0 };
    let cost =
        PrefillCost::new(None, &[node(16, 2e6, 20.0), node(256, 5e6, 300.0), node(2048, 33e6, 2500.0)]);
    let clock = ManualClock::new();
    let samples = measure_prefill(&mut Modelled { cost, clock: &clock }, Nanos::from_millis(5_000), &clock);
    assert!(clock.now().since(Time::START).as_secs_f64() < 6.0);
    let found = fit_prefill(&samples.expect("it never fails"), None).expect("enough samples");
    for (start, tokens) in [(0, 16), (1000, 300), (10_000, 2048)] {
        let step = TokenSpan { start, tokens };
        let error = found.step_ns(step) / cost.step_ns(step) - 1.0;
        assert!(error.abs() < 0.03, "{step:?}: {error}");
    }
}
