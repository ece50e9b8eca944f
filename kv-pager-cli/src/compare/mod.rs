//! `kv-pager compare`: what each keeping policy would hit on one request stream, by capacity.
//! Uses `args`, `report`. Known by: `main`.
//!
//! - **CP1** all policies and capacities see the same requests, in one pass as far as memory allows;
//! - **CP2** hits are counted as [`kv_pager::policy::keeping::shadow`] says (SH1 to SH3): index only, all blocks priced alike.

mod contest;
mod contestant;
mod page;
mod results;
mod table;

pub(crate) use contestant::Contestant;

use crate::args::CompareArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output;
use contest::Contest;
use kv_pager_testkit::trace::Trace;
use kv_pager_testkit::workload::Workload;
use results::Results;

/// Requests of the built-in workload where no number is given.
const WORKLOAD_REQUESTS: u32 = 8_000;

/// Capacities where none is given: thousandths of the stream's unique blocks.
const DEFAULT_THOUSANDTHS: [u64; 7] = [5, 10, 20, 50, 100, 200, 500];

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let interrupt = Interrupt::listen();
    let json = arguments.json.as_deref().map(Destination::new).transpose()?;
    let report = arguments.report.as_deref().map(Destination::new).transpose()?;
    let (name, stream) = stream(arguments)?;
    let contest = Contest::new(&stream);
    let capacities = capacities(arguments, contest.unique_blocks());
    let arms = contest.run(&policies(arguments), &capacities, &interrupt)?;
    let results = Results::new(name, &contest, arms);
    output::line(&table::table(&results))?;
    if let Some(json) = json {
        json.write(&results)?;
    }
    if let Some(report) = report {
        report.write_text(&page::page(&results).to_html())?;
    }
    Ok(())
}

/// The requests, and what they are, for a person.
fn stream(arguments: &CompareArguments) -> Result<(String, Trace), Failure> {
    if let Some(path) = &arguments.trace {
        let mut trace = Trace::read(path)?;
        trace.truncate(arguments.requests.map_or(usize::MAX, |count| count as usize));
        return Ok((path.display().to_string(), trace));
    }
    let requests = arguments.requests.unwrap_or(WORKLOAD_REQUESTS);
    let name = format!("the built-in workload, seed {}", arguments.seed);
    Ok((name, Workload::new(arguments.seed, requests).generate()))
}

/// The policies asked for, each once, in that order.
fn policies(arguments: &CompareArguments) -> Vec<Contestant> {
    let mut policies = Vec::new();
    for policy in &arguments.policies {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// The capacities asked for, each once, or some shares of what the stream has.
fn capacities(arguments: &CompareArguments, unique_blocks: u32) -> Vec<u32> {
    let share = |thousandths: u64| {
        u32::try_from((u64::from(unique_blocks) * thousandths / 1000).max(1)).unwrap_or(u32::MAX)
    };
    let mut capacities = if arguments.capacity_blocks.is_empty() {
        DEFAULT_THOUSANDTHS.map(share).to_vec()
    } else {
        arguments.capacity_blocks.clone()
    };
    capacities.sort_unstable();
    capacities.dedup();
    capacities
}

#[cfg(test)]
mod tests;
