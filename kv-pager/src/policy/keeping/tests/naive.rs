//! The published policies, as plainly as they can be written: vectors of names, searched from end to end.

use super::super::{Arm, Departure};

/// One of them.
#[derive(Debug)]
pub(super) enum Naive {
    Lru(Vec<u64>),
    Slru {
        probation: Vec<u64>,
        protected: Vec<u64>,
        protected_max: usize,
    },
    Arc {
        once: Vec<u64>,
        again: Vec<u64>,
        once_ghosts: Vec<u64>,
        again_ghosts: Vec<u64>,
        target: usize,
        capacity: usize,
    },
    S3Fifo {
        small: Vec<(u64, u8)>,
        large: Vec<(u64, u8)>,
        ghosts: Vec<u64>,
        small_target: usize,
        ghosts_max: usize,
    },
}

fn take(names: &mut Vec<u64>, name: u64) -> bool {
    let place = names.iter().position(|&other| other == name);
    place.map(|place| names.remove(place)).is_some()
}

fn first(names: &[u64], offered: &[u64]) -> Option<u64> {
    names.iter().copied().find(|name| offered.contains(name))
}

impl Naive {
    /// The plain model of an arm; `None` for the one that learns.
    pub(super) fn of(arm: Arm, capacity: usize) -> Option<Self> {
        let none = Vec::new;
        Some(match arm {
            Arm::Lru => Self::Lru(none()),
            Arm::Slru => Self::Slru { probation: none(), protected: none(), protected_max: capacity / 2 },
            Arm::Arc => Self::Arc {
                once: none(),
                again: none(),
                once_ghosts: none(),
                again_ghosts: none(),
                target: 0,
                capacity,
            },
            Arm::S3Fifo => Self::S3Fifo {
                small: Vec::new(),
                large: Vec::new(),
                ghosts: none(),
                small_target: capacity / 10,
                ghosts_max: capacity - capacity / 10,
            },
            Arm::CostAware => return None,
        })
    }

    pub(super) fn touch(&mut self, name: u64) {
        match self {
            Self::Lru(names) => {
                take(names, name);
                names.push(name);
            }
            Self::Slru { probation, protected, protected_max } => {
                if take(probation, name) || take(protected, name) {
                    protected.push(name);
                    if protected.len() > *protected_max {
                        probation.push(protected.remove(0));
                    }
                } else {
                    probation.push(name);
                }
            }
            Self::Arc { once, again, once_ghosts, again_ghosts, target, capacity } => {
                let (left_once, left_again) = (once_ghosts.len(), again_ghosts.len());
                if take(once, name) || take(again, name) {
                    again.push(name);
                } else if take(once_ghosts, name) {
                    *target = (*target + (left_again / left_once).max(1)).min(*capacity);
                    again.push(name);
                } else if take(again_ghosts, name) {
                    *target = target.saturating_sub((left_once / left_again).max(1));
                    again.push(name);
                } else {
                    once.push(name);
                }
            }
            Self::S3Fifo { small, large, ghosts, .. } => {
                if let Some((_, uses)) =
                    small.iter_mut().chain(large.iter_mut()).find(|(other, _)| *other == name)
                {
                    *uses = (*uses + 1).min(3);
                } else if take(ghosts, name) {
                    large.push((name, 0));
                } else {
                    small.push((name, 0));
                }
            }
        }
    }

    pub(super) fn victim(&mut self, offered: &[u64]) -> u64 {
        let victim = match self {
            Self::Lru(names) => first(names, offered),
            Self::Slru { probation, protected, .. } => {
                first(probation, offered).or_else(|| first(protected, offered))
            }
            Self::Arc { once, again, target, .. } => {
                let (from_once, from_again) = (first(once, offered), first(again, offered));
                if once.len() > *target { from_once.or(from_again) } else { from_again.or(from_once) }
            }
            Self::S3Fifo { small, large, small_target, .. } => loop {
                let place = |queue: &[(u64, u8)]| queue.iter().position(|(name, _)| offered.contains(name));
                let (from_small, from_large) = (place(small), place(large));
                match (from_small, from_large) {
                    (Some(place), _) if small.len() > *small_target || from_large.is_none() => {
                        let (name, uses) = small[place];
                        if uses <= 1 {
                            break Some(name);
                        }
                        small.remove(place);
                        large.push((name, 0));
                    }
                    (_, Some(place)) => {
                        let (name, uses) = large[place];
                        if uses == 0 {
                            break Some(name);
                        }
                        large.remove(place);
                        large.push((name, uses - 1));
                    }
                    (_, None) => break None,
                }
            },
        };
        victim.expect("something is offered")
    }

    pub(super) fn depart(&mut self, name: u64, departure: Departure) {
        let is_remembered = departure == Departure::Evicted;
        match self {
            Self::Lru(names) => {
                take(names, name);
            }
            Self::Slru { probation, protected, .. } => {
                let _found = take(probation, name) || take(protected, name);
            }
            Self::Arc { once, again, once_ghosts, again_ghosts, capacity, .. } => {
                let ghosts = if take(once, name) { &mut *once_ghosts } else { &mut *again_ghosts };
                take(again, name);
                if !is_remembered {
                    return;
                }
                ghosts.push(name);
                while !once_ghosts.is_empty() && once.len() + once_ghosts.len() > *capacity {
                    once_ghosts.remove(0);
                }
                let entries = once.len() + again.len();
                while !again_ghosts.is_empty()
                    && entries + once_ghosts.len() + again_ghosts.len() > 2 * *capacity
                {
                    again_ghosts.remove(0);
                }
            }
            Self::S3Fifo { small, large, ghosts, ghosts_max, .. } => {
                let was_small = small.iter().any(|(other, _)| *other == name);
                small.retain(|(other, _)| *other != name);
                large.retain(|(other, _)| *other != name);
                if was_small && is_remembered {
                    ghosts.push(name);
                    if ghosts.len() > *ghosts_max {
                        ghosts.remove(0);
                    }
                }
            }
        }
    }
}
