//! Headroom: how much memory the machine and the cgroups around this process can still give.
//! Uses `units`. Known by: `memory`.
//!
//! - **R1** the answer is the least of what `MemAvailable` and each cgroup above the process leave, less a reserve;
//! - **R2** swap counts for nothing: a cache that is swapped out is no cache.
//!
//! What can't be read is not a limit. The kernel's OOM killer would answer instead, and it says nothing to the caller.

use kv_pager::units::Bytes;
use std::fs;
use std::path::{Path, PathBuf};

/// Left for the rest of the process and its neighbours.
const RESERVE: Bytes = Bytes::mib(64);

/// A machine, as its `/proc` and `/sys` tell of it.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine this process runs on.
    pub fn here() -> Self {
        Self::at("/")
    }

    /// The machine whose `proc` and `sys` stand in `root`; for tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Bytes that can still be given to this process (R1). Reads a dozen small files.
    pub fn available(&self) -> Bytes {
        let machine = self.read("proc/meminfo").and_then(|text| meminfo_available(&text));
        let least = self.cgroups().into_iter().chain(machine).min().unwrap_or(u64::MAX);
        Bytes::new(least.saturating_sub(RESERVE.as_u64()))
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// What each cgroup above the process leaves, of both versions.
    fn cgroups(&self) -> Vec<u64> {
        let Some(memberships) = self.read("proc/self/cgroup") else { return Vec::new() };
        let mounts = self.read("proc/self/mountinfo").unwrap_or_default();
        let mut left = Vec::new();
        for membership in memberships.lines() {
            let mut fields = membership.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let version = match controllers {
                "" => Version::Two,
                list if list.split(',').any(|name| name == "memory") => Version::One,
                _ => continue,
            };
            let Some((top, mount)) = mounts.lines().find_map(|line| version.mount(line)) else { continue };
            // Inside a container the path may be seen from outside the mount: then only the mount itself is looked at.
            let inside = Path::new(path).strip_prefix(&top).unwrap_or(Path::new(""));
            let mount = self.root.join(mount.trim_start_matches('/'));
            for folder in inside.ancestors() {
                left.extend(version.left(&mount.join(folder)));
            }
        }
        left
    }
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The root inside the hierarchy and the mount point, if the line of `mountinfo` mounts this version's.
    fn mount(self, line: &str) -> Option<(String, String)> {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        let fits = match self {
            Self::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
            Self::Two => kind == "cgroup2",
        };
        let mut front = front.split(' ').skip(3);
        let (top, mount) = (front.next()?, front.next()?);
        fits.then(|| (top.to_owned(), mount.to_owned()))
    }

    /// What the cgroup in `folder` leaves; `None` if it sets no limit. Clean file pages can be taken back, and count as free.
    fn left(self, folder: &Path) -> Option<u64> {
        let (limit, usage, reclaimable) = match self {
            Self::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            Self::Two => ("memory.max", "memory.current", "inactive_file"),
        };
        let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let limit = number(limit)?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let clean =
            stat.lines().find_map(|line| line.strip_prefix(reclaimable)?.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(number(usage)?.saturating_sub(clean)))
    }
}

fn meminfo_available(text: &str) -> Option<u64> {
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?
        .trim_end_matches("kB")
        .trim()
        .parse()
        .ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::Machine;
    use kv_pager::units::Bytes;
    use std::fs;
    use std::path::Path;

    /// A machine with 8 GiB available, in a cgroup at `/a/b` of the version that `mount` mounts.
    fn machine(root: &Path, membership: &str, mount: &str) -> Machine {
        for folder in ["proc/self", "sys/fs/cgroup/a/b"] {
            fs::create_dir_all(root.join(folder)).expect("a fresh directory");
        }
        write(
            root,
            "proc/meminfo",
            "MemTotal: 99999999 kB\nMemAvailable:    8388608 kB\nSwapFree: 7777777 kB\n",
        );
        write(root, "proc/self/cgroup", membership);
        write(root, "proc/self/mountinfo", mount);
        Machine::at(root)
    }

    fn write(root: &Path, path: &str, text: &str) {
        fs::write(root.join(path), text).expect("a fresh file");
    }

    fn mib(machine: &Machine) -> u64 {
        machine.available().div_down(Bytes::mib(1))
    }

    #[test]
    fn without_a_cgroup_the_machine_decides_and_swap_counts_for_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(mib(&machine(root.path(), "", "")), 8 * 1024 - 64);
    }

    #[test]
    fn the_tightest_cgroup_of_version_two_decides_whichever_its_level() {
        let root = tempfile::tempdir().expect("a directory");
        let mount = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let machine = machine(root.path(), "0::/a/b\n", mount);
        write(root.path(), "sys/fs/cgroup/a/b/memory.max", "max\n");
        write(root.path(), "sys/fs/cgroup/a/memory.max", "1073741824\n");
        write(root.path(), "sys/fs/cgroup/a/memory.current", "536870912\n");
        write(root.path(), "sys/fs/cgroup/a/memory.stat", "anon 12\ninactive_file 268435456\n");
        assert_eq!(mib(&machine), 1024 - 512 + 256 - 64);
    }

    #[test]
    fn version_one_counts_and_a_path_from_outside_the_mount_does_not_hide_its_limit() {
        let root = tempfile::tempdir().expect("a directory");
        let mount = "35 31 0:32 /elsewhere /sys/fs/cgroup rw - cgroup cgroup rw,memory\n";
        let machine = machine(root.path(), "4:memory:/host/a/b\n", mount);
        write(root.path(), "sys/fs/cgroup/memory.limit_in_bytes", "2147483648\n");
        write(root.path(), "sys/fs/cgroup/memory.usage_in_bytes", "1073741824\n");
        assert_eq!(mib(&machine), 1024 - 64);
    }
}
