//! A scene: a pager whose blocks lie where a cell wants them, and one request served in it.
//! Uses `two_front::{cell, placement}`. Known by: `two_front::contest`, the binary.

use super::cell::{BLOCK_TOKENS, Cell, Split};
use super::placement::{OWN_TOKENS, Orders, Placement, QUEUED, SHARED};
use kv_pager::clock::Clock;
use kv_pager::config::{Config, Limits, Watermarks};
use kv_pager::cost::{CostModel, TokenSpan};
use kv_pager::ids::{Fence, GroupId, Salt, TierId, TokenId};
use kv_pager::layout::ModelLayout;
use kv_pager::pager::{Backend, Forecast, Pager, Progress, Request, Sequence, Step};
use kv_pager::policy::plan::EngineAbility;
use kv_pager::pool::SlotState;
use kv_pager::sync::Mutex;
use kv_pager::units::Nanos;
use kv_pager::{Error, ErrorKind};
use std::sync::Arc;

/// Tokens of every request that are cached nowhere.
const NEW_TOKENS: u32 = 256;
/// How often the pager is looked at until blocks lie as they should.
const LOOKS: usize = 20_000;

/// Where requests are served: what computes, and how time goes on.
pub trait Ground {
    /// Computes these tokens, while the pager and its lanes go on. Returns how long it took.
    ///
    /// # Errors
    /// If the device refuses.
    fn compute(&mut self, pager: &Pager, step: TokenSpan) -> Result<Nanos, Error>;

    /// Lets time go on until something has ended since `seen`, or for a while.
    fn wait(&mut self, pager: &Pager, seen: Progress);
}

/// What a scene is made of.
#[derive(Debug)]
pub struct SceneSpec {
    /// A model with one group of layers, in blocks of 16 tokens.
    pub model: ModelLayout,
    /// The most tokens that are computed in one step.
    pub step_tokens_max: u32,
    /// What moves and computing take.
    pub costs: CostModel,
    /// Tiers and lanes.
    pub backend: Backend,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// A request that was served.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// From opening until all its tokens were there.
    pub took: Nanos,
    /// How much of that was computing.
    pub computing: Nanos,
    /// In how many steps.
    pub steps: u32,
    /// What was planned and what came of it; `None` for a split by force.
    pub forecast: Option<Forecast>,
}

/// See the module.
#[derive(Debug)]
pub struct Scene {
    pager: Pager,
    clock: Arc<dyn Clock>,
    orders: Arc<Mutex<Orders>>,
    step_tokens_max: u32,
    shared: Vec<TokenId>,
    queued: Vec<TokenId>,
    /// Requests so far: each has tokens of its own.
    requests: u32,
}

impl Scene {
    /// A pager with the blocks that `cells` want, all of the shared ones in the file. Blocks while they are written there.
    ///
    /// # Errors
    /// If the tiers are too small, or refuse.
    pub fn new(spec: SceneSpec, cells: &[Cell], ground: &mut dyn Ground) -> Result<Self, Error> {
        let longest = |tokens: &dyn Fn(&Cell) -> u32| cells.iter().map(tokens).max().unwrap_or(0);
        let shared = longest(&|cell| cell.context_tokens + cell.prefix_tokens);
        let queued = longest(&|cell| cell.queued_blocks * BLOCK_TOKENS);
        let orders = Arc::new(Mutex::new(Orders::default()));
        let config = Config {
            limits: Limits { sequences: 4, ..Limits::default() },
            // What is not to stay may go at any time, not only where there is no room.
            watermarks: Watermarks { low: 0.9999, high: 0.9999 },
            ..Config::default()
        };
        let policy = Box::new(Placement::new(&orders));
        let pager = Pager::new(spec.model, config, spec.backend, policy, Arc::clone(&spec.clock))?;
        let step_tokens_max = spec.step_tokens_max;
        pager.set_costs(spec.costs, EngineAbility { can_overlap: true, step_tokens_max });
        let tokens = |count: u32| (0..count).map(TokenId).collect();
        let scene = Self {
            pager,
            clock: spec.clock,
            orders,
            step_tokens_max,
            shared: tokens(shared),
            queued: tokens(queued),
            requests: 0,
        };
        scene.commit(&scene.queued, QUEUED)?;
        scene.commit(&scene.shared, SHARED)?;
        Ok(scene).and_then(|mut scene| scene.clear([0, 0], ground).map(|()| scene))
    }

    /// Its pager.
    pub fn pager(&self) -> &Pager {
        &self.pager
    }

    /// Puts the blocks of `cell` in place (T2).
    ///
    /// # Errors
    /// If a tier refuses, or the blocks don't come to lie there.
    pub fn prepare(&mut self, cell: &Cell, ground: &mut dyn Ground) -> Result<(), Error> {
        let ready = cell.ready_blocks();
        let near = ready + cell.host_blocks();
        let tokens = &self.shared[..(near * BLOCK_TOKENS) as usize];
        let tokens: Vec<TokenId> = tokens.iter().copied().chain([self.own_token(0)]).collect();
        self.requests += 1;
        self.set_load(Some(Split { meet: 0, end: near }), 0);
        let mut sequence = self.open(&tokens, SHARED, ground)?;
        self.finish_loads(&mut sequence, ground)?;
        drop(sequence);
        self.clear([ready, near], ground)
    }

