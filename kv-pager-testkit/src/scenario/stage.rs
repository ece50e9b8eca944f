//! A stream in the making, and the scenarios of participants: agents, conversations, jobs.
//! Uses `random`, `trace`. Known by: `scenario`.

use crate::random::{Random, mix};
use crate::trace::{Request, TOKENS_PER_ID, Trace};
use kv_pager::units::Nanos;

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
pub(super) struct Stage {
    pub(super) random: Random,
    next_id: u64,
    pub(super) now_ms: u64,
    /// In no order, until the end.
    requests: Vec<(u64, Box<[u64]>)>,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(mix(seed)), next_id: 0, now_ms: 0, requests: Vec::new() }
    }

    pub(super) fn finish(mut self) -> Trace {
        self.requests.sort_by_key(|(at_ms, _)| *at_ms);
        let requests = self.requests.into_iter().map(|(at_ms, ids)| Request {
            arrival: Nanos::from_millis(at_ms),
            prompt_tokens: u32::try_from(ids.len()).expect("a prompt is short") * TOKENS_PER_ID,
            output_tokens: 16,
            ids,
        });
        Trace::from_requests(requests.collect())
    }

    pub(super) fn fresh(&mut self, [low, high]: [u32; 2]) -> Vec<u64> {
        let first = self.next_id;
        self.next_id += u64::from(self.random.between(low, high));
        (first..self.next_id).collect()
    }

    pub(super) fn fresh_many(&mut self, count: u32, blocks: [u32; 2]) -> Vec<Vec<u64>> {
        (0..count).map(|_| self.fresh(blocks)).collect()
    }

    /// Time that passes until the next of something with this mean gap.
    pub(super) fn pass(&mut self, gap_ms: u32) {
        self.now_ms += u64::from(self.random.between(0, 2 * gap_ms));
    }

    /// A place below `count`, the first ones far more often.
    pub(super) fn favourite(&mut self, count: u32) -> usize {
        let bound = 1 + self.random.below(count);
        let bound = 1 + self.random.below(bound);
        self.random.below(bound) as usize
    }

    /// Asks for `front` and one block that nobody asks for again, as the partial end of a prompt.
    pub(super) fn ask(&mut self, at_ms: u64, front: &[u64]) {
        let end = self.fresh([1, 1]);
        self.ask_whole(at_ms, [front, &end].concat());
    }

    /// Asks for a prompt as it is.
    pub(super) fn ask_whole(&mut self, at_ms: u64, prompt: Vec<u64>) {
        self.requests.push((at_ms, prompt.into_boxed_slice()));
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

    pub(super) fn agents(&mut self, count: u32, prompts: u32, calls: [u32; 2], gap_ms: u32) {
        let roots = self.fresh_many(prompts, [12, 20]);
        for _ in 0..count {
            let root = &roots[self.favourite(prompts)];
            let turns = self.random.between(calls[0], calls[1]);
            self.session(root, Session { first: [2, 10], added: [1, 4], turns, gap_ms: 7_000 });
            self.pass(gap_ms);
        }
    }

    pub(super) fn swarm(&mut self) {
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

    pub(super) fn chats(&mut self, count: u32, prompts: u32, prompt_blocks: [u32; 2], turns_mean: u32) {
        let roots = self.fresh_many(prompts, prompt_blocks);
        for _ in 0..count {
            let root = &roots[self.favourite(prompts)];
            self.chat(root, turns_mean);
            self.pass(1_000);
        }
    }

    pub(super) fn documents(&mut self, count: u32) {
        for _ in 0..count {
            let document = self.fresh([10, 60]);
            self.ask_whole(self.now_ms, document);
            self.pass(800);
        }
    }

    pub(super) fn scans(&mut self, count: u32) {
        let root = self.fresh([3, 3]);
        for place in 0..count {
            if place % 3 == 0 {
                let document = self.fresh([60, 200]);
                self.ask_whole(self.now_ms, document);
            } else {
                self.chat(&root, 4);
            }
            self.pass(2_000);
        }
    }

    pub(super) fn favourites(&mut self) {
        const DOCUMENTS: usize = 600;
        let documents = self.fresh_many(600, [10, 60]);
        for place in 0..6_000 {
            let shift = place / 800 * 131;
            let document = (self.favourite(600) * 7 + shift) % DOCUMENTS;
            self.ask(self.now_ms, &documents[document]);
            self.pass(700);
        }
    }

    pub(super) fn rounds(&mut self) {
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

    pub(super) fn flips(&mut self) {
        for place in 0..4_000 {
            let is_long = self.random.below(2) == 0;
            let returns = is_long == (place / 1_000 % 2 == 0);
            let turns = if returns { self.random.between(3, 8) } else { 1 };
            let first = if is_long { [24, 40] } else { [4, 10] };
            self.session(&[], Session { first, added: [1, 1], turns, gap_ms: 40_000 });
            self.pass(1_500);
        }
    }

    pub(super) fn jobs(&mut self) {
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
