//! The machine that a command runs on, as profiles name it.
//! Uses the CUDA backend. Known by: `measure`, `replay`.
//!
//! What is in the name decides what costs depend on: another processor, another number of its threads or another card is another
//! machine. Drives are not: a profile says what its own took, and what is observed corrects it.

use crate::device_name::DeviceName;
use crate::failure::Failure;
use kv_pager_cuda::open_device;
use std::env::consts::{ARCH, OS};

/// The name of this machine, with the card that computes.
///
/// # Errors
/// [`Failure::Pager`] if there is no such card.
pub(crate) fn name(device: DeviceName) -> Result<String, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| processor(&text));
    let processor = processor.unwrap_or_else(|| ARCH.to_owned());
    let machine = format!("{processor}, {threads} threads, {OS} {ARCH}");
    Ok(match device {
        DeviceName::Cpu => machine,
        DeviceName::Cuda(ordinal) => format!("{}, {machine}", open_device(ordinal)?.name()),
    })
}

/// The processor's name in what Linux tells of it.
fn processor(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    let (_, name) = line.split_once(':')?;
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{DeviceName, name, processor};

    #[test]
    fn the_name_is_the_same_each_time_and_has_the_processor_where_it_is_told() {
        let named = || name(DeviceName::Cpu).expect("a processor is always there");
        assert_eq!(named(), named());
        let told = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: A  Processor @ 2.0GHz \nstepping\t: 4\n";
        assert_eq!(processor(told).as_deref(), Some("A Processor @ 2.0GHz"));
        assert_eq!(processor("processor: 0\nCPU part: 0xd40\n"), None);
    }
}
