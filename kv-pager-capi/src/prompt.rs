//! Prompts: requests whose blocks are named.
//! Uses `pager`, `status`, `edge`. Known by: `sequence`, `deliveries`, `plans`.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::options::{KvpU128, known};
use crate::pager::KvpPager;
use crate::status::{KvpStatus, guarded};
use kv_pager::ids::{Salt, TokenId};
use kv_pager::pager::{Prompt, Request, RequestPriority};
use kv_pager::policy::Urgency;
use kv_pager::sequence::ExtraKey;
use kv_pager::units::Nanos;
use std::mem::MaybeUninit;

/// A request whose blocks are named: hashed once, however often it has to be opened. It holds nothing of the cache.
#[derive(Debug)]
pub struct KvpPrompt {
    pub(crate) prompt: Prompt,
}

/// Something beside tokens that the bytes of a block depend on: an adapter (at token 0), an image (where it stands).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpExtraKey {
    /// Its hash, made by the engine.
    pub key: u64,
    /// The token from which on it matters.
    pub at_token: u32,
    /// 0.
    pub reserved: u32,
}

/// How important a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum KvpPriority {
    /// As any other.
    Normal = 0,
    /// Its loads go before others'. Eviction passes over its blocks twice before it takes them.
    High = 1,
}

/// A request. All zero, but for tokens, is one in the cache of salt 0, of the usual priority, whose blocks stay as long as any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct KvpRequest {
    /// Its tokens.
    pub tokens: *const u32,
    /// How many.
    pub tokens_len: usize,
    /// What else its blocks depend on; NULL if nothing does.
    pub extra_keys: *const KvpExtraKey,
    /// How many of them.
    pub extra_keys_len: usize,
    /// Whose cache it is in.
    pub salt: u64,
    /// How long after it has closed its blocks are given up that only such requests have used, in nanoseconds; 0 for never. Where the
    /// engine owns the slots: after the last call that brought or offloaded them, or ended the request.
    pub time_to_live_ns: u64,
    /// How long from its opening its last prompt token may take to be computed, in nanoseconds; 0 for no deadline.
    pub deadline_ns: u64,
    /// How long the device is busy before it computes for this request; 0 lets the pager add up what its open sequences have still
    /// to compute.
    pub compute_queue_ns: u64,
    /// How many requests wait for the device beside this one.
    pub waiting: u32,
    /// A `KvpPriority`.
    pub priority: u32,
}

/// A time that was given.
pub(crate) fn unless_zero(ns: u64) -> Option<Nanos> {
    (ns > 0).then_some(Nanos::new(ns))
}

/// Tokens as the core has them.
///
/// # Safety
/// A1: `tokens` points to `len` tokens.
pub(crate) unsafe fn read_tokens(
    tokens: *const u32,
    len: usize,
) -> Result<Vec<TokenId>, crate::status::Failure> {
    // SAFETY: A1, given on by this function's own contract.
    let tokens = unsafe { edge::slice(tokens, len, "tokens") }?;
    Ok(tokens.iter().map(|token| TokenId(*token)).collect())
}

/// Names the blocks of a request. Takes no lock. What its pointers point to is not kept. Give it back with `kvp_prompt_free`.
///
/// # Safety
/// A1: the pointers in `request` point to as much as the lengths beside them say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_prompt_prepare(
    pager: Option<&KvpPager>,
    request: Option<&KvpRequest>,
    prompt: Option<&mut MaybeUninit<*mut KvpPrompt>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        let asked = given(request, "request")?;
        // SAFETY: A1, given on by this function's own contract.
        let tokens = unsafe { read_tokens(asked.tokens, asked.tokens_len) }?;
        // SAFETY: as before.
        let keys = unsafe { edge::slice(asked.extra_keys, asked.extra_keys_len, "extra_keys") }?;
        let keys: Vec<ExtraKey> =
            keys.iter().map(|given| ExtraKey { at_token: given.at_token, key: given.key }).collect();
        let priorities = [
            (KvpPriority::Normal as u32, RequestPriority::Normal),
            (KvpPriority::High as u32, RequestPriority::High),
        ];
        let mut request = Request::new(&tokens)
            .with_salt(Salt(asked.salt))
            .with_extra_keys(&keys)
            .with_priority(known("KvpRequest.priority", asked.priority, &priorities)?)
            .with_urgency(Urgency {
                deadline: unless_zero(asked.deadline_ns),
                compute_queue: unless_zero(asked.compute_queue_ns),
                waiting: asked.waiting,
            });
        if let Some(time_to_live) = unless_zero(asked.time_to_live_ns) {
            request = request.with_time_to_live(time_to_live);
        }
        let named = KvpPrompt { prompt: pager.pager.prepare(&request) };
        prompt.write(Box::into_raw(Box::new(named)));
        Ok(())
    })
}

/// Copies the names of the prompt's full blocks, in order. If there are more than `capacity`, `len` says how many, and nothing is
/// copied.
///
/// # Safety
/// A1: `names` has room for `capacity` names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_prompt_names(
    prompt: Option<&KvpPrompt>,
    names: *mut KvpU128,
    capacity: usize,
    len: Option<&mut MaybeUninit<usize>>,
) -> KvpStatus {
    guarded(|| {
        let (prompt, len) = (given(prompt, "prompt")?, given(len, "len")?);
        // SAFETY: A1, given on by this function's own contract.
        let buffer = unsafe { edge::buffer(names, capacity, "names") }?;
        edge::put_all(prompt.prompt.names().iter().map(|name| KvpU128::from(name.0)), buffer, len)
    })
}

/// Gives a prompt back. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn kvp_prompt_free(prompt: Option<Box<KvpPrompt>>) {
    drop(prompt);
}
