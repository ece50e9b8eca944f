use super::{Goal, Queue, Queued};
use crate::ids::{BlockId, GroupId, SlotId};
use crate::prefix::Looks;
use crate::transfer::Priority;
use proptest::prelude::*;
use std::collections::VecDeque;

const BLOCKS: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Item {
    number: u32,
    goal: Goal,
    priority: Priority,
}

impl Queued for Item {
    fn goal(&self) -> Goal {
        self.goal
    }

    fn priority(&self) -> Priority {
        self.priority
    }
}

fn goal(block: usize, group: usize, slot: usize) -> Goal {
    Goal {
        block: BlockId::from_index(block),
        group: GroupId::from_index(group),
        slot: SlotId::from_index(slot),
    }
}

fn item(number: u32, goal: Goal, priority: Priority) -> Item {
    Item { number, goal, priority }
}

fn numbers(queue: &Queue<Item>) -> Vec<u32> {
    queue.waiting().map(|item| item.number).collect()
}

#[test]
fn a_move_is_found_by_its_slot_if_it_brings_the_block_that_is_meant() {
    let mut queue = Queue::new(&[10, 10], 4, Looks::new(BLOCKS));
    queue.add(item(0, goal(7, 1, 3), Priority::Demand));
    assert!(queue.find(goal(7, 1, 3)).is_some());
    assert!(queue.find(goal(8, 1, 3)).is_none(), "another block's");
    assert!(queue.find(goal(7, 0, 3)).is_none(), "another group's slot");
    let place = queue.find(goal(7, 1, 3)).expect("found above");
    queue.begin(place, 5, 2);
    assert_eq!((queue.find(goal(7, 1, 3)), queue.begun(place)), (Some(place), Some((5, 2))));
    assert!(queue.is_empty(), "it waits no more");
    queue.end(goal(7, 1, 3));
    assert!(queue.find(goal(7, 1, 3)).is_none());
}

#[test]
#[should_panic(expected = "TQ1")]
fn a_second_move_to_a_slot_panics() {
    let mut queue = Queue::new(&[10], 4, Looks::new(BLOCKS));
    queue.add(item(0, goal(1, 0, 3), Priority::Demand));
    queue.add(item(1, goal(2, 0, 3), Priority::Offload));
}

#[test]
fn places_are_used_again() {
    let mut queue = Queue::new(&[1000], 8, Looks::new(BLOCKS));
    for round in 0..100 {
        for at in 0..8 {
            queue.add(item(at, goal(0, 0, (round * 8 + at as usize) % 1000), Priority::Demand));
        }
        while let Some(front) = queue.front() {
            queue.take(front);
        }
    }
    assert_eq!(queue.nodes.len(), 8, "TQ3");
}

/// What a queue is, told by walking over it.
#[derive(Debug, Default)]
struct Plain {
    lists: [VecDeque<Item>; Priority::COUNT],
    begun: Vec<(Item, (u64, usize))>,
}

impl Plain {
    fn waiting(&self) -> impl Iterator<Item = &Item> {
        self.lists.iter().flatten()
    }

    fn has_slot(&self, Goal { group, slot, .. }: Goal) -> bool {
        let is_there = |item: &Item| (item.goal.group, item.goal.slot) == (group, slot);
        self.waiting().chain(self.begun.iter().map(|(item, _)| item)).any(is_there)
    }

    fn take_found(&mut self, goals: &[Goal], is_meant: impl Fn(&Item) -> bool) -> Vec<Item> {
        let is_taken = |item: &Item| goals.contains(&item.goal) && is_meant(item);
        let taken = self.waiting().filter(|item| is_taken(item)).copied().collect();
        self.lists.iter_mut().for_each(|list| list.retain(|item| !is_taken(item)));
        taken
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Goal, Priority),
    TakeFirst(Priority),
    Begin,
    End(usize),
    Take(Vec<Goal>, Priority),
    Hasten(Vec<Goal>),
}

/// Slots of two groups.
const CLASSES: [u32; 2] = [12; 2];
const SLOTS: usize = CLASSES[0] as usize;

fn goals() -> impl Strategy<Value = Goal> {
    (0..2_usize, 0..2_usize, 0..SLOTS).prop_map(|(block, group, slot)| goal(block, group, slot))
}

