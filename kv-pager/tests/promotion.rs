//! What comes from the file to host memory while lanes stand idle: when, how much at a time, in whose place, and who shares it.

use kv_pager::clock::ManualClock;
use kv_pager::config::{Allowance, Limits, Promotion, Quota, Watermarks};
use kv_pager::cost::{CostModel, LaneCost, LaneProfile, Profile};
use kv_pager::ids::{Fence, GroupId, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::shape;
use kv_pager::pager::{Request, Sequence, Step};
use kv_pager::policy::keeping::Arm;
use kv_pager::policy::plan::{EngineAbility, Loading};
use kv_pager::policy::{
    Decision, Idle, LoadPlan, Matched, Need, Policy, Reason, Setting, Steward, StewardSpec, View,
};
use kv_pager::pool::SlotState;
use kv_pager::tier::{Lane, LaneEnds, MoveFault};
use kv_pager::{Config, Pager};
use kv_pager_testkit::tagged::{Fate, Machine, MachineSpec};
use std::sync::Arc;

const TOKENS: u32 = 16;
const READ: LaneEnds = LaneEnds { source: TierId::File, target: TierId::Host };
/// Blocks that one promotion moves: four chunks of a block.
const AT_ONCE: u64 = 4;
const WANTED: Salt = Salt(1);
const OTHERS: Salt = Salt(2);

fn steward(keeping: Arm) -> Box<dyn Policy> {
    Box::new(Steward::new(StewardSpec { keeping, loading: Loading::AlwaysLoad, ..StewardSpec::default() }))
}

/// A machine, and a pager that does not know yet what its lanes take.
struct World {
    machine: Machine,
    pager: Pager,
}

impl World {
    fn new(promotion: Promotion, policy: Box<dyn Policy>) -> Self {
        let model = shape("tiny").expect("known");
        let machine = Machine::new(&model, MachineSpec { device: 24, host: 24, file: 400, lane_limit: 64 });
        let limits = Limits { sequence_tokens: 4096, batch_moves: 64, ..Limits::default() };
        let watermarks = Watermarks { low: 0.0, high: 0.1 };
        let config = Config { limits, watermarks, promotion, ..Config::default() };
        let pager = Pager::new(model, config, machine.backend(), policy, Arc::new(ManualClock::new()));
        let pager = pager.expect("fits");
        Self { machine, pager }
    }

    /// Says what the lanes take: a chunk is a block.
    fn set_costs(&self) {
        let block = shape("tiny").expect("known").block_bytes();
        let mut profile = Profile::h200_llama3_8b();
        for lane in &mut profile.lanes {
            *lane = LaneProfile::new(lane.ends, &LaneCost::uniform(1_000.0, 1_000.0, 2e8, block));
        }
        let costs = CostModel::new(&profile).expect("plausible");
        self.pager.set_costs(costs, EngineAbility { can_overlap: true, step_tokens_max: 256 });
    }

    /// A world in whose file alone `blocks` blocks of [`WANTED`] lie, or all but the last; all else has been erased.
    fn with_filed(promotion: Promotion, policy: Box<dyn Policy>, blocks: u32) -> Self {
        let world = Self::new(promotion, policy);
        world.serve(WANTED, 1, blocks);
        world.flood();
        world.pager.invalidate(OTHERS).expect("no tier of this machine outlives it");
        world.pager.check();
        assert!((u64::from(blocks) - 1..=u64::from(blocks)).contains(&world.filed()), "{}", world.filed());
        world.set_costs();
        world
    }

    fn open(&self, salt: Salt, letter: u32, blocks: u32) -> Sequence {
        let tokens: Vec<TokenId> = (0..=blocks * TOKENS).map(|at| TokenId(letter << 16 | at)).collect();
        for _ in 0..100 {
            match self.pager.open(&Request::new(&tokens).with_salt(salt)) {
                Ok(sequence) => return sequence,
                Err(_busy) => self.machine.advance_all(),
            };
        }
        panic!("never served");
    }

    /// Serves a prompt of `blocks` blocks and a token; tells from where its hits came.
    fn serve(&self, salt: Salt, letter: u32, blocks: u32) -> [u64; TierId::COUNT] {
        let mut sequence = self.open(salt, letter, blocks);
        loop {
            match sequence.next_step(1000).expect("room") {
                Step::Compute(range) => sequence.commit(range, Fence::OVER).expect("as told"),
                Step::Wait => _ = self.machine.advance_all(),
                Step::Ready => break,
            }
        }
        let hits = sequence.report().hit_tokens;
        sequence.close(Fence::OVER);
        self.pager.check();
        hits
    }

    /// Nothing else stays where it may be evicted.
    fn flood(&self) {
        for letter in 100..110 {
            self.serve(OTHERS, letter, 16);
        }
        // What is under way ends; nobody asks for more meanwhile.
        while self.machine.advance_all() > 0 {
            self.pager.poll();
        }
    }

    /// Lets the pager do as it likes for `calls` calls, each after all moves have ended.
    fn idle(&self, calls: u32) {
        for _ in 0..calls {
            self.pager.poll();
            self.pager.check();
            self.machine.advance_all();
        }
        self.pager.poll();
    }

    /// Lets the pager go through the file until it has found something to bring.
    fn begin(&self) {
        (0..20).take_while(|_| self.under_way() == 0).for_each(|_| self.pager.poll());
        assert_eq!((self.under_way(), self.read()), (AT_ONCE, 0));
    }

    /// How many blocks the file has.
    fn filed(&self) -> u64 {
        let counts = self.pager.occupancy(TierId::File, GroupId::FIRST).expect("there is one");
        u64::from(counts.of(SlotState::Resident))
    }

    /// How many moves wait for the lane from the file, or are under way on it.
    fn under_way(&self) -> u64 {
        let lane = self.machine.lanes().iter().find(|lane| lane.ends() == READ);
        lane.expect("there is one").backlog().0 as u64
    }

    fn read(&self) -> u64 {
        let stats = self.pager.stats();
        stats.lanes.iter().filter(|lane| lane.ends == READ).map(|lane| lane.stats.moves).sum()
    }
}

#[test]
fn what_only_the_file_has_comes_to_free_slots_whatever_the_arm() {
    for keeping in Arm::ALL {
        let world = World::with_filed(Promotion::WhileIdle, steward(keeping), 12);
        world.idle(40);
        let promoted = world.pager.stats().promoted;
        let block = shape("tiny").expect("known").block_bytes();
        let (filed, read) = (world.filed(), world.read());
        let bytes = block.checked_mul(filed).expect("small");
        assert_eq!((promoted.parts, promoted.bytes, read), (filed, bytes, filed), "{keeping}");
        assert_eq!(world.serve(WANTED, 1, 12), [0, filed * 16, 0], "{keeping}: the host has it now");
    }
}

#[test]
fn nothing_comes_where_it_is_switched_off() {
    let world = World::with_filed(Promotion::Never, steward(Arm::CostAware), 12);
    world.idle(40);
    assert_eq!((world.pager.stats().promoted.parts, world.read()), (0, 0));
}

#[test]
fn little_is_under_way_at_a_time_and_the_high_watermark_stays_free() {
    let world = World::with_filed(Promotion::WhileIdle, steward(Arm::Lru), 23);
    let mut seen = 0;
    for _ in 0..60 {
        world.pager.poll();
        world.pager.check();
        seen = seen.max(world.under_way());
        assert!(world.under_way() <= AT_ONCE, "PM1: {} moves at once", world.under_way());
        world.machine.advance_all();
    }
    assert_eq!(seen, AT_ONCE);
    // Of 24 slots 3 stay free: a tenth, rounded up.
    assert_eq!(world.pager.stats().promoted.parts, 21, "PM2");
}

#[test]
fn a_request_shares_what_is_on_its_way_and_its_other_loads_go_next() {
    let world = World::with_filed(Promotion::WhileIdle, steward(Arm::Lru), 12);
    world.begin();
    // Its first four blocks are on their way, the rest it loads.
    let sequence = world.open(WANTED, 1, 12);
    world.pager.poll();
    assert_eq!(world.pager.stats().promoted.parts, 0, "nothing has ended");
    drop(sequence);
    let filed = world.filed();
    assert_eq!(world.serve(WANTED, 1, 12).iter().sum::<u64>(), filed * 16);
    assert_eq!(world.read(), filed, "PM4: each block was read once");
    assert_eq!(world.pager.stats().promoted.parts, AT_ONCE, "the loads of a request are no promotions");
}

#[test]
fn a_promotion_that_fails_leaves_a_copy_that_can_be_loaded() {
    let world = World::with_filed(Promotion::WhileIdle, steward(Arm::Lru), 8);
    world.begin();
    for lane in world.machine.lanes() {
        lane.advance(64, |_| Fate::Failed(MoveFault::Io));
    }
    world.pager.poll();
    world.pager.check();
    assert_eq!(world.serve(WANTED, 1, 8).iter().sum::<u64>(), world.filed() * 16);
}

#[test]
fn nobody_gets_more_than_the_quota_by_promotion() {
    let world = World::with_filed(Promotion::WhileIdle, steward(Arm::Lru), 12);
    world
        .pager
        .set_quota(WANTED, Quota { host: Allowance::Slots(5), ..Quota::default() })
        .expect("there is a place");
    world.idle(40);
    assert_eq!(world.pager.stats().promoted.parts, 5, "PM3");
}

/// Wants one block of the file nearer at a time, whatever the room; evicts the host's coldest for it.
#[derive(Debug, Default)]
struct Pushy {
    hand: usize,
}

impl Policy for Pushy {
    fn name(&self) -> &'static str {
        "pushy"
    }

    fn start(&mut self, _view: &View<'_>, _setting: &Setting<'_>) -> bool {
        false
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        LoadPlan::of(0..matched.len(), Reason::Asked)
    }

    fn promote(&mut self, view: &View<'_>, idle: &Idle, decisions: &mut Vec<Decision>) {
        let tier = idle.ends.target;
        let victim = view.coldest(tier, idle.group).next();
        decisions.extend(victim.map(|block| Decision::Evict { block, tier, reason: Reason::Outweighed }));
        let slots = view.capacity(idle.ends.source, idle.group) as usize;
        self.hand = (self.hand + 1) % slots;
        let block = view.block_in(idle.ends.source, idle.group, SlotId::from_index(self.hand));
        if block.is_some() {
            decisions.push(Decision::Promote { block, tier: idle.ends.source, reason: Reason::Hot });
        }
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        for block in view.coldest(need.tier, need.group).take(need.slots as usize) {
            decisions.push(Decision::Demote { block, tier: need.tier, reason: Reason::Coldest });
        }
    }
}

#[test]
fn no_policy_can_promote_where_nothing_costless_is_free_or_break_a_chain() {
    let world = World::new(Promotion::WhileIdle, Box::new(Pushy::default()));
    world.set_costs();
    for letter in 1..20 {
        world.serve(WANTED, letter, 16);
    }
    let written = |world: &World| {
        let write = LaneEnds { source: TierId::Host, target: TierId::File };
        let stats = world.pager.stats();
        stats.lanes.iter().filter(|lane| lane.ends == write).map(|lane| lane.stats.moves).sum::<u64>()
    };
    world.idle(50);
    let before = (written(&world), world.pager.stats().drops);
    let freed = |world: &World| world.pager.stats().evictions[TierId::Host.index()];
    let (freed_before, came_before) = (freed(&world), world.pager.stats().promoted.parts);
    // `check` asserts I6 after each call.
    world.idle(1000);
    let (went, came) = (freed(&world) - freed_before, world.pager.stats().promoted.parts - came_before);
    assert!(went <= came, "PM2: {went} blocks went for {came} that came");
    assert_eq!(
        (written(&world), world.pager.stats().drops),
        before,
        "PM2: nothing is written or lost for it"
    );
}
