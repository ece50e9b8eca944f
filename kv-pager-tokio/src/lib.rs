//! A pager for tasks of tokio: what blocks a thread elsewhere is awaited here.
//!
//! - **AS1** every future here is cancel-safe: one that is dropped has changed nothing, or what it has changed belongs to a handle that
//!   is still the caller's;
//! - **AS2** nothing here blocks: a call holds the pager's lock as long as the same call of a thread does, a few microseconds;
//! - **AS3** it is the same pager: tasks and threads use it side by side, each through its own handles.
//!
//! ```
//! # use kv_pager::{clock::MonotonicClock, config::Config, ids::*, layout, pager::*, policy::Lru};
//! # use kv_pager_cpu::{CpuBackend, CpuSpec};
//! # use kv_pager_tokio::AsyncPager;
//! # use std::sync::Arc;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
//! # runtime.block_on(async {
//! # let model = layout::shape("tiny").expect("known");
//! # let cpu = CpuBackend::new(&CpuSpec::new(model.clone(), vec![64]))?;
//! # let backend = Backend { tiers: cpu.tiers(), lanes: cpu.lanes() };
//! # let pager = Pager::new(model, Config::default(), backend, Box::new(Lru), Arc::new(MonotonicClock::new()))?;
//! let pager = AsyncPager::new(pager);
//! let prompt: Vec<TokenId> = (0..100).map(TokenId).collect();
//! let mut sequence = pager.open(&Request::new(&prompt)).await?;
//! while let Some(tokens) = sequence.next_step(512).await? {
//!     // Compute K and V of `tokens` into the slots of `sequence.sequence().table(group)`, then:
//!     sequence.commit(tokens, Fence::OVER)?;
//! }
//! sequence.close(Fence::OVER);
//! # Ok::<(), kv_pager::Error>(())
//! # }).expect("served");
//! ```
//!
//! The runtime needs its timer (`enable_time`): fences of compute ring no bell, and moves have deadlines.
#![forbid(unsafe_code)]

mod pager;
mod sequence;
mod waiting;

pub use pager::AsyncPager;
pub use sequence::AsyncSequence;
