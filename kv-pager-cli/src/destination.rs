//! Where `--json`, `--report` and `--metrics` go: found out at the start, written at the end.
//! Known by: `replay`, `compare`.

use crate::failure::Failure;
use serde::Serialize;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that appears whole, or not at all. Dropping it leaves nothing.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A file that takes its name at the end.
    Fresh(NamedTempFile),
    /// A terminal, a pipe, a device: there is no other place to write to first.
    Stream(File),
}

impl Destination {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    /// [`Failure::File`] if its directory can't, or it is a directory.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let target = match path.metadata() {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => OpenOptions::new().write(true).open(path).map(Target::Stream),
            _ => fresh_file(path).map(Target::Fresh),
        };
        match target {
            Ok(target) => Ok(Self { path: path.to_owned(), target }),
            Err(source) => Err(Failure::File { action: "can't write", path: path.to_owned(), source }),
        }
    }

    /// Writes `value` as JSON, and makes it appear.
    ///
    /// # Errors
    /// [`Failure::File`] if the drive refuses.
    pub(crate) fn write(self, value: &impl Serialize) -> Result<(), Failure> {
        self.fill(|out| write_json(out, value))
    }

    /// Writes `text`, and makes it appear.
    ///
    /// # Errors
    /// [`Failure::File`] if the drive refuses.
    pub(crate) fn write_text(self, text: &str) -> Result<(), Failure> {
        self.fill(|out| out.write_all(text.as_bytes()))
    }

    /// Makes `text` appear for now, in place of what was there before. Does nothing where it would come after what was written before:
    /// on a terminal, a pipe.
    ///
    /// # Errors
    /// [`Failure::File`] if the drive refuses.
    pub(crate) fn replace_text(&self, text: &str) -> Result<(), Failure> {
        match self.target {
            Target::Fresh(_) => Self::new(&self.path)?.write_text(text),
            Target::Stream(_) => Ok(()),
        }
    }

    fn fill(self, write: impl Fn(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let Self { path, target } = self;
        let written = match target {
            Target::Fresh(mut file) => {
                write(&mut file).and_then(|()| file.persist(&path).map(drop).map_err(|error| error.error))
            }
            Target::Stream(mut stream) => write(&mut stream),
        };
        written.map_err(|source| Failure::File { action: "can't write", path, source })
    }
}

/// A nameless neighbour of `path`, readable as any new file would be.
fn fresh_file(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory.unwrap_or(Path::new(".")))
}

fn write_json(mut out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::Destination;

    #[test]
    fn it_appears_when_it_is_written_and_not_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("results.json");
        drop(Destination::new(&path).expect("it is writable"));
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 0, "nothing is left behind");
        Destination::new(&path).expect("it is writable").write(&[1, 2]).expect("there is room");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "[\n  1,\n  2\n]\n");
    }

    #[test]
    fn what_is_replaced_is_whole_each_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("metrics.txt");
        let destination = Destination::new(&path).expect("it is writable");
        for text in ["a long text\n", "short\n"] {
            destination.replace_text(text).expect("there is room");
            assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
        }
        destination.write_text("the last\n").expect("there is room");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "the last\n");
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 1, "nothing else is left");
    }

    #[test]
    fn a_directory_and_a_missing_one_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Destination::new(directory.path()).is_err());
        assert!(Destination::new(&directory.path().join("no/such/results.json")).is_err());
    }
}
