//! The other end: this process's memory, or memory that a card can read and write too.
//! Uses the backends. Known by: `main`, `subject`.

use kv_pager::Error;
use kv_pager::layout::{DeviceLayout, Format, ModelLayout};
use kv_pager_cpu::HostTier;
use kv_pager_cuda::{Device, DeviceOptions, DeviceTier, Inner, OwnedSlots, PinnedTier, open_device};
use std::str::FromStr;
use std::sync::Arc;

/// Whose memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Other {
    Cpu,
    Cuda(u32),
}

impl FromStr for Other {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ordinal = || name.strip_prefix("cuda:")?.parse().ok();
        match name {
            "cpu" => Ok(Self::Cpu),
            _ => ordinal().map(Self::Cuda).ok_or_else(|| format!("{name} is neither cpu nor cuda:N")),
        }
    }
}

/// Gives out host memory.
#[derive(Debug)]
pub(crate) struct HostMemory {
    device: Option<Arc<Device>>,
}

/// Slots of it, as long as this lives.
#[derive(Debug)]
pub(crate) struct HostSlots {
    pub(crate) tier: Arc<HostTier>,
    /// Page-locks it.
    _pinned: Option<(PinnedTier, DeviceTier)>,
}

impl HostMemory {
    /// # Errors
    /// [`Error::Configuration`] if there is no such card, or no driver.
    pub(crate) fn new(other: Other) -> Result<Self, Error> {
        let device = match other {
            Other::Cpu => None,
            Other::Cuda(ordinal) => Some(open_device(ordinal)?),
        };
        Ok(Self { device })
    }

    /// What it is, for people.
    pub(crate) fn name(&self) -> String {
        self.device.as_ref().map_or_else(
            || "memory of the process".to_owned(),
            |device| format!("pinned memory of {}", device.name()),
        )
    }

    /// # Errors
    /// What the tiers say.
    pub(crate) fn slots(&self, model: &ModelLayout, slots: u32) -> Result<HostSlots, Error> {
        let Some(device) = &self.device else {
            let tier = Arc::new(HostTier::host(model, Format::Raw, &[slots])?);
            return Ok(HostSlots { tier, _pinned: None });
        };
        let owned = OwnedSlots { slots: vec![1], layout: DeviceLayout::BlockMajor, inner: Inner::Nhd };
        let devices = [Arc::clone(device)];
        let device = DeviceTier::with_own_memory(model, &devices, &owned, &DeviceOptions::default())?;
        let pinned = PinnedTier::new(&device, &[slots])?;
        Ok(HostSlots { tier: Arc::clone(pinned.memory()), _pinned: Some((pinned, device)) })
    }
}
