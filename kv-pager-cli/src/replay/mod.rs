//! `kv-pager replay`: serve a request stream through a pager, and check every block that comes back.
//!
//! - **A1** nothing is built before every argument and every request has been checked;
//! - **A2** nothing is left behind, however it ends, but what `--json`, `--report`, `--metrics`, `--save-profile` and `--file-dir` name;
//! - **A3** a wrong byte, or an output that differs from a run without a cache, is a failure; a miss is not.
//!
//! After the pass with the cache, a sample of the requests is served once more without it: for the times to compare with,
//! and because their outputs must be the same, bit for bit. With `--virtual` there are no bytes and no engine: [`simulated`].

mod arms;
mod arms_table;
mod cached;
mod card;
mod choices;
mod figures;
mod metrics;
mod outcome;
mod pass;
mod queue;
mod records;
mod report;
mod results;
mod server;
mod settings;
mod setup;
mod shadows;
mod simulated;
mod uncached;
mod worker;

use crate::args::ReplayArguments;
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output;
use crate::report::replay::ChoiceFigures;
use cached::CachedServer;
use kv_pager::Pager;
use kv_pager::clock::{Clock, MonotonicClock};
use kv_pager::cost::Profile;
use kv_pager::ids::TierId;
use kv_pager::units::Nanos;
use kv_pager_testkit::engine::{Engine, Verifier};
use metrics::Metrics;
use pass::Passes;
use records::Records;
use results::{Findings, Results};
use settings::Settings;
use setup::Setup;
use std::sync::Arc;
use uncached::UncachedServer;

/// Tokens that a request computes at a time before the next one has its turn.
const CHUNK_TOKENS: usize = 256;
/// Blocks whose checksums are remembered, at about 50 bytes each; the rest is computed again to be checked.
const VERIFIER_BLOCKS: usize = 8_000_000;
/// How long what host memory holds is written into a file that is kept.
const WRITE_OUT_LIMIT: Nanos = Nanos::from_millis(20_000);
/// Requests that are served once more without a cache: a tenth of all, within these bounds.
const SAMPLE_MIN: usize = 32;
const SAMPLE_MAX: usize = 256;

/// Runs the command.
///
/// # Errors
/// [`Failure`] that says what to do.
pub(crate) fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    let interrupt = Interrupt::listen();
    let destination = arguments.json.as_deref().map(Destination::new).transpose()?;
    let page = arguments.report.as_deref().map(Destination::new).transpose()?;
    let metrics = arguments.metrics.as_deref().map(Destination::new).transpose()?;
    let saved = arguments.save_profile.as_deref().map(Destination::new).transpose()?;
    let replayed = if arguments.is_virtual {
        simulated::replay(arguments, metrics, &interrupt)?
    } else {
        real(arguments, metrics, &interrupt)?
    };
    conclude(replayed, Destinations { results: destination, page, saved })
}

/// Where what was found goes.
#[derive(Debug)]
struct Destinations {
    results: Option<Destination>,
    page: Option<Destination>,
    /// What was learnt.
    saved: Option<Destination>,
}

/// Tells what was found, everywhere where it is wanted: each is worth having though another can't be had.
///
/// # Errors
/// The first [`Failure`] of any of it, and of the replay.
fn conclude(replayed: Replayed, into: Destinations) -> Result<(), Failure> {
    let print = print(&replayed);
    let results = into.results.map_or(Ok(()), |destination| destination.write(&replayed.results));
    let figures = || figures::figures(&replayed);
    let page = into.page.map_or(Ok(()), |page| page.write_text(&figures().to_page().to_html()));
    let checked = check(&replayed);
    let saved = match (into.saved, replayed.learnt) {
        (Some(destination), Some(learnt)) if checked.is_ok() => {
            learnt.and_then(|learnt| destination.write(&learnt))
        }
        _ => Ok(()),
    };
    [print, results, page, checked, replayed.kept, saved].into_iter().collect()
}

/// Tells a person.
fn print(replayed: &Replayed) -> Result<(), Failure> {
    let Replayed { results, heading, .. } = replayed;
    let tables = report::report(results);
    output::line(&format!("{heading}\n\n{tables}"))?;
    if !results.arms.is_empty() {
        output::line(&format!("\n{}", arms_table::table(&results.arms)))?;
    }
    if !results.shadows.is_empty() {
        output::line(&format!("\n{}", shadows::table(&results.shadows)))?;
    }
    Ok(())
}

/// A replay that has ended.
#[derive(Debug)]
struct Replayed {
    results: Results,
    records: Records,
    choice: ChoiceFigures,
    /// What was replayed, for a person.
    heading: String,
    /// Tokens of all prompts of the stream.
    prompt_tokens: u64,
    /// The profile that it started from with what was learnt, or why that can't be saved; `None` in virtual time or without a profile.
    learnt: Option<Result<Profile, Failure>>,
    /// Whether what was to be kept beside the results is: metrics, and what the host held at the end of a file that is kept.
    kept: Result<(), Failure>,
}

