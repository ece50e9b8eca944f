//! At pressure: whether a victim is worth a place farther away.
//! Layer 8. Uses `units`, `cost::real`. Known by: `policy`.
//!
//! A copy is worth what it saves when it is asked for, times how likely that is, less what writing it costs the others.

use crate::cost::real;
use crate::units::Nanos;

/// What is known of the blocks that have to go, taken together.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Victim {
    /// How likely they are asked for again while they would be kept, in 0..=1.
    pub asked: f64,
    /// What computing them takes.
    pub recompute: Nanos,
    /// What bringing them back from the farther tier takes; its queue as it is on average.
    pub bring_back: Nanos,
    /// What writing them there takes, of the lane; zero if they already lie there.
    pub write: Nanos,
    /// How many requests a nanosecond of the lane delays.
    pub lane_waiting: f64,
    /// Whether the tier may be written: not full of better, within its budget of writes.
    pub can_write: bool,
}

/// What becomes of a victim.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// It already lies farther away: this copy just goes.
    Evict,
    /// It is written there.
    Demote,
    /// It is lost, being cheaper to compute, or not asked for.
    Drop,
}

/// A fate and what it is worth.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Verdict {
    /// What to do.
    pub fate: Fate,
    /// What a copy farther away is expected to save, less what it costs; negative for what is dropped for its cost.
    pub worth_ns: f64,
}

/// Whether to keep a victim farther away.
pub fn judge(victim: &Victim) -> Verdict {
    let saved_ns = (real::from_nanos(victim.recompute) - real::from_nanos(victim.bring_back)).max(0.0);
    let written_ns = victim.lane_waiting * real::from_nanos(victim.write);
    let worth_ns = victim.asked * saved_ns - written_ns;
    let fate = match victim.write {
        Nanos::ZERO => Fate::Evict,
        _ if victim.can_write && worth_ns > 0.0 => Fate::Demote,
        _ => Fate::Drop,
    };
    Verdict { fate, worth_ns }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Victim, judge};
    use crate::units::Nanos;

    /// A llama3-8b block on an H200: computed in 360 us, read in 1.5 ms raw or 0.5 ms as int4.
    const BLOCK: Victim = Victim {
        asked: 0.5,
        recompute: Nanos::new(360_000),
        bring_back: Nanos::new(38_000),
        write: Nanos::new(38_000),
        lane_waiting: 0.0,
        can_write: true,
    };

    #[test]
    fn what_comes_back_faster_than_it_is_computed_is_kept() {
        assert_eq!(judge(&BLOCK).fate, Fate::Demote);
        assert!((judge(&BLOCK).worth_ns - 161_000.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_computed_faster_or_never_asked_for_is_dropped() {
        assert_eq!(judge(&Victim { bring_back: Nanos::new(1_500_000), ..BLOCK }).fate, Fate::Drop);
        assert_eq!(judge(&Victim { asked: 0.0, ..BLOCK }).fate, Fate::Drop);
    }

    #[test]
    fn a_lane_that_others_wait_for_and_a_spent_budget_forbid_the_write() {
        assert_eq!(judge(&Victim { lane_waiting: 5.0, ..BLOCK }).fate, Fate::Drop);
        assert_eq!(judge(&Victim { can_write: false, ..BLOCK }).fate, Fate::Drop);
    }

    #[test]
    fn a_copy_that_exists_is_never_written_again() {
        assert_eq!(judge(&Victim { write: Nanos::ZERO, can_write: false, ..BLOCK }).fate, Fate::Evict);
    }
}
