//! Scenarios: request streams on which one way of keeping or another goes wrong.
//! Uses `random`, `trace`. Known by: tests of keeping.
//!
//! - **SC1** the same scenario and seed give the same stream, on every machine;
//! - **SC2** it follows R2 and R3.
//!
//! Where [`Workload`](crate::workload::Workload) is what a service sees, these are exaggerations: long loops of tools, scans
//! that nobody asks for again, jobs by the clock, favourites that change, loops a little larger than any cache.

use crate::random::{Random, mix};
use crate::trace::{Request, TOKENS_PER_ID, Trace};
use kv_pager::units::Nanos;

/// A kind of stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// Agents that share five prompts and call tools ten to sixty times, each call a little longer than the last.
    Agents,
    /// A few agents that call tools hundreds of times over a context that only grows.
    LongAgents,
    /// Planners that send out eight workers over their own context, again and again.
    Swarm,
    /// Conversations, and between them long documents that are read once.
    Scans,
    /// Two hundred tenants of very different size, each with its own prompt.
    Tenants,
    /// Questions over documents whose popularity changes all the time.
    Favourites,
    /// A fixed round of documents, and conversations between.
    Rounds,
    /// Long prompts return and short ones don't; then it is the other way round; and again.
    Flips,
    /// Agents, then conversations, then scans, and once more.
    Phases,
    /// Jobs that come back by the clock, and conversations between.
    Jobs,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Agents,
        Self::LongAgents,
        Self::Swarm,
        Self::Scans,
        Self::Tenants,
        Self::Favourites,
        Self::Rounds,
        Self::Flips,
        Self::Phases,
        Self::Jobs,
    ];

    /// The stream: up to a million references.
    pub fn generate(self, seed: u64) -> Trace {
        let mut stage = Stage { random: Random::new(mix(seed)), next_id: 0, now_ms: 0, requests: Vec::new() };
        match self {
            Self::Agents => stage.agents(160, 5, [10, 60], 15_000),
            Self::LongAgents => stage.agents(60, 1, [40, 200], 60_000),
            Self::Swarm => stage.swarm(),
            Self::Scans => stage.scans(1_500),
            Self::Tenants => stage.chats(4_000, 200, [4, 40], 2),
            Self::Favourites => stage.favourites(),
            Self::Rounds => stage.rounds(),
            Self::Flips => stage.flips(),
            Self::Phases => {
                for _ in 0..2 {
                    stage.agents(25, 1, [10, 50], 10_000);
                    stage.chats(700, 1, [6, 6], 3);
                    stage.documents(400);
                }
            }
            Self::Jobs => stage.jobs(),
        }
        stage.finish()
    }
}

/// One participant that asks several times, each time for all it asked before and something new.
#[derive(Clone, Copy)]
struct Session {
    /// New blocks at the start.
    first: [u32; 2],
    /// New blocks at each turn.
    added: [u32; 2],
    turns: u32,
    /// Mean of the time between turns.
    gap_ms: u32,
}

/// A stream in the making.
struct Stage {
    random: Random,
    next_id: u64,
    now_ms: u64,
    /// In no order, until the end.
    requests: Vec<(u64, Box<[u64]>)>,
}

impl Stage {
    fn finish(mut self) -> Trace {
        self.requests.sort_by_key(|(at_ms, _)| *at_ms);
        let requests = self.requests.into_iter().map(|(at_ms, ids)| Request {
            arrival: Nanos::from_millis(at_ms),
            prompt_tokens: u32::try_from(ids.len()).expect("a prompt is short") * TOKENS_PER_ID,
            output_tokens: 16,
            ids,
        });
        Trace::from_requests(requests.collect())
    }

    fn fresh(&mut self, [low, high]: [u32; 2]) -> Vec<u64> {
        let first = self.next_id;
        self.next_id += u64::from(self.random.between(low, high));
        (first..self.next_id).collect()
    }

    fn fresh_many(&mut self, count: u32, blocks: [u32; 2]) -> Vec<Vec<u64>> {
        (0..count).map(|_| self.fresh(blocks)).collect()
    }

    /// Time that passes until the next of something with this mean gap.
    fn pass(&mut self, gap_ms: u32) {
        self.now_ms += u64::from(self.random.between(0, 2 * gap_ms));
    }

    /// A place below `count`, the first ones far more often.
    fn favourite(&mut self, count: u32) -> usize {
        let bound = 1 + self.random.below(count);
        let bound = 1 + self.random.below(bound);
        self.random.below(bound) as usize
    }

    /// Asks for `front` and one block that nobody asks for again, as the partial end of a prompt.
    fn ask(&mut self, at_ms: u64, front: &[u64]) {
        let end = self.fresh([1, 1]);
        self.requests.push((at_ms, [front, &end].concat().into_boxed_slice()));
    }

    fn session(&mut self, root: &[u64], session: Session) {
        let mut prompt = [root, &self.fresh(session.first)].concat();
        let mut at_ms = self.now_ms;
        for _ in 0..session.turns {
            self.ask(at_ms, &prompt);
            prompt.extend(self.fresh(session.added));
            at_ms += 500 + u64::from(self.random.between(0, 2 * session.gap_ms));
        }
    }

