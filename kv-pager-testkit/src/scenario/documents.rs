//! The scenarios of documents that are asked for as they are.
//! Uses `scenario::stage`. Known by: `scenario`.

use super::stage::Stage;

/// Mean of the time between requests.
const GAP_MS: u32 = 700;

impl Stage {
    /// A place below `count`, the last ones far more often.
    fn recent(&mut self, count: usize) -> usize {
        let bound = u32::try_from(count).expect("documents are few");
        let back = (0..4).fold(bound, |bound, _| 1 + self.random.below(bound));
        count - back as usize
    }

    fn ask_now(&mut self, document: &[u64]) {
        self.ask_whole(self.now_ms, document.to_vec());
        self.pass(GAP_MS);
    }

    pub(super) fn recents(&mut self, requests: u32, blocks: [u32; 2]) {
        let mut used = self.fresh_many(4, blocks);
        for _ in 0..requests {
            let document = if self.random.below(4) == 0 {
                self.fresh(blocks)
            } else {
                let place = self.recent(used.len());
                used.remove(place)
            };
            self.ask_now(&document);
            used.push(document);
        }
    }

    pub(super) fn twins(&mut self) {
        let rounds = self.fresh_many(110, [5, 25]);
        let mut waiting: Vec<Vec<u64>> = Vec::new();
        for place in 0..3_000 {
            self.ask_now(&rounds[place % rounds.len()]);
            if place % 2 == 0 {
                let document = self.fresh([5, 25]);
                self.ask_now(&document);
                waiting.push(document);
            } else if waiting.len() > 4 {
                self.ask_now(&waiting.remove(0));
            }
        }
    }

    pub(super) fn edits(&mut self) {
        let mut files = self.fresh_many(25, [10, 60]);
        for _ in 0..2_500 {
            let place = self.favourite(25);
            let mut file = files[place].clone();
            if self.random.below(2) == 0 {
                let end = self.recent(file.len());
                file.truncate(end.max(1));
                file.extend(self.fresh([1, 12]));
                file.truncate(80);
            }
            self.ask_now(&file);
            files[place] = file;
        }
    }

    pub(super) fn chance(&mut self) {
        let documents = self.fresh_many(90, [1, 60]);
        for _ in 0..3_000 {
            let place = self.random.below(90) as usize;
            self.ask_now(&documents[place]);
        }
    }

    pub(super) fn window(&mut self) {
        let mut documents = self.fresh_many(40, [4, 24]);
        for _ in 0..6_000 {
            let place = self.random.below(40) as usize;
            self.ask_now(&documents[place]);
            if self.random.below(7) == 0 {
                documents.remove(0);
                let document = self.fresh([4, 24]);
                documents.push(document);
            }
        }
    }
}
