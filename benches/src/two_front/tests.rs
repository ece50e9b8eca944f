//! The whole contest in virtual time, on a machine that takes what its profile says.

use super::{Cell, Ground, Pace, Results, Scene, SceneSpec, contest, grid};
use kv_pager::Error;
use kv_pager::clock::{Clock, Time};
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{CostModel, PrefillCost, Profile, TokenSpan};
use kv_pager::ids::TierId;
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Pager, Progress};
use kv_pager::units::{Bytes, Nanos};
use std::sync::Arc;

const STEP_TOKENS: u32 = 2048;

struct Virtual {
    machine: VirtualMachine,
    prefill: PrefillCost,
}

impl Ground for Virtual {
    fn compute(&mut self, pager: &Pager, step: TokenSpan) -> Result<Nanos, Error> {
        let took = self.prefill.step(step);
        let end = self.machine.now().after(took);
        while self.machine.now() < end {
            self.machine.run_until(self.machine.next_event().min(end));
            pager.poll();
        }
        Ok(took)
    }

    fn wait(&mut self, pager: &Pager, _seen: Progress) {
        let next = self.machine.next_event();
        if next < Time::NEVER {
            self.machine.run_until(next);
        }
        pager.poll();
    }
}

fn run(cells: &[Cell]) -> Results {
    let profile = Profile::h200_llama3_8b();
    let model = shape("llama3-8b").expect("known");
    let sizes = [(TierId::Device, 8), (TierId::Host, 8), (TierId::File, 3)]
        .map(|(tier, gib)| VirtualTierSize { tier, bytes: Bytes::mib(gib << 10), format: Format::Raw });
    let machine = VirtualMachine::new(&model, &profile, &sizes, 65_536).expect("plausible");
    let clock: Arc<dyn Clock> = machine.clock();
    let spec = SceneSpec {
        model,
        step_tokens_max: STEP_TOKENS,
        costs: CostModel::new(&profile).expect("shipped"),
        backend: Backend { tiers: machine.tiers(), lanes: machine.lanes() },
        clock,
    };
    let mut ground = Virtual { machine, prefill: profile.prefill.cost() };
    let mut scene = Scene::new(spec, cells, &mut ground).expect("the tiers are large enough");
    let mut results = Results::default();
    for cell in cells {
        let pace = Pace { rounds: 1, rounds_min: 1 };
        results.add(contest(&mut scene, cell, pace, &mut ground, || true).expect("nothing fails"));
        scene.pager().check();
    }
    results
}

#[test]
fn plans_are_near_the_best_split_and_predicted_on_a_machine_that_is_as_measured() {
    let results = run(&grid());
    assert!(results.worst_ratio <= 1.1, "{}", results.table());
    assert!(results.errors[0] <= 0.1 && results.errors[1] <= 0.25, "{}", results.table());
    for kind in ["load", "recompute"] {
        assert!(
            results.cells.iter().any(|cell| cell.best == kind),
            "{kind} wins nowhere:\n{}",
            results.table()
        );
    }
    assert!(
        results.cells.iter().any(|cell| cell.best.starts_with("compute")),
        "two fronts win nowhere:\n{}",
        results.table()
    );
}
