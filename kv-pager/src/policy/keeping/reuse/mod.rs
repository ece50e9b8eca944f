//! The reuse model as an order of eviction: the block with the least expected value goes first.
//! Layer 8. Uses `ghosts`, `prices`, `queues`. Known by: `cost_aware`, `duel`.
//!
//! - **RE1** each queue holds offered blocks of one category, in order of last use, so its head is the oldest and, ages
//!   alone telling them apart, the least likely to return;
//! - **RE2** the victim is a head; values are at most [`Reuse::refresh_after`] insertions old.
//!
//! A block's value is the chance that it returns within the horizon, times what its return would cost. The horizon is the
//! capacity, in insertions: about as long as a block can be kept at all, whatever the rate of requests. The chance comes
//! from what became of blocks that looked alike, also of those that had left: ghosts remember them for a while.
//!
//! Told to, it evicts by last use instead, over the same queues: the oldest head of all is the least recently used block.

mod category;
mod statistics;
mod tournament;

use super::ghosts::Ghosts;
use super::prices::{Prices, units};
use super::queues::Queues;
use super::{Arm, Bounds, Departure, EntryId, Keeping, Slice, Touch, Visit};
use category::{Category, Look};
use statistics::{Outlook, Statistics};
use tournament::{Key, Tournament};

/// Queues: each category, without and with a copy farther away.
const QUEUES: u16 = 480;
const _: () = assert!(QUEUES as usize == 2 * Category::COUNT);

/// Insertions after which values are worked out anew, at least: keeps that under 40 ns an insertion.
const REFRESH_MIN: u64 = 128;

/// Which head goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// The one of least expected value.
    Value,
    /// The one used least recently.
    Recency,
}

/// What is known of a block, in the tier or not.
#[derive(Clone, Copy, Debug)]
struct Past {
    /// Insertions before its last use.
    used_at: u64,
    category: Category,
    uses: u8,
}

#[derive(Clone, Copy, Debug)]
struct State {
    name: u64,
    /// Zero when it is not in the tier.
    stamp: u64,
    past: Past,
    is_backed: bool,
    /// Whether it was admitted, and nothing was known of it.
    is_stranger: bool,
}

impl State {
    const ABSENT: u64 = 0;

    /// The queue in which it stands when it is offered.
    fn queue(&self) -> u16 {
        2 * self.past.category.number() + u16::from(self.is_backed)
    }
}

/// What a request tells of each of its blocks, in blocks.
#[derive(Clone, Copy, Debug)]
struct Request {
    length: u32,
    /// How much of its front had been seen before.
    known: u32,
}

/// The arm without the duel.
#[derive(Debug)]
pub(super) struct Reuse {
    states: Box<[State]>,
    ghosts: Ghosts<Past>,
    statistics: Statistics,
    offered: Queues,
    rule: Rule,
    prices: Prices,
    outlooks: Box<[Outlook]>,
    /// Categories whose outlook has been worked out since the last refresh.
    is_current: Box<[bool]>,
    tournament: Tournament,
    /// Queues whose heads may have changed since they took part in the tournament.
    stale: Vec<u16>,
    is_stale: Box<[bool]>,
    /// When values were last worked out.
    refreshed_at: u64,
    inserted: u64,
    /// What earlier slices of a request have inserted: it counts when the whole has been visited.
    uncounted: usize,
    /// What was withdrawn, and has been counted as inserted before.
    withdrawn: usize,
    stamp: u64,
    len: usize,
    capacity: u32,
    tokens_per_block: u32,
}

