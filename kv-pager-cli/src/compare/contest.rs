//! The stream, and the shadows that are run over it.
//! Uses `compare::contestant`. Known by: `compare`.
//!
//! - **CN1** shadows of one pass hold at most [`PASS_BLOCKS`] blocks together, or are one alone.

use super::contestant::Contestant;
use super::results::ArmResults;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressStyle};
use kv_pager::policy::keeping::shadow::{Belady, Footprint, Named, Shadow, Tally};
use kv_pager::policy::keeping::{Arm, Bounds};
use kv_pager_testkit::trace::{TOKENS_PER_ID, Trace};

/// Blocks that the shadows of one pass hold together: some 300 bytes each.
const PASS_BLOCKS: u64 = 16_000_000;

/// Requests between two looks at the clock and at whether someone wants to stop.
const STRIDE: usize = 64;

/// A stream, ready to be served.
#[derive(Debug)]
pub(super) struct Contest<'a> {
    stream: &'a Trace,
    belady: Belady,
    longest: u32,
}

/// One arm at one capacity.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its place among the results.
    place: usize,
    arm: Arm,
    capacity: u32,
}

impl<'a> Contest<'a> {
    /// Counts what the stream has.
    pub(super) fn new(stream: &'a Trace) -> Self {
        let mut belady = Belady::new();
        let mut blocks = Vec::new();
        let mut longest = 1;
        for request in stream.requests() {
            name_blocks(&request.ids, &mut blocks);
            let footprint = footprint(&blocks);
            longest = longest.max(footprint.length);
            belady.push(&footprint);
        }
        Self { stream, belady, longest }
    }

    /// How many requests there are.
    pub(super) fn requests(&self) -> usize {
        self.stream.requests().len()
    }

    /// How many blocks they ask for.
    pub(super) fn references(&self) -> u64 {
        self.stream.references()
    }

    /// How many different ones.
    pub(super) fn unique_blocks(&self) -> u32 {
        u32::try_from(self.belady.unique_blocks()).unwrap_or(u32::MAX)
    }

    /// What each contestant hits at each capacity, contestant by contestant.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] if someone wants to stop.
    pub(super) fn run(
        &self,
        contestants: &[Contestant],
        capacities: &[u32],
        interrupt: &Interrupt,
    ) -> Result<Vec<ArmResults>, Failure> {
        let mut tallies = vec![Tally::default(); contestants.len() * capacities.len()];
        let mut entries = Vec::new();
        for (place, (contestant, capacity)) in pairs(contestants, capacities).enumerate() {
            // More than all there is changes nothing but the memory it takes.
            let capacity = capacity.min(self.unique_blocks());
            match contestant {
                Contestant::Arm(arm) => entries.push(Entry { place, arm, capacity }),
                Contestant::Belady => {
                    stop_if(interrupt)?;
                    tallies[place] = self.belady.serve(capacity);
                }
            }
        }
        let passes = into_passes(&entries);
        let progress = progress_bar((passes.len() * self.requests()) as u64);
        for pass in passes {
            self.serve(pass, &mut tallies, interrupt, &progress)?;
        }
        progress.finish_and_clear();
        let results = pairs(contestants, capacities).zip(tallies);
        Ok(results
            .map(|((contestant, capacity), tally)| ArmResults::new(contestant, capacity, tally))
            .collect())
    }

    /// CP1: one pass over the stream with all entries.
    fn serve(
        &self,
        pass: &[Entry],
        tallies: &mut [Tally],
        interrupt: &Interrupt,
        progress: &ProgressBar,
    ) -> Result<(), Failure> {
        let bounds =
            |capacity| Bounds { capacity, request_blocks: self.longest, tokens_per_block: TOKENS_PER_ID };
        let shadows = pass.iter().map(|entry| Shadow::new(entry.arm, &bounds(entry.capacity)));
        let mut shadows: Vec<Shadow> = shadows.collect();
        let mut blocks = Vec::with_capacity(self.longest as usize);
        for requests in self.stream.requests().chunks(STRIDE) {
            stop_if(interrupt)?;
            for request in requests {
                name_blocks(&request.ids, &mut blocks);
                for shadow in &mut shadows {
                    shadow.request(&footprint(&blocks));
                }
            }
            progress.inc(requests.len() as u64);
        }
        for (entry, shadow) in pass.iter().zip(&shadows) {
            tallies[entry.place] = shadow.tally();
        }
        Ok(())
    }
}

/// CN1: the entries cut where the next one would be too much.
fn into_passes(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut passes = Vec::new();
    let (mut start, mut blocks) = (0, 0);
    for (place, entry) in entries.iter().enumerate() {
        blocks += u64::from(entry.capacity);
        if blocks > PASS_BLOCKS && place > start {
            passes.push(&entries[start..place]);
            (start, blocks) = (place, u64::from(entry.capacity));
        }
    }
    passes.push(&entries[start..]);
    passes.retain(|pass| !pass.is_empty());
    passes
}

fn pairs<'a>(
    contestants: &'a [Contestant],
    capacities: &'a [u32],
) -> impl Iterator<Item = (Contestant, u32)> + 'a {
    contestants
        .iter()
        .flat_map(move |&contestant| capacities.iter().map(move |&capacity| (contestant, capacity)))
}

fn name_blocks(ids: &[u64], blocks: &mut Vec<Named>) {
    blocks.clear();
    blocks.extend((0..).zip(ids).map(|(depth, &name)| Named { name, depth }));
}

fn footprint(blocks: &[Named]) -> Footprint<'_> {
    let length = u32::try_from(blocks.len()).expect("a request has fewer blocks than a trace may have ids");
    Footprint { length, blocks }
}

fn stop_if(interrupt: &Interrupt) -> Result<(), Failure> {
    if interrupt.is_wished() { Err(Failure::Interrupted) } else { Ok(()) }
}

fn progress_bar(requests: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} requests, {eta} left")
        .expect("the template is a constant and right");
    ProgressBar::new(requests).with_style(style)
}
