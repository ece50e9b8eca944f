//! What a pager is built for, beside its model: limits, watermarks, the hash key.
//! Layer 0. Uses `ids`, `units`, `error`. Known by: everything.
//!
//! Everything that could grow has a limit here (I8), and memory for it is taken when the pager is built.

use crate::error::Error;
use crate::ids::{HashKey, ModelEpoch, ModelFingerprint};
use crate::units::{Bytes, Nanos};

/// The settings of a pager.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Config {
    /// What makes the bytes of this model useless to another.
    pub fingerprint: ModelFingerprint,
    /// Which of the weights of this fingerprint are loaded at the start. Give what [`Pager::epoch`](crate::Pager::epoch) said last,
    /// so that a file tier's blocks of earlier weights are not found.
    pub epoch: ModelEpoch,
    /// The key of all names.
    pub hash_key: HashKey,
    /// The most there may be of everything.
    pub limits: Limits,
    /// When eviction starts and stops.
    pub watermarks: Watermarks,
    /// What may be kept ahead of need.
    pub reserves: Reserves,
    /// What a tenant, that is a salt, may have cached, unless it has a quota of its own.
    pub quota: Quota,
    /// Whose the device slots are.
    pub device_owner: DeviceOwner,
    /// Whether hot blocks come nearer while lanes stand idle.
    pub promotion: Promotion,
}

impl Config {
    /// Checks that the settings can work together.
    ///
    /// # Errors
    /// [`Error::Configuration`] that names the setting and says what to do.
    pub fn check(&self) -> Result<(), Error> {
        self.limits.check()?;
        self.watermarks.check()?;
        self.reserves.check()
    }
}

/// Whether blocks that are likely to be asked for are brought from the file to host memory before they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Promotion {
    /// While the lanes between the two stand idle, and no request waits for a load or for room.
    #[default]
    WhileIdle,
    /// Never: only a request, a prefetch or a hold brings a block nearer.
    Never,
}

/// Who keeps the free list of the device tier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum DeviceOwner {
    /// The pager: `open` and `append` allocate device slots.
    #[default]
    Managed,
    /// The engine: it names slots in `lookup`, `onboard` and `offload`, and holds them until a ticket ends.
    Engine,
}

/// The most there may be of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Sequences that are open.
    pub sequences: u32,
    /// Tokens in one sequence. Memory for each sequence that is open at a time: 4 bytes a token, and a block 28 bytes and 4 more a
    /// group.
    pub sequence_tokens: u32,
    /// Moves that wait in one lane's queues.
    pub moves_queued: u32,
    /// Moves in one batch, and so what one call of a lane handles.
    pub batch_moves: u32,
    /// Bytes in one batch.
    pub batch_bytes: Bytes,
    /// Bytes that one lane has been given and has not moved yet.
    pub bytes_in_flight: Bytes,
    /// How long a batch may take before its moves are given up, and how long a move may wait for one, or a load for a host slot.
    pub move_deadline: Nanos,
    /// Block events that wait to be read.
    pub events: u32,
    /// Blocks of one sequence that one hold of the lock handles: what is longer is opened, forked, committed, told of and closed in
    /// slices, and others get their turn in between. At most 512.
    pub slice_blocks: u32,
    /// Salts that are told apart as tenants, at most 1,023. All others share one tenant, and one quota.
    pub tenants: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sequences: 256,
            sequence_tokens: 131_072,
            moves_queued: 65_536,
            batch_moves: 256,
            batch_bytes: Bytes::mib(64),
            bytes_in_flight: Bytes::mib(256),
            move_deadline: Nanos::from_millis(30_000),
            events: 65_536,
            slice_blocks: 256,
            tenants: 255,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), Error> {
        let positive = [
            ("Limits::sequences", self.sequences),
            ("Limits::sequence_tokens", self.sequence_tokens),
            ("Limits::moves_queued", self.moves_queued),
            ("Limits::batch_moves", self.batch_moves),
            ("Limits::events", self.events),
            ("Limits::slice_blocks", self.slice_blocks),
        ];
        if self.move_deadline == Nanos::ZERO {
            let why = "is zero; no move could ever end in time".to_owned();
            return Err(Error::Configuration { setting: "Limits::move_deadline", why });
        }
        for (setting, value) in positive {
            if value == 0 {
                return Err(Error::Configuration { setting, why: "is zero; choose at least 1".to_owned() });
            }
        }
        if self.tenants > 1023 {
            let why = format!("{} tenants; at most 1,023 can be told apart", self.tenants);
            return Err(Error::Configuration { setting: "Limits::tenants", why });
        }
        if self.batch_moves > 512 {
            let why = format!("{} moves in a batch; at most 512 keep the lock short", self.batch_moves);
            return Err(Error::Configuration { setting: "Limits::batch_moves", why });
        }
        if self.slice_blocks > 512 {
            let why = format!("{} blocks in a slice; at most 512 keep the lock short", self.slice_blocks);
            return Err(Error::Configuration { setting: "Limits::slice_blocks", why });
        }
        if self.batch_bytes == Bytes::ZERO || self.bytes_in_flight < self.batch_bytes {
            let why = format!(
                "{} in a batch and {} in flight; a batch needs some, and no more than may be in flight",
                self.batch_bytes, self.bytes_in_flight
            );
            return Err(Error::Configuration { setting: "Limits::batch_bytes", why });
        }
        Ok(())
    }
}

