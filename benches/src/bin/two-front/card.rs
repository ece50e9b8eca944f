//! A card as the ground: real products compute, real lanes load.

use benches::two_front::{BLOCK_TOKENS, Ground};
use kv_pager::Error;
use kv_pager::clock::Clock;
use kv_pager::cost::TokenSpan;
use kv_pager::pager::{Pager, Progress};
use kv_pager::units::Nanos;
use kv_pager_cuda::PrefillGemms;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How long is waited at once.
const NAP: Nanos = Nanos::from_millis(1);

/// Steps of every length that blocks allow are computed once after contexts so far apart.
const WARM_GRAIN_TOKENS: u32 = 1024;

/// Computes by products.
#[derive(Debug)]
pub(crate) struct CardGround {
    gemms: PrefillGemms,
    clock: Arc<dyn Clock>,
}

impl CardGround {
    pub(crate) fn new(gemms: PrefillGemms, clock: Arc<dyn Clock>) -> Self {
        Self { gemms, clock }
    }

    /// Computes one layer of steps of every length, so that cuBLAS has loaded what it takes for them, as an engine sees to when it
    /// starts: a kernel that is loaded while a request is served costs that request milliseconds. Splits by force repeat the same
    /// few lengths, plans do not.
    pub(crate) fn warm(&mut self, step_tokens_max: u32, prompt_tokens_max: u32) -> Result<(), Error> {
        let grain = usize::try_from(BLOCK_TOKENS).expect("a few tokens");
        for tokens in (BLOCK_TOKENS..=step_tokens_max).step_by(grain) {
            // Contexts of all lengths, too, have their turn.
            let first = tokens * 7 % WARM_GRAIN_TOKENS / BLOCK_TOKENS * BLOCK_TOKENS;
            let starts = (first..=prompt_tokens_max - tokens).step_by(WARM_GRAIN_TOKENS as usize);
            for start in [0].into_iter().chain(starts) {
                self.gemms.warm(TokenSpan { start, tokens })?;
            }
        }
        Ok(())
    }
}

impl Ground for CardGround {
    fn compute(&mut self, _pager: &Pager, step: TokenSpan) -> Result<Nanos, Error> {
        let started = self.clock.now();
        self.gemms.compute(step)?;
        Ok(self.clock.now().since(started))
    }

    fn wait(&mut self, pager: &Pager, seen: Progress) {
        pager.wait(seen, NAP);
    }
}

/// A thread that lets the pager go on while the engine's computes: what has landed in host memory goes on to the device.
#[derive(Debug)]
pub(crate) struct Keeper {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(pager: Pager) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let wish = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            while !wish.load(Ordering::Relaxed) {
                pager.wait(pager.progress(), NAP);
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it only waits");
        }
    }
}
