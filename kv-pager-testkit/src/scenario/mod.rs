//! Scenarios: request streams on which one way of keeping or another goes wrong.
//! Uses `random`, `trace`. Known by: tests of keeping.
//!
//! - **SC1** the same scenario and seed give the same stream, on every machine;
//! - **SC2** it follows R2 and R3.
//!
//! Where [`Workload`](crate::workload::Workload) is what a service sees, these are exaggerations: long loops of tools, scans
//! that nobody asks for again, jobs by the clock, favourites that change, loops a little larger than any cache.

mod documents;
mod stage;

use crate::trace::Trace;
use stage::Stage;

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
    /// Documents that are asked for the more often the more recently they were.
    Recents,
    /// The same with few and very long documents: one of them is a good part of a small cache.
    LongRecents,
    /// Documents that are asked for twice, soon, and others that look alike and come round for ever.
    Twins,
    /// Files that are asked for again and again, each time changed from some place on.
    Edits,
    /// Each of many documents at any time as likely as any other: there is nothing to learn.
    Chance,
    /// The same over a window of documents that moves on slowly.
    Window,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 16] = [
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
        Self::Recents,
        Self::LongRecents,
        Self::Twins,
        Self::Edits,
        Self::Chance,
        Self::Window,
    ];

    /// The stream: up to a million references.
    pub fn generate(self, seed: u64) -> Trace {
        let mut stage = Stage::new(seed);
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
            Self::Recents => stage.recents(5_000, [2, 30]),
            Self::LongRecents => stage.recents(400, [100, 400]),
            Self::Twins => stage.twins(),
            Self::Edits => stage.edits(),
            Self::Chance => stage.chance(),
            Self::Window => stage.window(),
        }
        stage.finish()
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