fn priorities() -> impl Strategy<Value = Priority> {
    (0..Priority::COUNT).prop_map(|at| Priority::ALL[at])
}

fn steps() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(goals(), 0..12);
    prop_oneof![
        6 => (goals(), priorities()).prop_map(|(goal, priority)| Step::Add(goal, priority)),
        1 => priorities().prop_map(Step::TakeFirst),
        2 => Just(Step::Begin),
        2 => any::<usize>().prop_map(Step::End),
        1 => (some(), priorities()).prop_map(|(goals, priority)| Step::Take(goals, priority)),
        2 => some().prop_map(Step::Hasten),
    ]
}

/// Lets both do `step`; whatever was called off, ended or was moved is the same.
fn both(queue: &mut Queue<Item>, plain: &mut Plain, step: Step, number: u32) {
    match step {
        Step::Add(goal, _) if plain.has_slot(goal) => {}
        Step::Add(goal, priority) => {
            queue.add(item(number, goal, priority));
            plain.lists[priority as usize].push_back(item(number, goal, priority));
        }
        Step::TakeFirst(priority) => {
            let taken = queue.first(priority).map(|place| queue.take(place));
            assert_eq!(taken, plain.lists[priority as usize].pop_front());
        }
        Step::Begin => {
            let begun = plain.lists.iter_mut().find_map(VecDeque::pop_front);
            let front = queue.front();
            assert_eq!(front.map(|place| *queue.item(place)), begun);
            let at = (u64::from(number), plain.begun.len());
            if let Some(place) = front {
                queue.begin(place, at.0, at.1);
            }
            plain.begun.extend(begun.map(|item| (item, at)));
        }
        Step::End(which) => {
            if plain.begun.is_empty() {
                return;
            }
            let (ended, at) = plain.begun.swap_remove(which % plain.begun.len());
            let place = queue.find(ended.goal).expect("it has begun");
            assert_eq!((queue.begun(place), *queue.item(place)), (Some(at), ended));
            queue.end(ended.goal);
        }
        Step::Take(goals, priority) => {
            let is_meant = |item: &Item| item.priority == priority;
            let mut taken = Vec::new();
            queue.take_found(&goals, is_meant, &mut taken);
            assert_eq!(taken, plain.take_found(&goals, is_meant), "in the order in which they wait");
        }
        Step::Hasten(goals) => {
            let is_meant = |item: &Item| item.priority == Priority::Prefetch;
            let mut taken = Vec::new();
            queue.take_found(&goals, is_meant, &mut taken);
            let hastened = taken.into_iter().map(|item| Item { priority: Priority::Demand, ..item });
            hastened.for_each(|item| queue.add(item));
            let moved = plain.take_found(&goals, is_meant);
            let moved = moved.into_iter().map(|item| Item { priority: Priority::Demand, ..item });
            plain.lists[Priority::Demand as usize].extend(moved);
        }
    }
}

proptest! {
    /// TQ1 and TQ2, whatever is added, begins, ends, is called off or moved ahead, with many slots in each bucket and with one.
    #[test]
    fn it_is_what_plain_lists_are(most in prop_oneof![Just(1_u32), Just(4), Just(64)], steps in proptest::collection::vec(steps(), 0..200)) {
        let mut queue = Queue::new(&CLASSES, most, Looks::new(BLOCKS));
        let mut plain = Plain::default();
        for (number, step) in (0_u32..).zip(steps) {
            both(&mut queue, &mut plain, step, number);
            let waiting: Vec<u32> = plain.waiting().map(|item| item.number).collect();
            prop_assert_eq!(numbers(&queue), waiting);
            prop_assert_eq!(queue.len(), plain.waiting().count());
            for priority in Priority::ALL {
                prop_assert_eq!(queue.len_of(priority), plain.lists[priority as usize].len());
            }
            for slot in 0..2 * SLOTS {
                let asked = goal(slot % 2, slot / SLOTS, slot % SLOTS);
                let found = queue.find(asked).map(|place| queue.item(place).number);
                let begun = plain.begun.iter().map(|(item, _)| item);
                let known = plain.waiting().chain(begun).find(|item| item.goal == asked);
                prop_assert_eq!(found, known.map(|item| item.number));
            }
        }
    }
}