/// Shares of a tier's slots: eviction starts when fewer than `low` are free, and stops at `high`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Watermarks {
    /// Below it eviction starts.
    pub low: f64,
    /// At it eviction stops.
    pub high: f64,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { low: 0.02, high: 0.05 }
    }
}

impl Watermarks {
    fn check(&self) -> Result<(), Error> {
        let Self { low, high } = *self;
        if (0.0..=high).contains(&low) && high < 1.0 {
            return Ok(());
        }
        let why = format!("low {low} and high {high}; they must be shares with 0 <= low <= high < 1");
        Err(Error::Configuration { setting: "Watermarks", why })
    }

    /// The marks in slots of a tier of `capacity`, rounded up: low, high.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share below 1 of a u32 is a u32 and not negative"
    )]
    pub fn slots(&self, capacity: u32) -> (u32, u32) {
        let share = |mark: f64| (f64::from(capacity) * mark).ceil() as u32;
        (share(self.low), share(self.high))
    }
}

/// How much of one tier a tenant may have cached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Allowance {
    /// As much as there is.
    #[default]
    Unlimited,
    /// So many slots of each class.
    Slots(u32),
    /// So many bytes: of each class, the share that they are of the tier, in whole slots, rounded down.
    Bytes(Bytes),
}

/// How much a tenant may have cached. Nobody who has less is pushed out by one who has more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Quota {
    /// On the device.
    pub device: Allowance,
    /// In host memory.
    pub host: Allowance,
    /// In the file.
    pub file: Allowance,
}

/// What prefetches and holds may keep: of each class of the device and the host, shares of its slots.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reserves {
    /// Prefetches at a time.
    pub prefetches: u32,
    /// The share that all prefetches together may fill ahead of need.
    pub prefetched_share: f64,
    /// Holds at a time.
    pub holds: u32,
    /// The share that all holds together may keep from eviction.
    pub held_share: f64,
}

impl Default for Reserves {
    fn default() -> Self {
        Self { prefetches: 256, prefetched_share: 0.125, holds: 64, held_share: 0.25 }
    }
}

impl Reserves {
    fn check(&self) -> Result<(), Error> {
        let Self { prefetched_share, held_share, .. } = *self;
        let is_share = |share: &f64| (0.0..1.0).contains(share);
        if [prefetched_share, held_share, prefetched_share + held_share].iter().all(is_share) {
            return Ok(());
        }
        let why = format!(
            "{prefetched_share} prefetched and {held_share} held; both together must be a share below 1"
        );
        Err(Error::Configuration { setting: "Reserves", why })
    }

    /// So many slots are a share of a class of `capacity`, rounded up.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share below 1 of a u32 is a u32 and not negative"
    )]
    pub fn slots(&self, share: f64, capacity: u32) -> u32 {
        (f64::from(capacity) * share).ceil() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Limits, Reserves, Watermarks};
    use crate::units::Bytes;

    #[test]
    fn defaults_are_accepted() {
        Config::default().check().expect("the defaults work");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let with_limits = |limits| Config { limits, ..Config::default() };
        let defaults = Limits::default();
        for limits in [
            Limits { sequences: 0, ..defaults },
            Limits { batch_moves: 513, ..defaults },
            Limits { slice_blocks: 513, ..defaults },
            Limits { tenants: 1024, ..defaults },
            Limits { batch_bytes: Bytes::ZERO, ..defaults },
            Limits { bytes_in_flight: Bytes::new(1), ..defaults },
        ] {
            assert!(with_limits(limits).check().is_err(), "{limits:?}");
        }
        for (prefetched_share, held_share) in [(0.5, 0.5), (-0.1, 0.2), (0.1, f64::NAN)] {
            let reserves = Reserves { prefetched_share, held_share, ..Reserves::default() };
            let config = Config { reserves, ..Config::default() };
            assert!(config.check().is_err(), "{prefetched_share} {held_share}");
        }
        for (low, high) in [(0.5, 0.2), (-0.1, 0.2), (0.1, 1.0), (f64::NAN, 0.5)] {
            let config = Config { watermarks: Watermarks { low, high }, ..Config::default() };
            assert!(config.check().is_err(), "{low} {high}");
        }
    }
}
