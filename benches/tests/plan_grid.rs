//! Plans against the best of all splits, executed by a pager on real tiers over a throttled lane.
//!
//! Costs are measured and fitted as `measure` does it, and plans are made, carried out and met in the middle by the pager that
//! serves. Splits by force go through the same pager. Time is virtual, bytes are copied; the device varies by 3 %.

use benches::two_front::{BLOCK_TOKENS, Cell, Ground, Scene, SceneSpec, Split};
use kv_pager::Error;
use kv_pager::clock::{Clock, ManualClock, Time};
use kv_pager::cost::calibrate::{LaneProbe, PrefillProbe, measure_prefill, wait_for_end};
use kv_pager::cost::fit::{PrefillSample, fit_lane, fit_prefill};
use kv_pager::cost::{CostModel, LaneProfile, Node, PrefillCost, PrefillProfile, Profile, TokenSpan};
use kv_pager::ids::TierId;
use kv_pager::layout::shape;
use kv_pager::pager::{Backend, Pager, Progress};
use kv_pager::policy::plan::Choice;
use kv_pager::tier::{Lane, LaneEnds, Move, Ticket};
use kv_pager::units::Nanos;
use kv_pager_cpu::{CpuBackend, CpuSpec, FileSpec};
use kv_pager_testkit::throttled::{Rate, Throttled};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };
const BLOCK_BYTES: u64 = 8192;
const SLOTS: u32 = 1000;
const STEP_TOKENS: u32 = 1024;

/// A lane whose copies are done when `submit` returns: they take no time of the clock's.
#[derive(Debug)]
struct Settled(Arc<dyn Lane>);

impl Lane for Settled {
    fn ends(&self) -> LaneEnds {
        self.0.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        let ticket = self.0.submit(batch)?;
        wait_for_end(&ticket);
        Ok(ticket)
    }
}

/// Lends the throttled lane to the pager.
#[derive(Debug)]
struct Lent(Arc<Throttled>);

impl Lane for Lent {
    fn ends(&self) -> LaneEnds {
        self.0.ends()
    }

    fn submit(&self, batch: &[Move]) -> Result<Ticket, Error> {
        self.0.submit(batch)
    }
}

/// The device and the lane to it: what computing takes, within 3 % up and down, and when moves end.
#[derive(Debug)]
struct Throttle {
    lane: Arc<Throttled>,
    clock: Arc<ManualClock>,
    truth: PrefillCost,
    steps: u64,
}

impl Throttle {
    fn took(&mut self, step: TokenSpan) -> Nanos {
        self.steps += 1;
        let noise = 970 + self.steps * 37 % 61;
        Nanos::new(self.truth.step(step).as_u64() * noise / 1000)
    }

    /// Lets the next move end, if it does by `end`; whether there was one.
    fn end_next(&self, end: Option<Time>) -> bool {
        let next = self.lane.next_end().filter(|next| end.is_none_or(|end| *next <= end));
        if let Some(next) = next {
            self.clock.advance_to(next);
            self.lane.pump();
        }
        next.is_some()
    }
}

impl Ground for Throttle {
    fn compute(&mut self, pager: &Pager, step: TokenSpan) -> Result<Nanos, Error> {
        let took = self.took(step);
        let end = self.clock.now().after(took);
        while self.end_next(Some(end)) {
            pager.poll();
        }
        self.clock.advance_to(end);
        Ok(took)
    }

    fn wait(&mut self, pager: &Pager, _seen: Progress) {
        self.end_next(None);
        pager.poll();
    }
}

impl PrefillProbe for Throttle {
    fn step_tokens_max(&self) -> u32 {
        STEP_TOKENS
    }

    fn prompt_tokens_max(&self) -> u32 {
        16_384
    }

    fn window_tokens(&self) -> Option<u32> {
        None
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
            let took = self.took(step);
            self.clock.advance(took);
            if !on_step(PrefillSample { step, took }) {
                break;
            }
            start = step.end();
        }
        Ok(())
    }
}

