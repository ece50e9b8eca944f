//! The built-in workload: conversations that share system prompts, as a chat service sees them.
//! Uses `random`, `trace`. Known by: the command line, tests.
//!
//! - **W1** the same seed and settings give the same stream, on every machine;
//! - **W2** it follows R2 and R3, so whatever takes a trace takes it.
//!
//! A conversation starts with one of a few system prompts; each turn's prompt is the one before, what was answered and
//! said since, and the turns of many conversations alternate. So there are hits near (the system prompt, the turn just
//! before), hits far (a conversation that rested while others went on) and prompts that nobody asks for again. A turn may
//! end within an id, and the next one goes on in it: unlike recorded traces, prefixes end at any token.

use crate::random::{Random, mix};
use crate::trace::{Request, TOKENS_PER_ID, Trace};
use kv_pager::units::Nanos;

/// One conversation in so many is a busy one.
const BUSY_SHARE: u32 = 8;

/// What a stream is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Requests in the stream.
    pub requests: u32,
    /// System prompts that conversations share; at least one.
    pub system_prompts: u32,
    /// Tokens of each system prompt.
    pub system_tokens: u32,
    /// Conversations that go on at the same time; at least one.
    pub conversations: u32,
    /// Turns of a conversation at most; at least one.
    pub turns_max: u32,
    /// Tokens that a turn adds to its conversation's prompt, at most; at least one.
    pub turn_tokens_max: u32,
    /// Tokens generated for a request, at most.
    pub output_tokens_max: u32,
}

impl Workload {
    /// A quarter of an hour of a small chat service, in `requests` requests.
    pub fn new(seed: u64, requests: u32) -> Self {
        Self {
            seed,
            requests,
            system_prompts: 4,
            system_tokens: 1500,
            conversations: 400,
            turns_max: 8,
            turn_tokens_max: 3000,
            output_tokens_max: 64,
        }
    }

    /// The stream.
    ///
    /// # Panics
    /// If a number that must be at least one is zero.
    pub fn generate(&self) -> Trace {
        let mut random = Random::new(mix(self.seed));
        let mut ids = 0;
        let systems: Vec<Box<[u64]>> = (0..self.system_prompts)
            .map(|_| fresh_ids(&mut ids, self.system_tokens / TOKENS_PER_ID))
            .collect();
        let mut open: Vec<Conversation> =
            (0..self.conversations).map(|_| self.begin(&systems, &mut random)).collect();
        let mut arrival_ms = 0;
        let requests = (0..self.requests).map(|_| {
            // Every other turn is one of the busy conversations; the others rest for long, and come back from far.
            let busy = self.conversations.div_ceil(BUSY_SHARE);
            let among = if random.below(2) == 0 { busy } else { self.conversations };
            let place = random.below(among) as usize;
            let request = open[place].turn(self, &mut random, &mut ids, Nanos::from_millis(arrival_ms));
            if open[place].turns_left == 0 {
                open[place] = self.begin(&systems, &mut random);
            }
            arrival_ms += u64::from(random.below(1000));
            request
        });
        Trace::from_requests(requests.collect())
    }

    fn begin(&self, systems: &[Box<[u64]>], random: &mut Random) -> Conversation {
        let ids = systems[random.below(self.system_prompts) as usize].to_vec();
        let tokens = u32::try_from(ids.len()).expect("a system prompt is short") * TOKENS_PER_ID;
        Conversation { ids, tokens, turns_left: random.between(1, self.turns_max) }
    }
}

/// One conversation and what has been said in it.
struct Conversation {
    ids: Vec<u64>,
    tokens: u32,
    turns_left: u32,
}

impl Conversation {
    fn turn(&mut self, workload: &Workload, random: &mut Random, ids: &mut u64, arrival: Nanos) -> Request {
        self.tokens += random.between(1, workload.turn_tokens_max);
        let known = u32::try_from(self.ids.len()).expect("a conversation is short");
        self.ids.extend(fresh_ids(ids, self.tokens.div_ceil(TOKENS_PER_ID) - known));
        self.turns_left -= 1;
        Request {
            arrival,
            prompt_tokens: self.tokens,
            output_tokens: random.between(0, workload.output_tokens_max),
            ids: self.ids.clone().into_boxed_slice(),
        }
    }
}

fn fresh_ids(next: &mut u64, count: u32) -> Box<[u64]> {
    let first = *next;
    *next += u64::from(count);
    (first..*next).collect()
}

#[cfg(test)]
mod tests {
    use super::Workload;
    use crate::trace::{TOKENS_PER_ID, Trace, TraceLimits};
    use std::fmt::Write as _;

    #[test]
    fn a_seed_gives_one_stream() {
        assert_eq!(Workload::new(1, 50).generate(), Workload::new(1, 50).generate());
        assert_ne!(Workload::new(1, 50).generate(), Workload::new(2, 50).generate());
    }

    #[test]
    fn the_stream_is_a_trace() {
        let stream = Workload::new(5, 300).generate();
        let mut text = String::new();
        for request in stream.requests() {
            let ids = &request.ids;
            let (prompt, output) = (request.prompt_tokens, request.output_tokens);
            let arrival_ms = request.arrival.as_u64() / 1_000_000;
            writeln!(
                text,
                "{{\"timestamp\":{arrival_ms},\"input_length\":{prompt},\"output_length\":{output},\"hash_ids\":{ids:?}}}"
            )
            .expect("a string takes everything");
        }
        assert_eq!(Trace::from_reader(text.as_bytes(), TraceLimits::default()).expect("it is one"), stream);
    }

    #[test]
    fn most_ids_are_shared_and_some_turns_end_within_one() {
        let stream = Workload::new(5, 300).generate();
        let last = stream.requests().iter().flat_map(|request| request.ids.iter()).max();
        let unique = last.expect("there are ids") + 1;
        assert!(stream.references() > 2 * unique, "{} references to {unique} ids", stream.references());
        let partial = |tokens: u32| !tokens.is_multiple_of(TOKENS_PER_ID);
        assert!(stream.requests().iter().any(|request| partial(request.prompt_tokens)));
    }
}
