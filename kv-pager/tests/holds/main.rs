//! How much one hold of the pager's lock handles: however long a sequence is, and wherever room is made for it, no more than 512 blocks.

mod served;
#[path = "../shape/mod.rs"]
mod shape;

use kv_pager::ErrorKind;
use kv_pager::config::{Allowance, DeviceOwner, Limits, Quota};
use kv_pager::event::BlockEvent;
use kv_pager::ids::{Fence, GroupId, Salt, SlotId, TierId, TokenId};
use kv_pager::pager::{BlockAt, Prompt, Request, RequestPriority};
use kv_pager::policy::{Lru, Policy, Urgency};
use kv_pager::pool::SlotState;
use kv_pager::tier::{Health, Lane, LaneEnds, Move, MoveFault};
use kv_pager::units::Nanos;
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use served::{Impatient, LONG, TIERS, TOKENS, build, check, check_long, leave_far, model, policies, tokens};
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn sequences_that_turn_over_a_device() {
    for is_windowed in [false, true] {
        for policy in policies() {
            let spec = MachineSpec { device: 2 * LONG, host: 0, file: 0, lane_limit: 32 };
            let served = build(model(is_windowed), spec, DeviceOwner::Managed, policy);
            for seed in 1..5 {
                let prompt = tokens(LONG, LONG / 2, seed);
                served.serve(&Request::new(&prompt), "a device alone");
            }
            check_long(&served.pager);
            let erased = served.pager.invalidate(Salt::default()).expect("nothing outlives this machine");
            assert!(erased > u64::from(LONG), "{erased} blocks of long chains");
            check(&served.pager, "invalidate");
            served.pager.check();
        }
    }
}

#[test]
fn sequences_with_a_time_to_live() {
    let spec = MachineSpec { device: 3 * LONG, host: 0, file: 0, lane_limit: 32 };
    let served = build(model(false), spec, DeviceOwner::Managed, Box::new(Lru));
    for seed in 1..3 {
        let prompt = tokens(LONG, 0, seed);
        served.serve(&Request::new(&prompt).with_time_to_live(Nanos::new(1000)), "mortal");
    }
    served.clock.advance(Nanos::new(10_000));
    for _ in 0..100 {
        served.pager.poll();
    }
    assert!(served.pager.stats().expired > u64::from(LONG), "{:?}", served.pager.stats());
    check(&served.pager, "expired");
}

#[test]
fn what_an_earlier_epoch_has_left() {
    for is_windowed in [false, true] {
        let spec = MachineSpec { device: 3 * LONG, host: 0, file: 0, lane_limit: 32 };
        let served = build(model(is_windowed), spec, DeviceOwner::Managed, Box::new(Lru));
        for seed in 1..3 {
            let prompt = tokens(LONG, 0, seed);
            served.serve(&Request::new(&prompt), "of an epoch");
        }
        check_long(&served.pager);
        let before = served.pager.stats().drops;
        served.pager.advance_epoch();
        for _ in 0..100 {
            served.pager.poll();
        }
        check(&served.pager, "an epoch that has ended");
        let dropped = served.pager.stats().drops - before;
        assert!(dropped >= u64::from(2 * LONG), "{dropped} blocks of long chains");
    }
}

#[test]
fn an_engine_with_slots_of_its_own() {
    for policy in policies() {
        let spec = MachineSpec { device: 2 * LONG, host: 3 * LONG, file: 0, lane_limit: 32 };
        let served = build(model(false), spec, DeviceOwner::Engine, policy);
        for seed in [1, 2, 1] {
            let prompt: Prompt = served.pager.prepare(&Request::new(&tokens(LONG, LONG / 2, seed)));
            let at = |block: u32| BlockAt { block: block as usize, slot: SlotId::from_index(block as usize) };
            let all: Vec<BlockAt> = (0..LONG).map(at).collect();
            let cached = served.pager.lookup(&prompt).len();
            served.pager.plan(&prompt, 0, Urgency::default()).expect("the slots are the engine's");
            let mut loads =
                served.pager.onboard(&prompt, &all[..cached], Fence::OVER).expect("slots are free");
            assert_eq!(served.settle(&mut loads), cached);
            for BlockAt { slot, .. } in &all[cached..] {
                served.machine.device().write(GroupId::FIRST, *slot, 0, &[]);
            }
            let mut copies = served.pager.offload(&prompt, &all[cached..], Fence::OVER).expect("free");
            assert_eq!(served.settle(&mut copies), all.len() - cached);
            check(&served.pager, "an engine's slots");
        }
    }
}