impl Reuse {
    pub(super) fn new(bounds: &Bounds) -> Self {
        let entries = bounds.entries();
        let past = Past { used_at: 0, category: Category::from_index(0), uses: 0 };
        let absent = State { name: 0, stamp: State::ABSENT, past, is_backed: false, is_stranger: false };
        Self {
            states: vec![absent; entries as usize].into_boxed_slice(),
            ghosts: Ghosts::new(ghost_capacity(bounds.capacity)),
            statistics: Statistics::new(),
            offered: Queues::new(entries, QUEUES),
            rule: Rule::Value,
            prices: Prices::EQUAL,
            outlooks: vec![Outlook::default(); Category::COUNT].into_boxed_slice(),
            is_current: vec![false; Category::COUNT].into_boxed_slice(),
            tournament: Tournament::new(QUEUES),
            stale: Vec::with_capacity(usize::from(QUEUES)),
            is_stale: vec![false; usize::from(QUEUES)].into_boxed_slice(),
            refreshed_at: 0,
            inserted: 0,
            uncounted: 0,
            withdrawn: 0,
            stamp: State::ABSENT,
            len: 0,
            capacity: bounds.capacity,
            tokens_per_block: bounds.tokens_per_block,
        }
    }

    /// Which head goes first from now on.
    pub(super) fn set_rule(&mut self, rule: Rule) {
        if self.rule != rule {
            self.rule = rule;
            self.refresh();
        }
    }

    /// Insertions for which values hold: a small part of the horizon.
    fn refresh_after(&self) -> u64 {
        u64::from(self.capacity / 64).max(REFRESH_MIN)
    }

    fn units(&self, blocks: u32) -> u32 {
        units(blocks, self.tokens_per_block)
    }

    /// What the block at `depth` of a request looks like, as if it had never been used.
    fn look(&self, depth: u32, request: Request) -> Look {
        Look {
            uses: 0,
            depth: self.units(depth),
            known: self.units(request.known),
            added: self.units(request.length - request.known),
            is_last: depth + 1 == request.length,
        }
    }

    fn touch(&mut self, touch: &Touch, request: Request) {
        let state = self.states[touch.entry.index()];
        let is_new = state.stamp == State::ABSENT;
        let past = if is_new { self.ghosts.take(touch.name) } else { Some(state.past) };
        let look = self.look(touch.depth, request);
        let past = count_use(&mut self.statistics, past, look, self.inserted);
        self.len += usize::from(is_new);
        self.stamp += 1;
        let is_backed = state.is_backed && !is_new;
        let state = State { name: touch.name, stamp: self.stamp, past, is_backed, is_stranger: false };
        self.states[touch.entry.index()] = state;
        if let Some(queue) = self.offered.queue_of(touch.entry) {
            self.set_stale(queue);
            self.enqueue(touch.entry);
        }
    }

    /// Puts an entry where its state says.
    fn enqueue(&mut self, entry: EntryId) {
        let state = self.states[entry.index()];
        self.offered.insert(state.queue(), entry, state.stamp);
        self.set_stale(state.queue());
    }

    fn dequeue(&mut self, entry: EntryId) {
        if let Some(queue) = self.offered.queue_of(entry) {
            self.offered.remove(entry);
            self.set_stale(queue);
        }
    }

    fn set_stale(&mut self, queue: u16) {
        if !std::mem::replace(&mut self.is_stale[usize::from(queue)], true) {
            self.stale.push(queue);
        }
    }

    /// The clock goes on by so many.
    fn count_insertions(&mut self, count: usize) {
        self.inserted += count as u64;
        if self.inserted - self.refreshed_at >= self.refresh_after() {
            self.refresh();
        }
    }

    /// RE2: the values of all heads are worked out anew, from what is known by now.
    fn refresh(&mut self) {
        self.refreshed_at = self.inserted;
        self.is_current.fill(false);
        for queue in 0..QUEUES {
            if self.offered.first(queue).is_some() {
                self.set_stale(queue);
            }
        }
    }

    fn outlook(&mut self, category: Category) -> Outlook {
        let place = category.index();
        if !std::mem::replace(&mut self.is_current[place], true) {
            self.outlooks[place] = self.statistics.outlook(category, f64::from(self.capacity));
        }
        self.outlooks[place]
    }