    fn agents(&mut self, count: u32, prompts: u32, calls: [u32; 2], gap_ms: u32) {
        let roots = self.fresh_many(prompts, [12, 20]);
        for _ in 0..count {
            let root = &roots[self.favourite(prompts)];
            let turns = self.random.between(calls[0], calls[1]);
            self.session(root, Session { first: [2, 10], added: [1, 4], turns, gap_ms: 7_000 });
            self.pass(gap_ms);
        }
    }

    fn swarm(&mut self) {
        for _ in 0..40 {
            let mut plan = self.fresh([10, 40]);
            let start_ms = self.now_ms;
            for _ in 0..self.random.between(3, 10) {
                for _ in 0..8 {
                    let turns = self.random.between(1, 8);
                    self.session(&plan, Session { first: [2, 2], added: [2, 2], turns, gap_ms: 5_000 });
                    self.pass(2_000);
                }
                plan.extend(self.fresh([3, 3]));
                self.pass(40_000);
            }
            self.now_ms = start_ms;
            self.pass(60_000);
        }
    }

    fn chat(&mut self, root: &[u64], turns_mean: u32) {
        let turns = self.random.between(1, 2 * turns_mean);
        self.session(root, Session { first: [1, 10], added: [1, 2], turns, gap_ms: 60_000 });
    }

    fn chats(&mut self, count: u32, prompts: u32, prompt_blocks: [u32; 2], turns_mean: u32) {
        let roots = self.fresh_many(prompts, prompt_blocks);
        for _ in 0..count {
            let root = &roots[self.favourite(prompts)];
            self.chat(root, turns_mean);
            self.pass(1_000);
        }
    }

    fn documents(&mut self, count: u32) {
        for _ in 0..count {
            let document = self.fresh([10, 60]);
            self.requests.push((self.now_ms, document.into_boxed_slice()));
            self.pass(800);
        }
    }

    fn scans(&mut self, count: u32) {
        let root = self.fresh([3, 3]);
        for place in 0..count {
            if place % 3 == 0 {
                let document = self.fresh([60, 200]);
                self.requests.push((self.now_ms, document.into_boxed_slice()));
            } else {
                self.chat(&root, 4);
            }
            self.pass(2_000);
        }
    }

    fn favourites(&mut self) {
        const DOCUMENTS: usize = 600;
        let documents = self.fresh_many(600, [10, 60]);
        for place in 0..6_000 {
            let shift = place / 800 * 131;
            let document = (self.favourite(600) * 7 + shift) % DOCUMENTS;
            self.ask(self.now_ms, &documents[document]);
            self.pass(700);
        }
    }

    fn rounds(&mut self) {
        let documents = self.fresh_many(120, [10, 40]);
        let root = self.fresh([2, 2]);
        for place in 0..3_000 {
            if place % 2 == 0 {
                self.ask(self.now_ms, &documents[place / 2 % documents.len()]);
            } else {
                self.chat(&root, 3);
            }
            self.pass(1_000);
        }
    }

    fn flips(&mut self) {
        for place in 0..4_000 {
            let is_long = self.random.below(2) == 0;
            let returns = is_long == (place / 1_000 % 2 == 0);
            let turns = if returns { self.random.between(3, 8) } else { 1 };
            let first = if is_long { [24, 40] } else { [4, 10] };
            self.session(&[], Session { first, added: [1, 1], turns, gap_ms: 40_000 });
            self.pass(1_500);
        }
    }

    fn jobs(&mut self) {
        const END_MS: u64 = 3_600_000;
        let root = self.fresh([2, 2]);
        for prompt in self.fresh_many(300, [20, 60]) {
            let period_ms = self.random.between(300_000, 900_000);
            let mut at_ms = u64::from(self.random.below(period_ms));
            while at_ms < END_MS {
                self.ask(at_ms, &prompt);
                at_ms += u64::from(period_ms);
            }
        }
        while self.now_ms < END_MS {
            self.chat(&root, 3);
            self.pass(3_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;
    use std::collections::HashMap;

    #[test]
    fn every_scenario_is_a_trace() {
        for scenario in Scenario::ALL {
            let stream = scenario.generate(1);
            let (mut before, mut parents) = (None, HashMap::new());
            for request in stream.requests() {
                assert!(before <= Some(request.arrival), "R2: {scenario:?}");
                before = Some(request.arrival);
                let predecessors = [None].into_iter().chain(request.ids.iter().copied().map(Some));
                for (&id, predecessor) in request.ids.iter().zip(predecessors) {
                    assert_eq!(*parents.entry(id).or_insert(predecessor), predecessor, "R3: {scenario:?}");
                }
            }
            assert!(stream.references() >= 20_000, "{scenario:?} has {}", stream.references());
        }
    }

    #[test]
    fn a_seed_gives_one_stream() {
        assert_eq!(Scenario::Flips.generate(4), Scenario::Flips.generate(4));
        assert_ne!(Scenario::Flips.generate(4), Scenario::Flips.generate(5));
    }
}