#[test]
fn sequences_over_tiers_farther_away() {
    for is_windowed in [false, true] {
        for (name, spec) in TIERS {
            for policy in policies() {
                let what = format!("{name}, {}, windowed: {is_windowed}", policy.name());
                let served = build(model(is_windowed), spec, DeviceOwner::Managed, policy);
                for seed in [1, 2, 3, 1] {
                    let prompt = tokens(LONG, LONG / 2, seed);
                    served.serve(&Request::new(&prompt), &what);
                }
                check_long(&served.pager);
            }
        }
    }
}

#[test]
fn short_sequences_over_tiers_farther_away() {
    for (name, spec) in TIERS {
        for policy in policies() {
            let what = format!("{name}, {}", policy.name());
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            for seed in 0..100 {
                let prompt = tokens(200, 20, seed % 70);
                served.serve(&Request::new(&prompt), &what);
            }
        }
    }
}

#[test]
fn many_moves_that_end_at_once() {
    for (name, spec) in TIERS {
        for policy in policies() {
            let what = format!("{name}, {}", policy.name());
            let spec = MachineSpec { lane_limit: 8192, ..spec };
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            for seed in [1, 2, 3, 1] {
                let prompt = tokens(LONG, LONG / 2, seed);
                served.serve(&Request::new(&prompt), &what);
            }
        }
    }
}

#[test]
fn prompts_and_salts_that_are_kept() {
    for (name, spec) in TIERS {
        for policy in policies() {
            let what = |of: &str| format!("{name}, {of}");
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            let prompts = [1, 2, 3].map(|seed| tokens(LONG, LONG / 2, seed));
            for prompt in &prompts {
                served.serve(&Request::new(prompt), &what("before"));
            }
            let kept = served.pager.prepare(&Request::new(&prompts[0]));
            let hold = served.pager.hold(&kept, TierId::Host).expect("may be held");
            served.go_on(&what("held"));
            served.serve(&Request::new(&prompts[0]), &what("held"));
            served.serve(&Request::new(&prompts[1]), &what("beside what is held"));
            drop(hold);
            let prefetch = served.pager.prefetch(&kept).expect("may be brought");
            served.go_on(&what("prefetched"));
            served.serve(&Request::new(&prompts[0]), &what("prefetched"));
            drop(prefetch);
            let salt = Salt::default();
            let hold = served.pager.hold_salt(salt, TierId::Host, Allowance::Unlimited).expect("may be held");
            served.go_on(&what("a salt"));
            served.serve(&Request::new(&prompts[2]), &what("a salt"));
            drop(hold);
            check(&served.pager, &what("released"));
        }
    }
}

#[test]
fn chains_that_are_erased() {
    for (name, spec) in TIERS {
        for policy in policies() {
            let what = |of: &str| format!("{name}, {of}");
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            let prompts = [1, 2].map(|seed| tokens(LONG, LONG / 2, seed));
            for prompt in &prompts {
                served.serve(&Request::new(prompt), &what("before"));
            }
            let open = served.open(&Request::new(&prompts[0]));
            served.pager.invalidate_all().expect("no drive");
            check(&served.pager, &what("erased"));
            drop(open);
            served.go_on(&what("closed"));
            served.serve(&Request::new(&prompts[0]), &what("after"));
            served.pager.advance_epoch();
            served.go_on(&what("of an earlier epoch"));
            served.pager.check();
        }
    }
}

#[test]
fn mortal_sequences_over_tiers_farther_away() {
    for (name, spec) in TIERS {
        let served = build(model(false), spec, DeviceOwner::Managed, Box::new(Lru));
        for seed in 1..5 {
            let prompt = tokens(LONG, 0, seed);
            served.serve(&Request::new(&prompt).with_time_to_live(Nanos::new(1000)), name);
        }
        served.clock.advance(Nanos::new(10_000));
        served.go_on(name);
        assert!(served.pager.stats().expired > u64::from(LONG), "{:?}", served.pager.stats());
    }
}

/// Lets lanes go on until `is_over`.
fn advance_until(machine: &Machine, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        machine.advance_all();
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_out_when_all_ends() {
    for policy in policies() {
        let spec = MachineSpec { device: 2 * LONG, host: 3 * LONG, file: 7 * LONG, lane_limit: 512 };
        let served = build(model(false), spec, DeviceOwner::Managed, policy);
        for seed in 1..5 {
            let prompt = tokens(LONG, LONG / 4, seed);
            served.serve(&Request::new(&prompt), "before");
        }
        let is_over = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            scope.spawn(|| advance_until(&served.machine, &is_over));
            let written = served.pager.write_out(Nanos::from_millis(1000)).expect("no drive refuses");
            is_over.store(true, Ordering::Release);
            written
        });
        assert!(written.blocks > u64::from(LONG), "{written:?}");
        assert_eq!(written.left, 0, "{written:?}");
        check(&served.pager, "written out");
        served.pager.check();
    }
}

