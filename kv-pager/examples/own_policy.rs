//! A policy of one's own in a live pager: blocks that were asked for often stay, and short matches are not worth a load.
//!
//! `cargo run -p kv-pager --example own_policy`

use kv_pager::cost::machine::{VirtualMachine, VirtualTierSize};
use kv_pager::cost::{LaneCost, LaneProfile, Profile};
use kv_pager::ids::{Fence, TierId, TokenId};
use kv_pager::layout::{Format, shape};
use kv_pager::pager::{Backend, Request, Step};
use kv_pager::policy::{Decision, LoadPlan, Matched, Need, Policy, Reason, View};
use kv_pager::tier::LaneEnds;
use kv_pager::units::Bytes;
use kv_pager::{Config, Pager};
use std::error::Error;

/// How many of the coldest blocks are looked at for each that has to go.
const CHOICE: usize = 4;
/// Matches of fewer blocks are computed.
const LOAD_BLOCKS_MIN: usize = 4;

/// Of the coldest blocks, evicts those that were asked for least often.
#[derive(Debug, Default)]
struct Favourites {
    candidates: Vec<(u32, kv_pager::ids::BlockId)>,
}

impl Policy for Favourites {
    fn name(&self) -> &'static str {
        "favourites"
    }

    fn plan(&mut self, _view: &View<'_>, matched: &Matched<'_>) -> LoadPlan {
        let start = if matched.len() < LOAD_BLOCKS_MIN { matched.len() } else { 0 };
        LoadPlan::of(start..matched.len(), Reason::Asked)
    }

    fn make_room(&mut self, view: &View<'_>, need: Need, decisions: &mut Vec<Decision>) {
        let Need { tier, group, slots, .. } = need;
        self.candidates.clear();
        let coldest = view.coldest(tier, group).take(slots as usize * CHOICE);
        self.candidates.extend(coldest.map(|block| (view.block(block).uses, block)));
        // A stable order: among equals the coldest goes first, and that is a leaf.
        self.candidates.sort_by_key(|(uses, _)| *uses);
        for (_, block) in self.candidates.iter().take(slots as usize) {
            let block = *block;
            decisions.push(match tier.farther() {
                Some(below) if view.is_in(block, group, below) => {
                    Decision::Evict { block, tier, reason: Reason::CleanCopy }
                }
                Some(_) if view.can_demote_from(tier) => {
                    Decision::Demote { block, tier, reason: Reason::Coldest }
                }
                _ => Decision::Drop { block, tier, reason: Reason::NoTierBelow },
            });
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A machine without memory: a real one comes from a backend crate.
    let model = shape("llama3-8b").ok_or("a known shape")?;
    let mut profile = Profile::h200_llama3_8b();
    let within = LaneEnds { source: TierId::Device, target: TierId::Device };
    profile.lanes.push(LaneProfile::new(within, &LaneCost::uniform(0.0, 0.0, 2e12, Bytes::mib(64))));
    let size = |tier, mib| VirtualTierSize { tier, bytes: Bytes::mib(mib), format: Format::Raw };
    let machine =
        VirtualMachine::new(&model, &profile, &[size(TierId::Device, 512), size(TierId::Host, 2048)], 4096)?;
    let backend = Backend { tiers: machine.tiers(), lanes: machine.lanes() };
    let pager = Pager::new(model, Config::default(), backend, Box::<Favourites>::default(), machine.clock())?;

    let mut hit_tokens = [0; TierId::COUNT];
    for round in 0..30_u32 {
        // Every third request is a favourite, which starts like all the others of its kind.
        let letter = if round.is_multiple_of(3) { 0 } else { round };
        let prompt: Vec<TokenId> = (0..1_600).map(|at| TokenId(letter << 16 | at)).collect();
        let mut sequence = loop {
            match pager.open(&Request::new(&prompt)) {
                Ok(sequence) => break sequence,
                Err(_busy) => machine.run_until(machine.next_event()),
            }
        };
        loop {
            match sequence.next_step(2_048)? {
                Step::Compute(range) => sequence.commit(range, Fence::OVER)?,
                Step::Wait => machine.run_until(machine.next_event()),
                Step::Ready => break,
            }
        }
        for (sum, tokens) in hit_tokens.iter_mut().zip(sequence.report().hit_tokens) {
            *sum += tokens;
        }
        sequence.close(Fence::OVER);
    }
    let [device, host, _] = hit_tokens;
    let mut out = std::io::stdout();
    std::io::Write::write_fmt(
        &mut out,
        format_args!("{device} tokens were found on the device, {host} in host memory\n"),
    )?;
    Ok(())
}
