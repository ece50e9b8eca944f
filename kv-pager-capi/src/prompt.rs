//! Prompts: requests whose blocks are named.
//! Uses `pager`, `status`, `edge`. Known by: `sequence`, `deliveries`.
#![expect(unsafe_code, reason = "functions of the C ABI keep their names, and take pointers with lengths")]

use crate::edge::{self, given};
use crate::options::KvpU128;
use crate::pager::KvpPager;
use crate::status::{KvpStatus, guarded};
use kv_pager::ids::{Salt, TokenId};
use kv_pager::pager::{Prompt, Request};
use kv_pager::sequence::ExtraKey;
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

/// Names the blocks of a request with these tokens, in the cache of `salt`. Takes no lock. `extra_keys` may be NULL if there are
/// none. Give it back with `kvp_prompt_free`.
///
/// # Safety
/// A1: `tokens` points to `tokens_len` tokens, `extra_keys` to `extra_keys_len` keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvp_prompt_prepare(
    pager: Option<&KvpPager>,
    tokens: *const u32,
    tokens_len: usize,
    salt: u64,
    extra_keys: *const KvpExtraKey,
    extra_keys_len: usize,
    prompt: Option<&mut MaybeUninit<*mut KvpPrompt>>,
) -> KvpStatus {
    guarded(|| {
        let (pager, prompt) = (given(pager, "pager")?, given(prompt, "prompt")?);
        // SAFETY: A1, given on by this function's own contract.
        let tokens = unsafe { read_tokens(tokens, tokens_len) }?;
        // SAFETY: as before.
        let keys = unsafe { edge::slice(extra_keys, extra_keys_len, "extra_keys") }?;
        let keys: Vec<ExtraKey> =
            keys.iter().map(|given| ExtraKey { at_token: given.at_token, key: given.key }).collect();
        let request = Request::new(&tokens).with_salt(Salt(salt)).with_extra_keys(&keys);
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
