//! Something that serves requests: with a cache or without.
//! Known by: `replay::worker`; implemented by `cached` and `uncached`.

use kv_pager::Error;
use kv_pager::ids::{TierId, TokenId};
use kv_pager::pager::Forecast;
use kv_pager::units::Nanos;
use kv_pager_testkit::engine::{Output, Progress};

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Served {
    /// What the engine computed.
    pub(super) output: Output,
    /// Tokens of the prompt that were found, by the tier they were found in.
    pub(super) hit_tokens: [u64; TierId::COUNT],
    /// Blocks that were loaded from a farther tier.
    pub(super) onboarded_blocks: u64,
    /// Written to the file by then.
    pub(super) file_bytes: u64,
    /// What was planned for it.
    pub(super) forecast: Option<Forecast>,
}

/// Serves requests step by step; many at once, from several threads. No method but [`Server::wait`] blocks.
pub(super) trait Server: Sync {
    /// A request under way.
    type Job;
    /// A point in time, as it counts it.
    type Moment;

    /// Begins a request; `None` if something must end first: try again after [`Server::wait`].
    ///
    /// # Errors
    /// If it can never be served.
    fn start(&self, prompt: &[TokenId], output_tokens: usize) -> Result<Option<Self::Job>, Error>;

    /// Does the next step of a request.
    ///
    /// # Errors
    /// If it can't be served.
    fn advance(&self, job: &mut Self::Job) -> Result<Progress, Error>;

    /// Ends a request that has finished.
    fn finish(&self, job: Self::Job) -> Served;

    /// Where it stands: take it before the steps that may find nothing to do.
    fn moment(&self) -> Self::Moment;

    /// Blocks until something has ended since `moment`, or for `timeout`.
    fn wait(&self, moment: Self::Moment, timeout: Nanos);
}
