//! The edge: pointers with lengths, checked and turned into slices; the only place that dereferences what C has given.
//! Uses `status`. Known by: all modules.
//!
//! Single things cross as `Option<&T>`, `Option<&mut MaybeUninit<T>>` and `Option<Box<T>>`, which are pointers that may be
//! NULL. What is behind a pointer that is not is the caller's promise (A1, A2).
#![expect(unsafe_code, reason = "C gives pointers and lengths")]

use crate::status::Failure;
use std::mem::MaybeUninit;
use std::slice;

/// What a pointer to one thing points to.
pub(crate) fn given<T>(pointer: Option<T>, name: &str) -> Result<T, Failure> {
    pointer.ok_or_else(|| Failure::null(name))
}

fn check<T>(start: *const T, len: usize, name: &str) -> Result<(), Failure> {
    if start.is_null() {
        return Err(Failure::null(name));
    }
    if !start.is_aligned() || len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::argument(format!(
            "{name} is not aligned, or {len} of it are more than there can be"
        )));
    }
    Ok(())
}

/// `len` things to be read. `start` may be NULL if there are none.
///
/// # Safety
/// A1: unless NULL, `start` points to `len` things that nobody writes while the slice lives.
pub(crate) unsafe fn slice<'a, T>(start: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check(start, len, name)?;
    // SAFETY: not NULL, aligned, and no longer than memory can be, as was just checked; the rest is the caller's A1.
    Ok(unsafe { slice::from_raw_parts(start, len) })
}

/// Room for `len` things to be written. `start` may be NULL if there is none.
///
/// # Safety
/// A1: unless NULL, `start` points to room for `len` things that nobody else uses while the slice lives.
pub(crate) unsafe fn buffer<'a, T>(
    start: *mut T,
    len: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(start, len, name)?;
    // SAFETY: as in `slice`; `MaybeUninit` asks nothing of what is there.
    Ok(unsafe { slice::from_raw_parts_mut(start.cast::<MaybeUninit<T>>(), len) })
}

/// Tells how many values there are, and writes them all if they fit, or none.
pub(crate) fn put_all<T>(
    values: impl ExactSizeIterator<Item = T>,
    buffer: &mut [MaybeUninit<T>],
    len: &mut MaybeUninit<usize>,
) -> Result<(), Failure> {
    len.write(values.len());
    if values.len() > buffer.len() {
        return Err(Failure::too_small(values.len(), buffer.len()));
    }
    for (place, value) in buffer.iter_mut().zip(values) {
        place.write(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{put_all, slice};
    use std::mem::MaybeUninit;
    use std::ptr;

    #[test]
    fn null_is_refused_unless_there_is_nothing() {
        // SAFETY: NULL is what the contract allows.
        let empty = unsafe { slice::<u32>(ptr::null(), 0, "tokens") };
        assert!(empty.expect("nothing is there").is_empty());
        // SAFETY: as before.
        let refused = unsafe { slice::<u32>(ptr::null(), 1, "tokens") };
        assert!(refused.is_err());
        // SAFETY: the length is refused before anything is read.
        let refused = unsafe { slice(ptr::from_ref(&1_u32), usize::MAX, "tokens") };
        assert!(refused.is_err());
    }

    #[test]
    fn what_does_not_fit_is_told_and_not_written() {
        let (mut buffer, mut len) = ([MaybeUninit::new(7_u32)], MaybeUninit::new(0));
        assert!(put_all([1, 2].into_iter(), &mut buffer, &mut len).is_err());
        // SAFETY: written when it was made.
        assert_eq!(unsafe { buffer[0].assume_init() }, 7);
        // SAFETY: as before.
        assert_eq!(unsafe { len.assume_init() }, 2);
    }
}