    /// Lets the queues whose heads have changed take part anew.
    fn settle(&mut self) {
        while let Some(queue) = self.stale.pop() {
            self.is_stale[usize::from(queue)] = false;
            let head = self.offered.first(queue);
            let key =
                head.map_or(Key::ABSENT, |(entry, stamp)| Key { value: self.value(queue, entry), stamp });
            self.tournament.set(queue, key);
        }
    }

    fn value(&mut self, queue: u16, entry: EntryId) -> f64 {
        if self.rule == Rule::Recency {
            return 0.0;
        }
        self.value_of(self.states[entry.index()].past, queue % 2 == 1)
    }

    /// The chance of a block with this past to return within the horizon, times the price of having it back.
    fn value_of(&mut self, past: Past, is_backed: bool) -> f64 {
        let age = self.inserted - past.used_at;
        let price = self.prices.of(past.category.band(), is_backed);
        self.outlook(past.category).chance(as_float(age)) * price
    }
}

/// Counts one use of a block after so many insertions: what its past has come to, and what it looks like now.
fn count_use(statistics: &mut Statistics, past: Option<Past>, look: Look, inserted: u64) -> Past {
    if let Some(past) = past {
        statistics.count_return(past.category, as_float((inserted - past.used_at).max(1)));
    }
    let uses = past.map_or(0, |past| past.uses).saturating_add(1);
    let category = Category::of(&Look { uses, ..look });
    statistics.count_trial(category);
    Past { used_at: inserted, category, uses }
}

/// Ages and counts of insertions stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 insertions")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// How many departed blocks are remembered: enough to see returns at several times the horizon, more where that is cheap.
fn ghost_capacity(capacity: u32) -> usize {
    (capacity as usize).max((capacity as usize * 8).min(1 << 16))
}

