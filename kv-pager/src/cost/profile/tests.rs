use super::Profile;
use crate::cost::{CostModel, Load, TokenSpan};
use crate::ids::TierId;
use crate::layout::shape;
use crate::tier::LaneEnds;
use crate::units::Bytes;

const UP: LaneEnds = LaneEnds { source: TierId::Host, target: TierId::Device };

#[test]
fn a_profile_reads_back_as_it_was_written() {
    let profile = Profile::h200_llama3_8b();
    let read = Profile::from_json(&profile.to_json()).expect("just written");
    assert_eq!(read, profile);
}

#[test]
fn every_shipped_profile_is_of_the_model_in_its_name_and_has_all_lanes() {
    for name in Profile::shipped_names() {
        let profile = Profile::shipped(name).expect("it is listed");
        assert!(
            name.contains(&profile.model) && profile.machine.contains("H200"),
            "{name}: {}",
            profile.machine
        );
        CostModel::new(&profile).expect(name);
        profile.check_model(&shape(&profile.model).expect("known")).expect(name);
        let tiers = [TierId::Device, TierId::Host, TierId::File];
        for pair in tiers.windows(2) {
            for (source, target) in [(pair[0], pair[1]), (pair[1], pair[0])] {
                let ends = LaneEnds { source, target };
                assert!(profile.lanes.iter().any(|lane| lane.ends == ends), "{name} lacks {ends}");
            }
        }
    }
    assert_eq!(Profile::shipped("h100"), None);
}

#[test]
fn the_shipped_profile_gives_the_measured_rates() {
    let costs = CostModel::new(&Profile::h200_llama3_8b()).expect("shipped");
    let rate = |bytes: u64, copies: u32| {
        let load = Load { bytes: Bytes::new(bytes), copies };
        let lane = costs.lane(UP).expect("measured");
        super::super::real::from_bytes(load.bytes) / lane.busy_ns(load)
    };
    for (bytes, copies, measured) in [
        (512 << 20, 8, 55.2),
        (512 << 20, 32, 54.9),
        (512 << 20, 64, 54.4),
        (4 << 20, 1, 50.0),
        (64 << 10, 1, 7.0),
    ] {
        let share = rate(bytes, copies) / measured;
        assert!((0.95..1.05).contains(&share), "{bytes} bytes in {copies}: {} GB/s", rate(bytes, copies));
    }
    let step = TokenSpan { start: 0, tokens: 2048 };
    let tokens_per_s = 2048.0 / costs.prefill().step(step).as_secs_f64();
    assert!((40e3..49e3).contains(&tokens_per_s), "{tokens_per_s}");
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    type Edit = fn(&mut Profile);
    let good = Profile::h200_llama3_8b();
    let edits: [(&str, Edit); 8] = [
        ("version", |profile| profile.version = 9),
        ("no lanes", |profile| profile.lanes.clear()),
        ("twice", |profile| profile.lanes.push(profile.lanes[0].clone())),
        ("bytes/s", |profile| profile.lanes[0].knots.iter_mut().for_each(|knot| knot.copy_ns *= 1e6)),
        ("sizes fall", |profile| profile.lanes[0].knots[1].copy_bytes = Bytes::ZERO),
        ("for a call", |profile| profile.lanes[0].alpha_ns = f64::NAN),
        ("nodes", |profile| profile.prefill.nodes.truncate(1)),
        ("tokens of nodes fall", |profile| profile.prefill.nodes.reverse()),
    ];
    for (named, edit) in edits {
        let mut profile = good.clone();
        edit(&mut profile);
        let told = profile.check().expect_err(named).to_string();
        assert!(told.contains(named), "{named}: {told}");
        assert!(told.contains("measure again") || told.contains("remove one"), "{told}");
    }
    assert!(
        Profile::from_json("{\"version\": 1}").expect_err("torn").to_string().contains("kv-pager measure")
    );
}

#[test]
fn numbers_of_a_wrong_unit_or_out_of_all_bounds_are_refused() {
    let refused = |what: &str, change: &dyn Fn(&mut Profile)| {
        let mut profile = Profile::h200_llama3_8b();
        change(&mut profile);
        profile.check().expect_err(what);
    };
    refused("prefill in microseconds", &|profile| {
        profile.prefill.nodes.iter_mut().for_each(|node| node.base_ns /= 1000.0);
    });
    refused("a copy in no time at all", &|profile| profile.lanes[0].knots[1].copy_ns = -1e9);
    refused("a copy that never ends", &|profile| profile.lanes[0].knots[1].copy_ns = 1e300);
    let text = Profile::h200_llama3_8b().to_json();
    for (name, wrong) in [("copy_ns", "copy_us"), ("base_ns", "base_us")] {
        Profile::from_json(&text.replacen(name, wrong, 1)).expect_err("a name that nobody knows");
    }
}

#[test]
fn a_profile_of_another_model_is_told_apart() {
    let profile = Profile::h200_llama3_8b();
    profile.check_model(&shape("llama3-8b").expect("known")).expect("its own model");
    profile.check_model(&shape("tiny").expect("known")).expect_err("another model");
}

#[test]
fn a_profile_of_another_machine_or_model_is_told_apart() {
    let profile = Profile::h200_llama3_8b();
    profile.check_origin(&profile.machine, &profile.model).expect("its own");
    for (machine, model, named) in
        [("an abacus", &*profile.model, "an abacus"), (&*profile.machine, "tiny", "tiny")]
    {
        let told = profile.check_origin(machine, model).expect_err(named).to_string();
        assert!(told.contains(named) && told.contains("kv-pager measure"), "{told}");
    }
}

#[test]
fn what_was_learnt_is_saved_and_loaded() {
    let profile = Profile::h200_llama3_8b();
    let mut costs = CostModel::new(&profile).expect("shipped");
    let load = Load { bytes: Bytes::mib(64), copies: 4 };
    for _ in 0..20 {
        costs.observe_move(UP, load, crate::units::Nanos::from_millis(5));
    }
    let learnt = costs.update(&profile).expect("plausible");
    let again =
        CostModel::new(&Profile::from_json(&learnt.to_json()).expect("plausible")).expect("plausible");
    let lanes = [&costs, &again].map(|costs| costs.lane(UP).expect("measured").busy(load));
    assert_eq!(lanes[0], lanes[1]);
    assert!((4_000_000..6_000_000).contains(&lanes[0].as_u64()), "{lanes:?}");
}
