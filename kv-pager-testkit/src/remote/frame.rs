//! Messages as bytes: a length of four bytes, least significant first, then a message as `postcard` writes it.
//! Known by: `remote::link`, `remote::worker`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// No message is longer; a longer one is a broken pipe's.
const BYTES_MAX: usize = 1 << 24;

/// Writes one message.
///
/// # Errors
/// If the pipe is broken.
pub(super) fn write<T: Serialize>(pipe: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    pipe.write_all(&len.to_le_bytes())?;
    pipe.write_all(&bytes)?;
    pipe.flush()
}

/// Reads one message; `None` where the other side has closed the pipe between two of them.
///
/// # Errors
/// If the pipe is broken, ends within a message, or has something else in it.
pub(super) fn read<T: DeserializeOwned>(pipe: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    if pipe.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    pipe.read_exact(&mut len[1..])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > BYTES_MAX {
        return Err(io::Error::other(format!("a message of {len} bytes, of {BYTES_MAX} at most")));
    }
    let mut bytes = vec![0; len];
    pipe.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::{read, write};

    #[test]
    fn messages_come_back_and_a_cut_one_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"first".to_owned()).expect("memory takes all");
        write(&mut bytes, &"second".to_owned()).expect("memory takes all");
        let mut whole = bytes.as_slice();
        assert_eq!(read(&mut whole).expect("whole"), Some("first".to_owned()));
        assert_eq!(read(&mut whole).expect("whole"), Some("second".to_owned()));
        assert_eq!(read::<String>(&mut whole).expect("the end"), None);
        for len in [1, 3, 4, 7, bytes.len() - 1] {
            let mut cut = &bytes[..len];
            let ends =
                (0..2).map(|_| read::<String>(&mut cut)).find(|message| !matches!(message, Ok(Some(_))));
            assert!(ends.is_some_and(|end| end.is_err()), "cut after {len} bytes");
        }
        assert!(read::<String>(&mut [0xff; 8].as_slice()).is_err(), "too long");
    }
}