/// Serves the stream with the reference engine, over tiers with bytes in them.
fn real(
    arguments: &ReplayArguments,
    metrics: Option<Destination>,
    interrupt: &Interrupt,
) -> Result<Replayed, Failure> {
    let settings = Settings::new(arguments)?;
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let setup = Setup::new(arguments, &settings, &clock)?;
    let passes = Passes { arguments, settings: &settings, clock: Arc::clone(&clock), interrupt };
    let metrics = metrics.map(|destination| Metrics::new(&setup.pager, destination));
    let (findings, told) = serve(&passes, &setup, metrics)?;
    let written_out = if arguments.file_dir.is_some() { write_out(&setup.pager) } else { Ok(()) };
    let learnt = settings.costs.as_ref().map(|costs| costs.learnt(&setup.pager));
    // The tiers are not needed any more; a kept one is complete from here on.
    drop(setup);
    let results = Results::new(&findings);
    let heading = format!(
        "{}: {} requests, {} bytes a token",
        settings.stream_name,
        results.requests,
        settings.model.bytes_per_token()
    );
    let farthest = if settings.slots.file > 0 { TierId::File } else { TierId::Host };
    let layout = settings.model.layout();
    let choice =
        settings.costs.as_ref().map(|costs| choices::choices(&costs.model, layout, setup::ABILITY, farthest));
    Ok(Replayed {
        results,
        records: findings.cached.records,
        choice: choice.unwrap_or_default(),
        heading,
        prompt_tokens: settings.stream.prompt_tokens(),
        learnt,
        kept: told.and(written_out),
    })
}

/// Writes what the host holds into a file that is kept.
fn write_out(pager: &Pager) -> Result<(), Failure> {
    let written = pager.write_out(WRITE_OUT_LIMIT)?;
    if !written.is_durable {
        output::note("the drive did not say in time that what it took survives a loss of power");
    }
    Ok(())
}

/// Serves the stream, and a sample of it without a cache. Returns whether metrics could be written, too.
fn serve(
    passes: &Passes<'_>,
    setup: &Setup,
    metrics: Option<Metrics>,
) -> Result<(Findings, Result<(), Failure>), Failure> {
    let model = &passes.settings.model;
    let verifier = Verifier::new(VERIFIER_BLOCKS);
    let engine =
        Engine { model, memory: &*setup.device, verifier: Some(&verifier), chunk_tokens: CHUNK_TOKENS };
    let requests = passes.settings.stream.requests().len();
    let start = passes.clock.now();
    let cached = CachedServer { pager: &setup.pager, engine, clock: &passes.clock };
    let run = || passes.run(&cached, (0..requests).collect(), passes.arguments.time_scale, "with the cache");
    let (cached, told) = match metrics {
        Some(metrics) => metrics.beside(run)?,
        None => (run()?, Ok(())),
    };
    let wall: Nanos = passes.clock.now().since(start);
    let uncached = UncachedServer { model, chunk_tokens: CHUNK_TOKENS };
    let uncached = passes.run(&uncached, sample(requests), None, "without it")?;
    let (stats, answers) = (setup.pager.stats(), setup.pager.answers());
    Ok((Findings { cached, uncached, stats, answers, verified: verifier.counts(), wall }, told))
}

/// Every so manieth request.
fn sample(requests: usize) -> Vec<usize> {
    let count = (requests / 10).clamp(SAMPLE_MIN, SAMPLE_MAX).min(requests);
    (0..count).map(|place| place * requests / count).collect()
}

/// A3, and that the sums are right.
fn check(replayed: &Replayed) -> Result<(), Failure> {
    let Replayed { results, prompt_tokens: expected, .. } = replayed;
    if results.has_mismatch() {
        let [blocks, outputs, sample] =
            [results.mismatched_blocks, results.differing_requests, results.sample_requests]
                .map(Option::unwrap_or_default);
        return Err(Failure::Wrong(format!(
            "{blocks} blocks and {outputs} of {sample} sampled outputs were wrong; please report this with the command line and \
             --seed"
        )));
    }
    let found = results.hit_tokens.total() + results.computed_tokens;
    if found != *expected {
        return Err(Failure::Wrong(format!(
            "{found} prompt tokens were found or computed, of {expected}; please report this with the command line"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Destinations, conclude, sample, simulated};
    use crate::args::{Arguments, Command};
    use crate::destination::Destination;
    use crate::failure::Failure;
    use crate::interrupt::Interrupt;
    use clap::Parser;

    #[test]
    fn what_was_found_is_written_though_something_was_not_kept() {
        let arguments = ["kv-pager", "replay", "--virtual", "--requests", "20"];
        let Command::Replay(arguments) = Arguments::parse_from(arguments).command else {
            panic!("another command")
        };
        let mut replayed =
            simulated::replay(&arguments, None, &Interrupt::default()).expect("it fits the tiers");
        replayed.kept = Err(Failure::Wrong("the drive is gone".to_owned()));
        let directory = tempfile::tempdir().expect("a directory");
        let [json, page] = ["found.json", "found.html"].map(|name| directory.path().join(name));
        let into = Destinations {
            results: Some(Destination::new(&json).expect("writable")),
            page: Some(Destination::new(&page).expect("writable")),
            saved: None,
        };
        let failure = conclude(replayed, into).expect_err("something was not kept");
        assert!(failure.to_string().contains("the drive is gone"), "{failure}");
        let found = std::fs::read_to_string(&json).expect("it was written");
        assert!(found.contains("\"requests\": 20"), "{found}");
        assert!(page.exists(), "the report was written");
    }

    #[test]
    fn samples_are_spread_over_the_stream() {
        assert_eq!(sample(3), [0, 1, 2]);
        assert_eq!(sample(64).len(), 32);
        assert_eq!(sample(64)[..3], [0, 2, 4]);
        assert_eq!(sample(12_031).len(), 256);
        assert!(sample(12_031).iter().all(|index| *index < 12_031));
    }
}