#[test]
fn a_tier_that_is_lost_when_much_is_there() {
    for (tier, spec) in [(TierId::Host, TIERS[0].1), (TierId::File, TIERS[2].1), (TierId::Device, TIERS[1].1)]
    {
        for policy in policies() {
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            for seed in [1, 2, 3, 1] {
                served.serve(&Request::new(&tokens(LONG, LONG / 4, seed)), "before");
            }
            let mut events = Vec::new();
            served.pager.drain_events(&mut events);
            served.machine.tiers()[tier.index()].set_health(Health::Lost { why: "unplugged".to_owned() });
            served.pager.poll();
            check(&served.pager, &format!("the loss of the {tier}"));
            events.clear();
            served.pager.drain_events(&mut events);
            let is_told =
                |event: &&BlockEvent| matches!(event, BlockEvent::Removed { tier: of, .. } if *of == tier);
            let told = events.iter().filter(is_told).count();
            assert!(told > LONG as usize, "{told} blocks were in the {tier}");
            served.go_on(&format!("after the loss of the {tier}"));
            served.pager.check();
            if tier != TierId::Device {
                served.serve(&Request::new(&tokens(LONG, LONG / 4, 1)), "after a loss");
                served.pager.check();
            }
        }
    }
}

#[test]
fn damaged_blocks_on_which_much_stands() {
    for (name, spec) in &TIERS[1..] {
        for policy in policies() {
            let served = build(model(false), *spec, DeviceOwner::Managed, policy);
            for seed in [1, 2, 3] {
                served.serve(&Request::new(&tokens(LONG, LONG / 8, seed)), "before");
            }
            for (round, seed) in [1, 2, 3, 1].into_iter().enumerate() {
                let prompt = tokens(LONG, LONG / 8, seed);
                let mut moves = 0;
                let mut damage = |_: &Move| {
                    moves += 1;
                    if moves % 60 == 1 { Fate::Failed(MoveFault::Damaged) } else { Fate::Done }
                };
                let mut advance = || {
                    for lane in served.machine.lanes() {
                        let LaneEnds { source, target } = lane.ends();
                        if source > target {
                            lane.advance(usize::MAX, &mut damage);
                        } else {
                            lane.advance(usize::MAX, |_| Fate::Done);
                        }
                    }
                };
                let what = format!("{name}, damaged, round {round}");
                let mut sequence = loop {
                    match served.pager.open(&Request::new(&prompt)) {
                        Ok(sequence) => break sequence,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Retry, "{error}"),
                    }
                    advance();
                };
                for _ in 0..20 {
                    advance();
                    served.pager.check();
                    served.pager.poll();
                    check(&served.pager, &what);
                }
                served.compute(&mut sequence);
                sequence.close(Fence::OVER);
                check(&served.pager, &what);
                served.pager.check();
            }
            assert!(served.pager.stats().damaged > 0, "{:?}", served.pager.stats());
        }
    }
}

#[test]
fn tenants_with_quotas_beside_one_that_has_most() {
    for (name, spec) in TIERS {
        for policy in policies() {
            let what = format!("{name}, {}, quotas", policy.name());
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            let slots = Allowance::Slots(LONG / 2);
            let quota = Quota { device: Allowance::Slots(LONG), host: slots, file: slots };
            let bounded = [Salt(1), Salt(2)];
            for salt in &bounded {
                served.pager.set_quota(*salt, quota).expect("few tenants");
            }
            for seed in 1..4 {
                served.serve(&Request::new(&tokens(LONG, LONG / 2, seed)), &what);
                for (at, salt) in bounded.iter().enumerate() {
                    let prompt = tokens(LONG / 2, 0, 100 + seed + 10 * u32::try_from(at).expect("two"));
                    served.serve(&Request::new(&prompt).with_salt(*salt), &what);
                }
            }
            served.go_on(&what);
            served.pager.check();
        }
    }
}

