//! The probe: whether this machine has a driver and a device, and if not, why.
//! Uses `driver`. Known by: whoever wants a device; it comes before everything else here (D1).
//!
//! cudarc panics where the library is missing, so the library is looked for first. Nothing here needs a GPU to be asked.
#![expect(unsafe_code, reason = "calls of the driver")]

use crate::driver::{Device, DriverError};
use cudarc::driver::sys;
use kv_pager::Error;
use kv_pager::ids::TierId;
use std::sync::{Arc, OnceLock};

/// The oldest driver that is served: CUDA 12.0.
const OLDEST: (u32, u32) = (12, 0);

/// Why there is no CUDA here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// The driver's library was not found.
    #[error("no CUDA driver: libcuda.so was not found; install NVIDIA's driver, or run with --device cpu")]
    NoDriver,
    /// The driver is there and finds no card.
    #[error("a CUDA driver, but no device that it can use: check nvidia-smi and CUDA_VISIBLE_DEVICES")]
    NoDevice,
    /// The driver is older than this library's calls.
    #[error("the CUDA driver is of {}.{}, and {}.{} is needed: update it", found.0, found.1, OLDEST.0, OLDEST.1)]
    TooOld {
        /// Its version, major and minor.
        found: (u32, u32),
    },
    /// The driver did not start.
    #[error("the CUDA driver did not start: {0}")]
    Failed(DriverError),
}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Failed(error) => error.tell(TierId::Device, "starting the CUDA driver"),
            other => Self::Configuration { setting: "device", why: other.to_string() },
        }
    }
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The CUDA version that the driver serves, major and minor.
    pub driver: (u32, u32),
    /// How many cards this process sees.
    pub devices: u32,
}

/// Looks for a driver and a device. Never panics; cheap from the second call on.
///
/// # Errors
/// [`Absent`], which says what is missing.
pub fn probe() -> Result<Machine, Absent> {
    static FOUND: OnceLock<Result<Machine, Absent>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Result<Machine, Absent> {
    // SAFETY: loading the driver's library runs its initialisers only, which ask nothing of the program.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absent::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the library is there; `version` is a place for one number. It may be asked before `cuInit`.
    let code = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    DriverError::check("cuDriverGetVersion", code).map_err(Absent::Failed)?;
    let version = u32::try_from(version).unwrap_or(0);
    let driver = (version / 1000, version % 1000 / 10);
    // SAFETY: the library is there.
    match unsafe { sys::cuInit(0) } {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => return Err(Absent::NoDevice),
        code => DriverError::check("cuInit", code).map_err(Absent::Failed)?,
    }
    if driver < OLDEST {
        return Err(Absent::TooOld { found: driver });
    }
    let mut devices = 0;
    // SAFETY: the library is there and initialised; `devices` is a place for one number.
    let code = unsafe { sys::cuDeviceGetCount(&raw mut devices) };
    DriverError::check("cuDeviceGetCount", code).map_err(Absent::Failed)?;
    match u32::try_from(devices) {
        Ok(devices) if devices > 0 => Ok(Machine { driver, devices }),
        _ => Err(Absent::NoDevice),
    }
}

/// Opens card `ordinal`.
///
/// # Errors
/// [`Error::Configuration`] if there is no such card, or no driver; [`Error::DeviceLost`] if it does not answer.
pub fn open_device(ordinal: u32) -> Result<Arc<Device>, Error> {
    let machine = probe()?;
    if ordinal >= machine.devices {
        let why =
            format!("cuda:{ordinal} was asked for, and there are {} cards, from cuda:0", machine.devices);
        return Err(Error::Configuration { setting: "device", why });
    }
    Device::open(ordinal).map(Arc::new).map_err(|error| error.tell(TierId::Device, "opening the device"))
}

#[cfg(test)]
mod tests {
    use super::{Absent, open_device, probe};

    #[test]
    fn absence_is_an_error_and_no_panic() {
        match probe() {
            Ok(machine) => assert!(open_device(machine.devices).is_err(), "there is no card past the last"),
            Err(absent) => {
                assert!(!absent.to_string().is_empty());
                let error = open_device(0).expect_err("there is no driver");
                let is_plain = !matches!(absent, Absent::Failed(_));
                assert!(!is_plain || error.to_string().contains(&absent.to_string()), "{error}");
            }
        }
    }
}
