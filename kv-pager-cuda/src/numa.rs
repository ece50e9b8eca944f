//! Where memory lies: nodes of host memory, and the processors near each, as sysfs tells.
//! Uses nothing of the crate. Known by: `driver::device`, `mapping`.
//!
//! A machine that tells nothing, or has one node, is served all the same: then nothing is bound.

use std::fs;
use std::path::Path;

/// A node of host memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeId(pub u16);

/// The node nearest to the PCI device at `bus` (`0000:19:00.0`); `None` where there is only one, or nobody knows.
pub(crate) fn node_of_pci_device(bus: &str) -> Option<NodeId> {
    let path = Path::new("/sys/bus/pci/devices").join(bus.to_ascii_lowercase()).join("numa_node");
    let text = fs::read_to_string(path).ok()?;
    text.trim().parse::<u16>().ok().map(NodeId)
}

/// The processors of `node`, in ascending order; empty where the machine does not tell.
pub(crate) fn processors_of(node: NodeId) -> Vec<usize> {
    fs::read_to_string(format!("/sys/devices/system/node/node{}/cpulist", node.0))
        .map(|text| parse_list(&text))
        .unwrap_or_default()
}

/// Reads `0-3,8,10-11`; what is no number or range is passed over.
fn parse_list(text: &str) -> Vec<usize> {
    let mut processors = Vec::new();
    for item in text.trim().split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            processors.extend((first..=last).take(4096));
        }
    }
    processors
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(parse_list("0-3,8,10-11\n"), vec![0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list("5"), vec![5]);
        assert_eq!(parse_list("\n"), Vec::<usize>::new());
        assert_eq!(parse_list("x,2-"), Vec::<usize>::new());
    }
}