#[test]
fn an_engine_with_slots_of_its_own_over_a_small_host_and_a_file() {
    for policy in policies() {
        let served = build(model(false), TIERS[2].1, DeviceOwner::Engine, policy);
        for seed in [1, 2, 3, 1] {
            let prompt: Prompt = served.pager.prepare(&Request::new(&tokens(LONG, LONG / 2, seed)));
            let at = |block: u32| BlockAt { block: block as usize, slot: SlotId::from_index(block as usize) };
            let all: Vec<BlockAt> = (0..LONG).map(at).collect();
            let cached = served.pager.lookup(&prompt).len();
            let mut loads =
                served.pager.onboard(&prompt, &all[..cached], Fence::OVER).expect("slots are free");
            served.settle(&mut loads);
            check(&served.pager, "an engine's slots: onboarded");
            for BlockAt { slot, .. } in &all[cached..] {
                served.machine.device().write(GroupId::FIRST, *slot, 0, &[]);
            }
            let mut copies = served.pager.offload(&prompt, &all[cached..], Fence::OVER).expect("free");
            served.settle(&mut copies);
            check(&served.pager, "an engine's slots: offloaded");
            served.pager.check();
        }
    }
}

#[test]
fn an_engine_whose_prompts_are_worth_something() {
    for spec in [TIERS[0].1, TIERS[2].1] {
        for policy in policies() {
            let served = build(model(false), spec, DeviceOwner::Engine, policy);
            let at = |block: u32| BlockAt { block: block as usize, slot: SlotId::from_index(block as usize) };
            let all: Vec<BlockAt> = (0..LONG).map(at).collect();
            for (round, seed) in [1, 2, 3, 1].into_iter().enumerate() {
                let tokens = tokens(LONG, LONG / 8, seed);
                let mut request = Request::new(&tokens).with_priority(RequestPriority::High);
                if round != 2 {
                    request = request.with_time_to_live(Nanos::new(1000));
                }
                let prompt = served.pager.prepare(&request);
                let cached = served.pager.lookup(&prompt).len();
                // Its end first, as where both fronts move.
                for chunk in all[..cached].rchunks(700) {
                    let mut loads =
                        served.pager.onboard(&prompt, chunk, Fence::OVER).expect("slots are free");
                    served.settle(&mut loads);
                    check(&served.pager, "of worth: onboarded");
                }
                for BlockAt { slot, .. } in &all[cached..] {
                    served.machine.device().write(GroupId::FIRST, *slot, 0, &[]);
                }
                for chunk in all[cached..].chunks(700) {
                    let mut copies = served.pager.offload(&prompt, chunk, Fence::OVER).expect("free");
                    served.settle(&mut copies);
                    check(&served.pager, "of worth: offloaded");
                }
                served.pager.offload(&prompt, &[], Fence::OVER).expect("its end");
                check(&served.pager, "of worth: told");
                served.pager.check();
            }
            served.clock.advance(Nanos::new(10_000));
            served.go_on("of worth: expired");
            assert!(served.pager.stats().expired > 0, "{:?}", served.pager.stats());
        }
    }
}

#[test]
fn prefetches_of_which_many_are_called_off_and_many_asked_for() {
    let spec = MachineSpec { device: 4 * LONG, host: 8 * LONG, file: 0, lane_limit: 32 };
    for policy in policies() {
        let name = policy.name();
        let what = |of: &str| format!("{name}, {of}");
        let served = build(model(false), spec, DeviceOwner::Managed, policy);
        let prompts = [1, 2].map(|seed| tokens(LONG, 0, seed));
        leave_far(&served, spec, &prompts);
        let prefetch = |prompt: &[TokenId]| {
            let prefetch = served.pager.prefetch(&served.pager.prepare(&Request::new(prompt)));
            (0..60).for_each(|_| served.pager.poll());
            prefetch.expect("may be brought")
        };
        let [dropped, wanted] = [&prompts[0], &prompts[1]].map(|prompt| prefetch(prompt));
        let moving = || [&dropped, &wanted].map(|prefetch| prefetch.kept().moving);
        assert!(moving().iter().all(|moving| *moving > LONG as usize / 2), "{:?} moves wait", moving());
        check(&served.pager, &what("prefetched"));
        let mut sequence = served.open(&Request::new(&prompts[1]));
        check(&served.pager, &what("asked for"));
        served.compute(&mut sequence);
        let [behind, come] = moving();
        assert!(behind > LONG as usize / 2 && come == 0, "{behind} and {come} moves wait");
        drop(dropped);
        check(&served.pager, &what("called off"));
        served.pager.check();
        let lanes = served.pager.stats().lanes;
        assert!(lanes.iter().all(|lane| lane.queued == 0), "{lanes:?}");
        drop(wanted);
        sequence.close(Fence::OVER);
        served.go_on(&what("after"));
        served.pager.check();
    }
}

