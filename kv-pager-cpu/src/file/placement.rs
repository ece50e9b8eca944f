//! Placement: which directory a slot lies in, and where there.
//! Uses nothing. Known by: `file`.
//!
//! - **E1** two slots never share a place, and a slot's place stays when slots are added or taken away behind it.
//!
//! Stripes of adjacent slots go to the directories in turn, so that a run stays one request and a batch uses all drives.

/// Bytes that should stand together in one directory: enough to saturate a drive with one request.
const STRIPE_BYTES: u64 = 8 << 20;

/// How one class is spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placement {
    pub(crate) directories: u32,
    pub(crate) stripe_slots: u32,
}

/// Where a slot lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) directory: usize,
    /// Its number among the directory's slots of the class.
    pub(crate) local: u64,
}

impl Placement {
    /// Spreads slots of `slot_bytes` over `directories`.
    pub(crate) fn new(directories: u32, slot_bytes: u64) -> Self {
        let stripe_slots =
            u32::try_from((STRIPE_BYTES / slot_bytes).max(1)).expect("at most 2,048: slots are pages");
        Self { directories, stripe_slots }
    }

    /// Where slot number `slot` lies.
    pub(crate) fn place(self, slot: usize) -> Place {
        let (stripe_slots, directories) = (self.stripe_slots as usize, self.directories as usize);
        let stripe = slot / stripe_slots;
        let local = stripe / directories * stripe_slots + slot % stripe_slots;
        Place { directory: stripe % directories, local: local as u64 }
    }

    /// The slot at a place: the inverse of [`Placement::place`].
    pub(crate) fn slot(self, place: Place) -> u64 {
        let stripe_slots = u64::from(self.stripe_slots);
        let stripe = place.local / stripe_slots * u64::from(self.directories) + place.directory as u64;
        stripe * stripe_slots + place.local % stripe_slots
    }

    /// How many slots of the class directory `directory` has when there are `slots` in all.
    pub(crate) fn slots_in(self, directory: usize, slots: u32) -> u64 {
        let (stripe_slots, directories) = (u64::from(self.stripe_slots), u64::from(self.directories));
        let (stripes, rest) = (u64::from(slots) / stripe_slots, u64::from(slots) % stripe_slots);
        let directory = directory as u64;
        let full = stripes / directories + u64::from(directory < stripes % directories);
        full * stripe_slots + if directory == stripes % directories { rest } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Placement;

    #[test]
    fn places_are_dense_and_the_inverse_finds_the_slot() {
        for directories in 1..4 {
            for stripe_slots in [1, 3, 16] {
                let placement = Placement { directories, stripe_slots };
                let mut seen = vec![0; directories as usize];
                for slots in 0..100 {
                    let counts: Vec<u64> = (0..directories as usize)
                        .map(|directory| placement.slots_in(directory, slots))
                        .collect();
                    assert_eq!(counts, seen, "{placement:?}, {slots} slots");
                    let place = placement.place(slots as usize);
                    assert_eq!(placement.slot(place), u64::from(slots));
                    seen[place.directory] += 1;
                    assert!(place.local < seen[place.directory], "{placement:?}, slot {slots}");
                }
            }
        }
    }
}