    /// Serves one request of `cell`, whose blocks are in place, by `split` or by plan, and puts them back in place.
    ///
    /// # Errors
    /// If a tier or the device refuses.
    ///
    /// # Panics
    /// If the prompt has 2^32 tokens or more.
    pub fn serve(
        &mut self,
        cell: &Cell,
        split: Option<Split>,
        ground: &mut dyn Ground,
    ) -> Result<Served, Error> {
        let end = (cell.context_tokens + cell.prefix_tokens) as usize;
        let own = (0..NEW_TOKENS).map(|index| self.own_token(index));
        let tokens: Vec<TokenId> = self.shared[..end].iter().copied().chain(own).collect();
        self.requests += 1;
        let before = self.start_queue(cell, ground)?;
        self.set_load(split, cell.ready_blocks());
        let started = self.clock.now();
        let mut sequence = self.open(&tokens, SHARED, ground)?;
        let (mut computing, mut steps) = (Nanos::ZERO, 0);
        loop {
            let seen = self.pager.progress();
            match sequence.next_step(self.step_tokens_max as usize)? {
                Step::Compute(range) => {
                    let fits = |at: usize| u32::try_from(at).expect("a prompt has fewer than 2^32 tokens");
                    let span = TokenSpan::between(fits(range.start), fits(range.end));
                    let took = ground.compute(&self.pager, span)?;
                    sequence.commit(range.clone(), Fence::OVER)?;
                    sequence.observe(range, took);
                    computing = computing.saturating_add(took);
                    steps += 1;
                }
                Step::Wait => ground.wait(&self.pager, seen),
                Step::Ready => break,
            }
        }
        let took = self.clock.now().since(started);
        let forecast = sequence.forecast();
        drop(sequence);
        if let Some(mut before) = before {
            self.finish_loads(&mut before, ground)?;
        }
        let ready = cell.ready_blocks();
        self.clear([ready, ready + cell.host_blocks()], ground)?;
        Ok(Served { took, computing, steps, forecast })
    }

    /// Gives the lane what is before the request.
    fn start_queue(&mut self, cell: &Cell, ground: &mut dyn Ground) -> Result<Option<Sequence>, Error> {
        if cell.queued_blocks == 0 {
            return Ok(None);
        }
        let tokens = &self.queued[..(cell.queued_blocks * BLOCK_TOKENS) as usize];
        let tokens: Vec<TokenId> = tokens.iter().copied().chain([self.own_token(NEW_TOKENS)]).collect();
        self.set_load(Some(Split { meet: 0, end: cell.queued_blocks }), 0);
        self.open(&tokens, QUEUED, ground).map(Some)
    }

    /// A token that no other request has at this place.
    fn own_token(&self, index: u32) -> TokenId {
        TokenId(OWN_TOKENS + self.requests * (NEW_TOKENS + 1) + index)
    }

    fn set_load(&self, split: Option<Split>, ready: u32) {
        let mut orders = self.orders.lock();
        orders.is_clearing = false;
        orders.load = split.map(|split| (ready + split.meet) as usize..(ready + split.end) as usize);
    }

    fn open(&self, tokens: &[TokenId], salt: Salt, ground: &mut dyn Ground) -> Result<Sequence, Error> {
        loop {
            let seen = self.pager.progress();
            match self.pager.open(&Request::new(tokens).with_salt(salt)) {
                Err(error) if error.kind() == ErrorKind::Retry => ground.wait(&self.pager, seen),
                opened => return opened,
            }
        }
    }

    /// Names blocks of these tokens without computing anything.
    fn commit(&self, tokens: &[TokenId], salt: Salt) -> Result<(), Error> {
        if tokens.is_empty() {
            return Ok(());
        }
        let mut sequence = self.pager.open(&Request::new(tokens).with_salt(salt))?;
        while let Step::Compute(range) = sequence.next_step(usize::MAX)? {
            sequence.commit(range, Fence::OVER)?;
        }
        Ok(())
    }

    fn finish_loads(&self, sequence: &mut Sequence, ground: &mut dyn Ground) -> Result<(), Error> {
        loop {
            let seen = self.pager.progress();
            match sequence.next_step(1)? {
                Step::Wait => ground.wait(&self.pager, seen),
                Step::Compute(_) | Step::Ready => return Ok(()),
            }
        }
    }

    /// Lets all go that is not to stay, and waits until it has.
    fn clear(&mut self, kept: [u32; 2], ground: &mut dyn Ground) -> Result<(), Error> {
        *self.orders.lock() = Orders { kept, is_clearing: true, load: None };
        let [queued, shared] =
            [&self.queued, &self.shared].map(|tokens| tokens.len() / BLOCK_TOKENS as usize);
        let blocks = |count: usize| u32::try_from(count).expect("a few thousand");
        let wanted = [kept[0], kept[1] + blocks(queued), blocks(shared)];
        for _ in 0..LOOKS {
            // Whoever closes a sequence has the pager look for room again.
            drop(self.open(&[self.own_token(NEW_TOKENS)], SHARED, ground)?);
            let seen = self.pager.progress();
            if !self.pager.is_busy() && self.lie() == wanted {
                self.orders.lock().is_clearing = false;
                return Ok(());
            }
            ground.wait(&self.pager, seen);
        }
        let why = format!("blocks lie {:?} by tier, and should lie {wanted:?}", self.lie());
        Err(Error::Configuration { setting: "two-front", why })
    }

    /// How many blocks lie in each tier.
    fn lie(&self) -> [u32; TierId::COUNT] {
        TierId::ALL.map(|tier| {
            let counts = self.pager.occupancy(tier, GroupId::FIRST);
            counts.map_or(0, |counts| counts.of(SlotState::Resident))
        })
    }
}
