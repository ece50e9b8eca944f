//! An engine that owns its device slots, on a machine in virtual time.

use kv_pager::config::{DeviceOwner, Limits, Promotion, Watermarks};
use kv_pager::cost::Profile;
use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::ids::{Fence, Salt, SlotId, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, BlockAt, Deliveries, Delivery, Prompt, Request, RequestPriority};
use kv_pager::policy::{
    Decision, LoadPlan, Matched, Need, Policy, Reason, Setting, Steward, StewardSpec, Told, View,
};
use kv_pager::sync::Mutex;
use kv_pager::units::Nanos;
use kv_pager::{Config, Pager};
use std::ops::Range;
use std::sync::Arc;

/// Tokens of a block.
pub(crate) const TOKENS: u32 = 16;

/// Slots by tier.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    pub(crate) device: u32,
    pub(crate) host: u32,
    pub(crate) file: u32,
}

/// An engine with slots of its own, on a machine in virtual time.
pub(crate) struct Engine {
    pub(crate) machine: VirtualMachine,
    pub(crate) pager: Pager,
}

impl Engine {
    /// An engine on a machine of this profile.
    pub(crate) fn new(profile: &Profile, slots: Slots, spec: StewardSpec) -> Self {
        Self::with_policy(profile, slots, Box::new(Steward::new(spec)))
    }

    /// The same, with a policy of one's own.
    pub(crate) fn with_policy(profile: &Profile, slots: Slots, policy: Box<dyn Policy>) -> Self {
        let model = shape("llama3-8b").expect("known");
        let size = |(tier, slots): (TierId, u32)| VirtualTierSize {
            tier,
            bytes: model.block_bytes().checked_mul(u64::from(slots)).expect("small"),
            format: Format::Raw,
        };
        let slots = [(TierId::Device, slots.device), (TierId::Host, slots.host), (TierId::File, slots.file)];
        let sizes: Vec<VirtualTierSize> =
            slots.into_iter().filter(|(_, slots)| *slots > 0).map(size).collect();
        let limits = Limits { sequence_tokens: 16384, sequences: 4, ..Limits::default() };
        let machine =
            VirtualMachine::new(&model, profile, &sizes, limits.moves_queued as usize).expect("plausible");
        let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
        let config = Config {
            device_owner: DeviceOwner::Engine,
            limits,
            watermarks: Watermarks { low: 0.0, high: 0.0 },
            promotion: Promotion::Never,
            ..Config::default()
        };
        let pager = Pager::new(model, config, backend, policy, machine.clock()).expect("fits");
        Self { machine, pager }
    }

    /// A prompt of a block for each id, and a token.
    pub(crate) fn prompt(&self, ids: &[u64]) -> Prompt {
        self.prompt_of(Salt::default(), ids)
    }

    /// The same, of a salt.
    pub(crate) fn prompt_of(&self, salt: Salt, ids: &[u64]) -> Prompt {
        self.pager.prepare(&Request::new(&tokens(ids)).with_salt(salt))
    }

    /// The same, of a request of high priority.
    pub(crate) fn urgent_prompt(&self, ids: &[u64]) -> Prompt {
        self.pager.prepare(&Request::new(&tokens(ids)).with_priority(RequestPriority::High))
    }

    /// The same, of a request with a time to live.
    pub(crate) fn mortal_prompt(&self, ids: &[u64], time_to_live: Nanos) -> Prompt {
        self.pager.prepare(&Request::new(&tokens(ids)).with_time_to_live(time_to_live))
    }

    /// Lets so much time pass.
    pub(crate) fn rest(&self, time: Nanos) {
        self.machine.run_until(self.machine.now().after(time));
        self.pager.poll();
    }

    /// Lets the next thing happen.
    pub(crate) fn go_on(&self) {
        self.machine.run_until(self.machine.next_event());
        self.pager.poll();
    }

    /// Waits until all moves of a call have ended, and what they have caused. Returns how many ended well.
    pub(crate) fn wait(&self, mut deliveries: Deliveries) -> usize {
        while !deliveries.is_over() || self.pager.is_busy() {
            self.go_on();
        }
        deliveries.poll().iter().filter(|outcome| **outcome == Delivery::Done).count()
    }

    /// Brings blocks. Returns how many came.
    pub(crate) fn onboard(&self, prompt: &Prompt, blocks: Range<usize>) -> usize {
        self.wait(self.pager.onboard(prompt, &named(blocks), Fence::OVER).expect("the slots are free"))
    }

    /// Offloads blocks. Returns how many are cached then.
    pub(crate) fn offload(&self, prompt: &Prompt, blocks: Range<usize>) -> usize {
        self.wait(self.pager.offload(prompt, &named(blocks), Fence::OVER).expect("the slots are free"))
    }
}

/// A block of tokens for each id, and a token.
pub(crate) fn tokens(ids: &[u64]) -> Vec<TokenId> {
    let token = |id: &u64| TokenId(u32::try_from(*id).expect("small"));
    let blocks = ids.iter().flat_map(|id| [token(id); TOKENS as usize]);
    blocks.chain([TokenId(u32::MAX)]).collect()
}

/// Blocks, each in the slot of its number.
pub(crate) fn named(blocks: Range<usize>) -> Vec<BlockAt> {
    blocks.map(|block| BlockAt { block, slot: SlotId::from_index(block) }).collect()
}

/// What a policy was shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// By request that it was told of: the uses of its first block.
    pub(crate) uses: Vec<u32>,
    /// By plan: onboards that had not ended.
    pub(crate) lanes_waiting: Vec<u32>,
}

/// A policy that loads all, and notes what it is shown.
#[derive(Debug)]
pub(crate) struct Witness(pub(crate) Arc<Mutex<Shown>>);

impl Policy for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn start(&mut self, _view: &View<'_>, _setting: &Setting<'_>) -> bool {
        true
    }

    fn visit(&mut self, view: &View<'_>, told: &Told<'_>) -> bool {
        self.0.lock().uses.push(view.block(told.blocks[0]).uses);
        true
    }

    fn plan(&mut self, view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        self.0.lock().lanes_waiting.push(view.prospects().lanes_waiting);
        LoadPlan::of(0..matched.len(), Reason::Asked)
    }

    fn make_room(&mut self, _view: &View<'_>, _need: Need, _decisions: &mut Vec<Decision>) {}
}
