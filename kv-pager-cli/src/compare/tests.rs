//! Contests come out as they must.

use super::Contestant;
use super::contest::Contest;
use super::page::page;
use super::results::Results;
use super::table::table;
use crate::interrupt::Interrupt;
use kv_pager::policy::keeping::Arm;
use kv_pager_testkit::workload::Workload;

fn run(policies: &[Contestant], capacities: &[u32]) -> Results {
    let stream = Workload::new(3, 400).generate();
    let contest = Contest::new(&stream);
    let arms = contest.run(policies, capacities, &Interrupt::default()).expect("nobody stops it");
    Results::new("a workload".to_owned(), &contest, arms)
}

fn all() -> Vec<Contestant> {
    Arm::ALL.map(Contestant::Arm).into_iter().chain([Contestant::Belady]).collect()
}

#[test]
fn nobody_beats_the_bound_and_all_are_equal_without_pressure() {
    let results = run(&all(), &[20, 100, 1_000_000]);
    let bound: Vec<f64> = results.of("belady").map(|arm| arm.prefix_hit_rate).collect();
    for arm in &results.arms {
        let place = [20, 100, 1_000_000].iter().position(|&capacity| capacity == arm.capacity_blocks);
        let bound = bound[place.expect("no other capacity was asked for")];
        assert!(arm.prefix_hit_rate <= bound + 1e-12, "{arm:?} is above {bound}");
        assert!(arm.prefix_hit_rate <= arm.resident_hit_rate, "{arm:?}");
        if arm.capacity_blocks == 1_000_000 {
            assert!((arm.prefix_hit_rate - bound).abs() < 1e-12 && arm.evictions == 0, "{arm:?}");
        }
    }
}

#[test]
fn one_pass_for_many_gives_what_one_pass_for_each_gives() {
    let together = run(&all(), &[50, 200]);
    for policy in all() {
        for capacity in [50, 200] {
            let alone = run(&[policy], &[capacity]);
            let found = together.of(&alone.arms[0].policy).find(|arm| arm.capacity_blocks == capacity);
            assert_eq!(format!("{found:?}"), format!("{:?}", alone.arms.first()), "CP1");
        }
    }
}

#[test]
fn the_json_has_the_fields_of_the_contract() {
    let json = serde_json::to_value(run(&all(), &[50])).expect("results are plain");
    for field in ["trace", "total_blocks", "arms"] {
        assert!(!json[field].is_null(), "{field}");
    }
    for field in ["policy", "capacity_blocks", "prefix_hit_rate", "resident_hit_rate", "evictions"] {
        assert!(!json["arms"][5][field].is_null(), "{field}");
    }
}

#[test]
fn table_and_page_name_every_policy() {
    let results = run(&all(), &[50, 200]);
    let (table, html) = (table(&results), page(&results).to_html());
    for policy in results.policies() {
        assert!(table.contains(policy) && html.contains(policy), "{policy}");
    }
}