/// A pager over tiers of memory and a file, with the blocks of `cells`, whose lane to the device takes `block_load` a block.
fn scene(block_load: Nanos, cells: &[Cell], directory: &Path) -> (Scene, Throttle) {
    let mut spec = CpuSpec::new(shape("tiny").expect("known"), vec![SLOTS]);
    spec.host_slots = Some(vec![SLOTS]);
    spec.file = Some(FileSpec::new(directory, vec![SLOTS]));
    let backend = CpuBackend::new(&spec).expect("a few MiB");
    let clock = Arc::new(ManualClock::new());
    let bytes_per_s = BLOCK_BYTES * 1_000_000_000 / block_load.as_u64();
    let rate = Rate { latency: Nanos::new(100_000), bytes_per_s };
    let inner = Arc::new(Settled(backend.new_lane(UP).expect("host memory is there")));
    let [device, host] = [backend.device(), backend.host().expect("asked for")];
    let lane = Arc::new(Throttled::stepped(inner, rate, &**host, Arc::<ManualClock>::clone(&clock)));
    let at = |tokens, base_ns, context_ns| Node { tokens, base_ns, context_ns, window_ns: 0.0 };
    let nodes = [at(16, 1.0e6, 20.0), at(64, 1.6e6, 60.0), at(200, 4.2e6, 190.0), at(1024, 19.0e6, 1100.0)];
    let truth = PrefillCost::new(None, &nodes);
    let mut ground = Throttle { lane: Arc::clone(&lane), clock: Arc::clone(&clock), truth, steps: 0 };
    let samples = measure_prefill(&mut ground, Nanos::from_millis(4000), &*clock).expect("never fails");
    let prefill = fit_prefill(&samples, None).expect("enough samples");
    let probe = LaneProbe { lane: &*lane, source: &**host, target: &**device, clock: &*clock };
    let wait = |ticket: &Ticket| while !ticket.is_over() && ground.end_next(None) {};
    let samples = probe.measure(Nanos::from_millis(10_000), wait).expect("copies end well");
    let profile = Profile {
        version: Profile::VERSION,
        machine: "a throttled lane".to_owned(),
        model: "tiny".to_owned(),
        lanes: vec![LaneProfile::new(UP, &fit_lane(&samples).expect("enough samples"))],
        prefill: PrefillProfile::new(STEP_TOKENS, &prefill),
        codecs: Vec::new(),
    };
    let lanes = backend.lanes().into_iter().map(|of| -> Arc<dyn Lane> {
        if of.ends() == UP { Arc::new(Lent(Arc::clone(&lane))) } else { Arc::new(Settled(of)) }
    });
    let spec = SceneSpec {
        model: shape("tiny").expect("known"),
        step_tokens_max: STEP_TOKENS,
        costs: CostModel::new(&profile).expect("plausible"),
        backend: Backend { tiers: backend.tiers(), lanes: lanes.collect() },
        clock,
    };
    let scene = Scene::new(spec, cells, &mut ground).expect("the tiers are large enough");
    (scene, ground)
}

/// Cells of one machine: by prefix and context, with and without others before them on the lane.
fn cells() -> Vec<Cell> {
    let cell = |prefix_blocks: u32, context_blocks: u32, queued_blocks| Cell {
        context_tokens: context_blocks * BLOCK_TOKENS,
        prefix_tokens: prefix_blocks * BLOCK_TOKENS,
        host_quarters: 4,
        queued_blocks,
    };
    [(16, 0), (64, 0), (64, 256), (240, 0), (240, 512)]
        .into_iter()
        .flat_map(|(prefix, context)| [0, 40].map(|queued| cell(prefix, context, queued)))
        .collect()
}

/// All splits with ends at quarters and meeting places at sixteenths, and computing all.
fn splits(cached: u32) -> Vec<Split> {
    let ends = (1..=4).map(|quarter| cached * quarter / 4);
    let fronts = ends.flat_map(|end| (0..16).map(move |part| Split { meet: end * part / 16, end }));
    let mut splits: Vec<Split> = fronts.chain([Split { meet: 0, end: 0 }]).collect();
    splits.dedup();
    splits
}

#[test]
fn plans_that_a_pager_carries_out_are_near_the_best_of_all_splits() {
    let mut ratios = Vec::new();
    let mut winners = Vec::new();
    let mut wins = [0; 3];
    for block_load_us in [20, 100, 300, 900, 4000] {
        let directory = tempfile::tempdir().expect("a directory");
        let cells = cells();
        let (mut scene, mut ground) = scene(Nanos::new(block_load_us * 1000), &cells, directory.path());
        for cell in cells {
            scene.prepare(&cell, &mut ground).expect("blocks come to lie there");
            let mut best = (Nanos::MAX, Split { meet: 0, end: 0 });
            let cached = cell.prefix_tokens / BLOCK_TOKENS;
            for split in splits(cached) {
                let served = scene.serve(&cell, Some(split), &mut ground).expect("nothing fails");
                if served.took < best.0 {
                    best = (served.took, split);
                }
            }
            let served = scene.serve(&cell, None, &mut ground).expect("nothing fails");
            let plan = served.forecast.expect("it was planned").plan;
            let kind = match best.1 {
                Split { end: 0, .. } => 1,
                Split { meet: 0, .. } => 0,
                Split { .. } => 2,
            };
            wins[kind] += 1;
            let ratio = served.took.as_secs_f64() / best.0.as_secs_f64();
            ratios.push((ratio, block_load_us, cell, best, served.took, plan.load));
            winners.push(plan.reasons.choice);
        }
        scene.pager().check();
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (median, worst) = (ratios[ratios.len() / 2].0, &ratios[ratios.len() - 1]);
    let told = format!(
        "{} cells: median {median:.3}, worst {:.3} ({worst:?}); the best is loading in {}, computing in {}, two fronts in {}",
        ratios.len(),
        worst.0,
        wins[0],
        wins[1],
        wins[2]
    );
    assert!(ratios.len() >= 40);
    assert!(median <= 1.05, "{told}");
    assert!(worst.0 <= 1.15, "{told}");
    assert!(wins.iter().all(|count| *count > 0), "{told}");
    for choice in [Choice::Load, Choice::Recompute, Choice::TwoFronts] {
        assert!(winners.contains(&choice), "{choice:?} is chosen nowhere: {told}");
    }
    // For whoever runs it with `--nocapture`.
    writeln!(std::io::stdout(), "{told}").expect("it can be read");
}