#[test]
fn a_front_on_the_device_under_which_much_lies_in_the_host() {
    let (chain, front) = (LONG / 3, 16);
    let spec = MachineSpec { device: chain + 100, host: 4 * chain, file: 20 * chain, lane_limit: 32 };
    for policy in policies() {
        let name = policy.name();
        let served = build(model(false), spec, DeviceOwner::Managed, policy);
        let whole = tokens(chain, 0, 1);
        let lie = || served.pager.lookup(&served.pager.prepare(&Request::new(&whole)));
        let serve = |tokens: &[TokenId], salt| {
            let mut sequence = served.open(&Request::new(tokens).with_salt(salt));
            served.compute(&mut sequence);
            sequence.close(Fence::OVER);
        };
        let fill_host = || {
            for seed in 2..20 {
                serve(&tokens(chain, 0, seed), Salt(1));
                served.go_on(name);
            }
            served.pager.invalidate(Salt(1)).expect("a sound drive");
        };
        serve(&whole, Salt::default());
        fill_host();
        assert!(lie().iter().all(|tier| *tier == TierId::File), "{name}: all of it is far");
        // Its front comes to the device, and leaves the host.
        let mut reader = served.open(&Request::new(&whole[..=(front * TOKENS) as usize]));
        served.compute(&mut reader);
        fill_host();
        reader.close(Fence::OVER);
        // All of it is asked for, and the rest comes no nearer than the host.
        let asking = served.open(&Request::new(&whole));
        for _ in 0..200 {
            for lane in served.machine.lanes() {
                let is_up = lane.ends().target == TierId::Device;
                lane.advance(usize::MAX, |_| if is_up { Fate::Failed(MoveFault::Io) } else { Fate::Done });
            }
            served.pager.poll();
        }
        asking.close(Fence::OVER);
        served.go_on(name);
        let places = lie();
        let near = places.iter().take_while(|tier| **tier == TierId::Device).count();
        assert!(near < chain as usize / 4, "{name}: {near} on the device");
        assert_eq!(places[near..], vec![TierId::Host; chain as usize - near], "{name}");
        let in_host = served.pager.occupancy(TierId::Host, GroupId::FIRST).expect("there is a host");
        assert_eq!(
            in_host.of(SlotState::Resident) as usize,
            places.len() - near,
            "{name}: no front in the host"
        );
        // Somebody needs the whole device, and nothing gets from there to the host: what stands on the front may not lie nearer than what
        // is left of it.
        let prompt = tokens(spec.device - 1, 0, 30);
        let opened = (0..2000).find_map(|_| {
            for lane in served.machine.lanes() {
                let is_down = lane.ends().source == TierId::Device;
                lane.advance(usize::MAX, |_| if is_down { Fate::Failed(MoveFault::Io) } else { Fate::Done });
            }
            served.pager.open(&Request::new(&prompt)).ok()
        });
        check(&served.pager, name);
        let mut sequence = opened.expect("in the end the front gives way");
        served.compute(&mut sequence);
        sequence.close(Fence::OVER);
        served.go_on(name);
        served.pager.check();
    }
}

#[test]
fn loads_of_which_many_are_called_off_or_wait_too_long() {
    for (name, spec) in TIERS {
        for is_late in [false, true] {
            let policy: Box<dyn Policy> = if is_late { Box::new(Lru) } else { Box::new(Impatient) };
            let served = build(model(false), spec, DeviceOwner::Managed, policy);
            let prompt = tokens(LONG, 0, 1);
            leave_far(&served, spec, std::slice::from_ref(&prompt));
            let before = served.pager.stats();
            let mut sequence = served.open(&Request::new(&prompt));
            if is_late {
                served.clock.advance(Limits::default().move_deadline);
            }
            served.compute(&mut sequence);
            let after = served.pager.stats();
            let (failed, cut) =
                (after.failed_loads - before.failed_loads, after.cut_loads - before.cut_loads);
            let what = format!("{name}, late: {is_late}: {failed} loads failed, {cut} were called off");
            assert!(failed > u64::from(LONG) / 2, "{what}");
            assert!(is_late || cut > u64::from(LONG) / 2, "{what}");
            check(&served.pager, &what);
            served.pager.check();
            sequence.close(Fence::OVER);
            served.go_on(name);
            served.pager.check();
        }
    }
}
