//! Records: what is known in memory of each slot of a file.
//! Uses nothing. Known by: `file::group`, `file::recovery`.
//!
//! - **Z1** only a slot that is `Full` is read, and its payload must have `checksum`;
//! - **Z2** `is_on_file` is false only if the header on the file is surely void, so that no crash can bring the slot back;
//! - **Z3** a slot that is spoiled or retired is written no more.

/// What a slot is to this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SlotUse {
    /// Nothing is to be read from it.
    Empty,
    /// It is being written.
    Writing,
    /// It is being written, and was given up meanwhile.
    Unwanted,
    /// It holds a payload.
    Full,
    /// Its payload was found damaged, or its place takes none, which the file has yet to be told.
    Spoiled,
    /// It is not to be used.
    Retired,
}

/// What is known of one slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) usage: SlotUse,
    /// Z2.
    pub(super) is_on_file: bool,
    /// Whether it stands in the list of slots of which the file must be told.
    pub(super) is_listed: bool,
    /// How often its payload was found damaged.
    pub(super) strikes: u8,
    /// How often it was written.
    pub(super) generation: u64,
    /// Of its payload, without padding.
    pub(super) checksum: u64,
    /// How often its block was asked for, if the file has yet to be told.
    pub(super) uses: Option<u32>,
}

/// A slot found damaged so often stays retired when the tier is opened again: before, the drive may have lost a write when
/// the power went, and deserves another chance.
pub(super) const STRIKES_MAX: u8 = 2;

impl Record {
    /// A slot that was never used.
    pub(super) const BLANK: Self = Self {
        usage: SlotUse::Empty,
        is_on_file: false,
        is_listed: false,
        strikes: 0,
        generation: 0,
        checksum: 0,
        uses: None,
    };

    /// Whether it may be written (Z3).
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.usage, SlotUse::Empty | SlotUse::Full)
    }

    /// A write begins.
    pub(super) fn begin(&mut self) {
        assert!(self.is_writable(), "{self:?} is written");
        self.usage = SlotUse::Writing;
        self.generation += 1;
        self.uses = None;
    }

    /// A write ended well. Returns whether the file must be told that the slot was given up meanwhile.
    pub(super) fn fill(&mut self, checksum: u64) -> bool {
        self.checksum = checksum;
        self.is_on_file = true;
        let is_unwanted = self.usage == SlotUse::Unwanted;
        self.usage = if is_unwanted { SlotUse::Empty } else { SlotUse::Full };
        is_unwanted
    }

    /// A write failed; `is_void` if the header on the file is surely void. Returns whether the file must be told.
    pub(super) fn fail(&mut self, is_void: bool) -> bool {
        self.usage = SlotUse::Empty;
        self.is_on_file = !is_void;
        self.is_on_file
    }

    /// A write failed because the place is bad: the slot is written no more. The file must be told.
    pub(super) fn fail_for_good(&mut self) {
        self.usage = SlotUse::Spoiled;
        self.strikes = self.strikes.saturating_add(1);
    }

    /// The slot is given up. Returns whether the file must be told.
    pub(super) fn give_up(&mut self) -> bool {
        match self.usage {
            SlotUse::Full => {
                self.usage = SlotUse::Empty;
                self.is_on_file
            }
            SlotUse::Writing => {
                self.usage = SlotUse::Unwanted;
                false
            }
            SlotUse::Empty | SlotUse::Unwanted | SlotUse::Spoiled | SlotUse::Retired => false,
        }
    }

    /// The file was told what it must be told. A write that began meanwhile tells the rest.
    pub(super) fn tell(&mut self) {
        match self.usage {
            SlotUse::Empty => self.is_on_file = false,
            SlotUse::Spoiled => {
                self.is_on_file = false;
                self.usage = SlotUse::Retired;
            }
            SlotUse::Writing | SlotUse::Unwanted | SlotUse::Full | SlotUse::Retired => {}
        }
    }

    /// It is to be retired, although nothing is read from it: its header is damaged, or its payload is gone. Returns whether the
    /// file must be told.
    pub(super) fn condemn(&mut self) -> bool {
        let is_news = self.usage == SlotUse::Empty;
        if is_news {
            self.usage = SlotUse::Spoiled;
            self.strikes = self.strikes.saturating_add(1);
        }
        is_news
    }

    /// Its payload was found damaged. Returns whether the file must be told.
    pub(super) fn spoil(&mut self) -> bool {
        let is_news = self.usage == SlotUse::Full;
        if is_news {
            self.usage = SlotUse::Spoiled;
            self.strikes = self.strikes.saturating_add(1);
        }
        is_news
    }
}
