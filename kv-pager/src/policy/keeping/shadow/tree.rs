//! The blocks of a shadow: names in a tree.
//! Layer 8. Uses `names`. Known by: `shadow`.
//!
//! - **TR1** a name is found exactly while its node is in use;
//! - **TR2** a node counts its children.

use super::super::EntryId;
use super::super::names::Names;
use super::entry_at;

#[derive(Clone, Copy, Debug)]
struct Node {
    name: u64,
    parent: Option<EntryId>,
    children: u32,
    is_used: bool,
}

/// Blocks by name, each below its parent.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    free: Vec<EntryId>,
    names: Names,
}

impl Tree {
    /// Room for `entries` blocks.
    pub(super) fn new(entries: u32) -> Self {
        let entries = entries as usize;
        Self {
            nodes: Vec::with_capacity(entries),
            free: Vec::with_capacity(entries),
            names: Names::new(entries),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(super) fn find(&self, name: u64) -> Option<EntryId> {
        self.names.get(name, |entry| self.nodes[entry as usize].name == name).map(EntryId::new)
    }

    pub(super) fn name_of(&self, entry: EntryId) -> u64 {
        self.nodes[entry.index()].name
    }

    pub(super) fn is_leaf(&self, entry: EntryId) -> bool {
        self.nodes[entry.index()].children == 0
    }

    /// Adds a block below its parent.
    pub(super) fn insert(&mut self, name: u64, parent: Option<EntryId>) -> EntryId {
        let node = Node { name, parent, children: 0, is_used: true };
        let entry = if let Some(entry) = self.free.pop() {
            self.nodes[entry.index()] = node;
            entry
        } else {
            self.nodes.push(node);
            entry_at(self.nodes.len() - 1)
        };
        if let Some(parent) = parent {
            self.nodes[parent.index()].children += 1;
        }
        self.names.insert(name, entry.as_u32());
        entry
    }

    /// Takes a leaf out; gives its parent if that has become a leaf.
    pub(super) fn remove(&mut self, entry: EntryId) -> Option<EntryId> {
        let Node { name, parent, children, is_used } = self.nodes[entry.index()];
        assert!(is_used, "TR1: {entry:?} is not in the tree");
        assert_eq!(children, 0, "TR2: {entry:?} has children");
        self.nodes[entry.index()].is_used = false;
        self.names.remove(name, entry.as_u32());
        self.free.push(entry);
        let parent = parent?;
        self.nodes[parent.index()].children -= 1;
        self.is_leaf(parent).then_some(parent)
    }

    /// Asserts TR1 and TR2; O(n), for tests.
    pub(super) fn check(&self) {
        let mut children = vec![0; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_used) {
            assert_eq!(self.find(node.name), Some(entry_at(index)), "TR1: block {}", node.name);
            if let Some(parent) = node.parent {
                assert!(self.nodes[parent.index()].is_used, "TR1: the parent of block {}", node.name);
                children[parent.index()] += 1;
            }
        }
        for (node, children) in self.nodes.iter().zip(children).filter(|(node, _)| node.is_used) {
            assert_eq!(node.children, children, "TR2: block {}", node.name);
        }
    }
}
