//! Ghosts: what an arm remembers of blocks that left.
//! Layer 8. Uses `names`. Known by: `arc`, `s3fifo`, `reuse`.
//!
//! - **G1** there are never more than the capacity: the one that left first is forgotten first;
//! - **G2** a name is found exactly while its ghost is in the order.

use super::names::Names;

/// No neighbour.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Ghost<R> {
    name: u64,
    older: u32,
    newer: u32,
    record: R,
}

/// Bounded memory of departed names, each with a record.
#[derive(Debug)]
pub(super) struct Ghosts<R> {
    places: Vec<Ghost<R>>,
    free: Vec<u32>,
    names: Names,
    oldest: u32,
    newest: u32,
    capacity: usize,
}

impl<R: Copy> Ghosts<R> {
    /// Room for `capacity` ghosts; at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            places: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            names: Names::new(capacity),
            oldest: NONE,
            newest: NONE,
            capacity,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether `name` is remembered. O(1).
    pub(super) fn contains(&self, name: u64) -> bool {
        self.find(name).is_some()
    }

    /// What is remembered of `name`. O(1).
    pub(super) fn get(&self, name: u64) -> Option<R> {
        self.find(name).map(|place| self.places[place as usize].record)
    }

    /// What is remembered of `name`, to be changed. O(1).
    pub(super) fn get_mut(&mut self, name: u64) -> Option<&mut R> {
        let place = self.find(name)?;
        Some(&mut self.places[place as usize].record)
    }

    /// Gets ready to look for many names (see [`Names::warm`]).
    pub(super) fn warm(&self, names: impl Iterator<Item = u64>) {
        self.names.warm(names);
    }

    /// Gets ready to forget as many as `count` new names would take the place of.
    pub(super) fn warm_oldest(&self, count: usize) {
        let at = |place: u32| self.places.get(place as usize);
        let oldest = std::iter::successors(at(self.oldest), |ghost| at(ghost.newer));
        let forgotten = (self.len() + count).saturating_sub(self.capacity);
        self.names.warm(oldest.take(forgotten).map(|ghost| ghost.name));
    }

    /// Remembers `name` as the newest; forgets the oldest if there is no room. O(1).
    pub(super) fn insert(&mut self, name: u64, record: R) {
        self.renew(name, |_| record);
    }

    /// Remembers `name` as the newest, with what `record` makes of what was remembered of it; forgets the oldest if there is no
    /// room, and gives what was remembered of that. O(1).
    pub(super) fn renew(&mut self, name: u64, record: impl FnOnce(Option<R>) -> R) -> Option<R> {
        if let Some(place) = self.find(name) {
            self.unlink(place);
            let ghost = &mut self.places[place as usize];
            ghost.record = record(Some(ghost.record));
            self.link(place);
            return None;
        }
        let forgotten = if self.len() == self.capacity { self.forget_oldest() } else { None };
        let ghost = Ghost { name, older: NONE, newer: NONE, record: record(None) };
        let place = if let Some(place) = self.free.pop() {
            self.places[place as usize] = ghost;
            place
        } else {
            self.places.push(ghost);
            u32::try_from(self.places.len() - 1).expect("entries are counted in 32 bits")
        };
        self.link(place);
        self.names.insert(name, place);
        forgotten
    }

    /// Takes `name` out: it is back. O(1).
    pub(super) fn take(&mut self, name: u64) -> Option<R> {
        let place = self.find(name)?;
        Some(self.forget(place))
    }

    /// Where the ghost of `name` is.
    fn find(&self, name: u64) -> Option<u32> {
        self.names.get(name, |place| self.places[place as usize].name == name)
    }

    /// Gives up the ghost at `place`.
    fn forget(&mut self, place: u32) -> R {
        let Ghost { name, record, .. } = self.places[place as usize];
        self.names.remove(name, place);
        self.unlink(place);
        self.free.push(place);
        record
    }

    /// Makes the ghost at `place` the newest.
    fn link(&mut self, place: u32) {
        let newest = std::mem::replace(&mut self.newest, place);
        match newest {
            NONE => self.oldest = place,
            newest => self.places[newest as usize].newer = place,
        }
        let ghost = &mut self.places[place as usize];
        (ghost.older, ghost.newer) = (newest, NONE);
    }

    /// Takes the ghost at `place` out of the order.
    fn unlink(&mut self, place: u32) {
        let Ghost { older, newer, .. } = self.places[place as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.places[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.places[newer as usize].older = older,
        }
    }

    /// Forgets the one that left first, if there is any. O(1).
    pub(super) fn forget_oldest(&mut self) -> Option<R> {
        (self.oldest != NONE).then(|| self.forget(self.oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::Ghosts;

    #[test]
    fn the_oldest_is_forgotten_first_and_the_returned_are_not_counted() {
        let mut ghosts = Ghosts::new(3);
        for name in [10, 11, 12] {
            ghosts.insert(name, name + 100);
        }
        assert_eq!(ghosts.take(10), Some(110));
        ghosts.insert(13, 113);
        assert!(ghosts.contains(11), "there was room");
        ghosts.insert(14, 114);
        assert_eq!((ghosts.take(11), ghosts.len()), (None, 3));
    }

    #[test]
    fn renewed_it_is_the_newest_with_what_is_made_of_its_past() {
        let mut ghosts = Ghosts::new(2);
        ghosts.renew(1, |past| past.map_or(10, |past: u32| past + 1));
        ghosts.insert(2, 20);
        ghosts.renew(1, |past| past.map_or(10, |past| past + 1));
        ghosts.insert(3, 30);
        assert_eq!((ghosts.take(1), ghosts.take(2), ghosts.take(3)), (Some(11), None, Some(30)));
    }

    #[test]
    fn inserted_again_it_is_the_newest() {
        let mut ghosts = Ghosts::new(2);
        ghosts.insert(1, 'a');
        ghosts.insert(2, 'b');
        ghosts.insert(1, 'c');
        ghosts.insert(3, 'd');
        assert_eq!((ghosts.take(1), ghosts.take(2), ghosts.take(3)), (Some('c'), None, Some('d')));
    }
}
