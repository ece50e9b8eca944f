//! The pager as a subject.

use crate::metadata;
use crate::subject::Subject;
use kv_pager::Pager;
use kv_pager::ids::{Fence, TokenId};
use kv_pager::pager::{Prompt, Request, Sequence, Step};

impl Subject for Pager {
    type Prompt = Prompt;
    type Sequence = Sequence;

    fn new(slots: u32) -> Self {
        metadata::pager(slots)
    }

    fn prompt(&self, tokens: &[TokenId]) -> Prompt {
        self.prepare(&Request::new(tokens))
    }

    fn open(&self, prompt: &Prompt) -> Sequence {
        self.open_prompt(prompt).expect("room")
    }

    fn fill(&self, _prompt: &Prompt, sequence: &mut Sequence) {
        while let Step::Compute(range) = sequence.next_step(usize::MAX).expect("room") {
            sequence.commit(range, Fence::OVER).expect("as told");
        }
    }

    fn fork(&self, sequence: &Sequence) -> Sequence {
        sequence.fork().expect("nothing is being computed")
    }

    fn append(&self, prompt: &Prompt, at: usize, sequence: &mut Sequence) {
        let size = metadata::TOKENS as usize;
        sequence.append(&prompt.tokens()[at * size..(at + 1) * size]).expect("room");
        self.fill(prompt, sequence);
    }

    fn clear(&self) {
        self.invalidate_all().expect("no drive");
    }
}