impl Keeping for Reuse {
    fn name(&self) -> &'static str {
        Arm::CostAware.name()
    }

    fn visit(&mut self, visit: &Visit<'_>) {
        let known = self.first_unknown(visit).unwrap_or(visit.length);
        self.visit_slice(&Slice { visit: *visit, known, is_last: true });
    }

    fn first_unknown(&self, visit: &Visit<'_>) -> Option<u32> {
        self.ghosts.warm(visit.absent.iter().map(|block| block.name));
        let is_known = |touch: &&Touch| {
            self.states[touch.entry.index()].stamp != State::ABSENT || self.ghosts.contains(touch.name)
        };
        let here = visit.touches.iter().find(|touch| !is_known(touch)).map(|touch| touch.depth);
        let absent =
            visit.absent.iter().find(|block| !self.ghosts.contains(block.name)).map(|block| block.depth);
        here.into_iter().chain(absent).min()
    }

    fn visit_slice(&mut self, slice: &Slice<'_>) {
        let Slice { visit, known, is_last } = slice;
        let request = Request { length: visit.length, known: *known };
        let before = self.len;
        let is_new = |touch: &&Touch| self.states[touch.entry.index()].stamp == State::ABSENT;
        self.ghosts.warm(visit.touches.iter().filter(is_new).map(|touch| touch.name));
        self.ghosts.warm(visit.absent.iter().map(|block| block.name));
        self.ghosts.warm_oldest(visit.absent.len());
        for touch in visit.touches.iter().rev() {
            self.touch(touch, request);
        }
        for block in visit.absent.iter().rev() {
            let look = self.look(block.depth, request);
            let (statistics, inserted) = (&mut self.statistics, self.inserted);
            self.ghosts.renew(block.name, |past| count_use(statistics, past, look, inserted));
        }
        self.uncounted += self.len - before;
        if *is_last {
            let counted = std::mem::take(&mut self.withdrawn);
            let inserted = std::mem::take(&mut self.uncounted);
            self.count_insertions(inserted.saturating_sub(counted));
        }
    }

    fn warm(&self, names: &[u64], departures: usize) {
        self.ghosts.warm(names.iter().copied());
        self.ghosts.warm_oldest(departures);
    }

    /// It stands as what it was when it was last seen; no use is counted, for there was none. (Its place in the queue is that of
    /// its arrival: what a nearer tier gives up comes in the order of last use, or nearly.)
    fn admit(&mut self, arrival: &Touch) {
        let stranger = Past {
            used_at: self.inserted,
            category: Category::of(&Look {
                uses: 1,
                depth: self.units(arrival.depth),
                known: 0,
                added: self.units(arrival.depth + 1),
                is_last: false,
            }),
            uses: 1,
        };
        let state = &self.states[arrival.entry.index()];
        assert!(state.stamp == State::ABSENT, "{:?} arrives, and is there already", arrival.entry);
        let known = self.ghosts.take(arrival.name);
        let is_stranger = known.is_none();
        let past = known.unwrap_or(stranger);
        self.len += 1;
        self.stamp += 1;
        self.states[arrival.entry.index()] =
            State { name: arrival.name, stamp: self.stamp, past, is_backed: false, is_stranger };
        self.count_insertions(1);
    }

    fn odds(&mut self, entry: EntryId) -> Option<f64> {
        let Past { category, used_at, .. } = self.states[entry.index()].past;
        let age = as_float(self.inserted - used_at);
        Some(self.outlook(category).ever(age))
    }

    fn worth(&mut self, entry: EntryId) -> Option<f64> {
        let State { past, is_backed, .. } = self.states[entry.index()];
        (self.rule == Rule::Value).then(|| self.value_of(past, is_backed))
    }

    fn worth_of_absent(&mut self, name: u64) -> Option<f64> {
        let past = self.ghosts.get(name).filter(|_| self.rule == Rule::Value)?;
        Some(self.value_of(past, true))
    }

    fn offer(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            let state = &self.states[entry.index()];
            assert!(state.stamp != State::ABSENT, "{entry:?} is offered, and was never touched");
            self.enqueue(entry);
        }
    }

    fn withhold(&mut self, entries: &[EntryId]) {
        for &entry in entries {
            self.dequeue(entry);
        }
    }

    fn victim(&mut self) -> Option<EntryId> {
        self.settle();
        let queue = self.tournament.least()?;
        self.offered.first(queue).map(|(entry, _)| entry)
    }

    fn depart(&mut self, entry: EntryId, departure: Departure) {
        let state = self.states[entry.index()];
        assert!(state.stamp != State::ABSENT, "{entry:?} departs, and was never touched");
        self.dequeue(entry);
        self.states[entry.index()].stamp = State::ABSENT;
        self.len -= 1;
        let is_remembered = match departure {
            Departure::Evicted => true,
            Departure::Invalidated => false,
            Departure::Withdrawn => !state.is_stranger,
        };
        self.withdrawn += usize::from(departure == Departure::Withdrawn);
        if is_remembered {
            self.ghosts.insert(state.name, state.past);
        }
    }

    fn set_backed(&mut self, entry: EntryId, is_backed: bool) {
        if self.states[entry.index()].is_backed != is_backed {
            self.states[entry.index()].is_backed = is_backed;
            if let Some(queue) = self.offered.queue_of(entry) {
                self.set_stale(queue);
                self.enqueue(entry);
            }
        }
    }

    fn set_prices(&mut self, prices: &Prices) {
        self.prices = *prices;
        self.refresh();
    }

    fn len(&self) -> usize {
        self.len
    }

    fn check(&self) {
        self.offered.check();
        let present = self.states.iter().filter(|state| state.stamp != State::ABSENT).count();
        assert_eq!(self.len, present, "KE2");
        for (index, state) in self.states.iter().enumerate() {
            let entry = EntryId::new(u32::try_from(index).expect("entries are counted in 32 bits"));
            let queue = self.offered.queue_of(entry);
            assert!(queue.is_none_or(|queue| queue == state.queue()), "RE1: {entry:?} stands in {queue:?}");
        }
    }
}
