//! Arms that are told of requests in slices: they come to the same as those that are told in one go.

use kv_pager::policy::keeping::shadow::{Footprint, Named};
use kv_pager::policy::keeping::{Arm, Bounds, Departure, EntryId, Keeping, Slice, Touch, Visit};
use std::collections::BTreeMap;

const CAPACITY: u32 = 40;
const LENGTH_MAX: u32 = 24;

/// What a request is to an arm: the same for both.
struct Request {
    length: u32,
    touches: Vec<Touch>,
    absent: Vec<Named>,
}

fn tell_whole(arm: &mut dyn Keeping, request: &Request) {
    let Request { length, touches, absent } = request;
    arm.visit(&Visit { length: *length, touches, absent });
}

/// As a pager does: names are read, the arm is asked what it knows from the root on, and visited from the leaf on.
fn tell_in_slices(arm: &mut dyn Keeping, request: &Request, slice: usize) {
    let Request { length, touches, absent } = request;
    let visit = |touches, absent| Visit { length: *length, touches, absent };
    let blocks: Vec<Named> = visit(touches, absent).named().collect();
    if let Some(study) = arm.study() {
        study.read(&Footprint { length: *length, blocks: &blocks });
    }
    let here = touches.chunks(slice).find_map(|slice| arm.first_unknown(&visit(slice, &[])));
    let others = absent.chunks(slice).find_map(|slice| arm.first_unknown(&visit(&[], slice)));
    let known = here.into_iter().chain(others).min().unwrap_or(*length);
    let mut slices: Vec<Visit<'_>> = touches.rchunks(slice).map(|slice| visit(slice, &[])).collect();
    slices.extend(absent.rchunks(slice).map(|slice| visit(&[], slice)));
    let last = slices.len() - 1;
    for (at, visit) in slices.into_iter().enumerate() {
        arm.visit_slice(&Slice { visit, known, is_last: at == last });
    }
}

/// A tier of which each block is a name.
#[derive(Default)]
struct Tier {
    entries: BTreeMap<u64, EntryId>,
    free: Vec<EntryId>,
}

impl Tier {
    /// Names of chains that share fronts; of some requests every third block does not come into the tier.
    fn request(&mut self, seed: u32) -> Request {
        let length = 3 + seed * 7 % (LENGTH_MAX - 3);
        let shared = seed * 5 % 11;
        let is_partial = seed.is_multiple_of(4);
        let mut request = Request { length, touches: Vec::new(), absent: Vec::new() };
        for depth in 0..length {
            let chain = if depth < shared { seed % 3 } else { 100 + seed % 17 };
            let name = u64::from(chain * 1000 + depth);
            let is_here = self.entries.contains_key(&name);
            if !is_here && is_partial && depth % 3 == 2 {
                request.absent.push(Named { name, depth });
                continue;
            }
            let entry = *self.entries.entry(name).or_insert_with(|| self.free.pop().expect("room"));
            request.touches.push(Touch { entry, name, depth });
        }
        request
    }
}

#[test]
fn slices_come_to_the_same_as_a_whole_request() {
    let bounds = Bounds { capacity: CAPACITY, request_blocks: LENGTH_MAX, tokens_per_block: 512 };
    for arm in Arm::ALL {
        for slice in [1, 2, 5, 100] {
            let (mut whole, mut sliced) = (arm.build(&bounds), arm.build(&bounds));
            let free = (0..CAPACITY + LENGTH_MAX).map(EntryId::new).collect();
            let mut tier = Tier { entries: BTreeMap::new(), free };
            for seed in 0..600 {
                let request = tier.request(seed);
                tell_whole(whole.as_mut(), &request);
                tell_in_slices(sliced.as_mut(), &request, slice);
                let entries: Vec<EntryId> = request.touches.iter().map(|touch| touch.entry).collect();
                whole.offer(&entries);
                sliced.offer(&entries);
                while tier.entries.len() > CAPACITY as usize {
                    let victim = whole.victim().expect("all are offered");
                    assert_eq!(sliced.victim(), Some(victim), "{arm:?}, request {seed} in slices of {slice}");
                    assert_eq!(sliced.odds(victim), whole.odds(victim), "{arm:?}, request {seed}");
                    whole.depart(victim, Departure::Evicted);
                    sliced.depart(victim, Departure::Evicted);
                    tier.entries.retain(|_, entry| *entry != victim);
                    tier.free.push(victim);
                }
                whole.check();
                sliced.check();
            }
        }
    }
}
