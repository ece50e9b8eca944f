//! The device that `--device` names.
//! Uses the CUDA backend. Known by: `measure`, `replay`.

use crate::failure::Failure;
use kv_pager_cuda::open_device;

/// Which device `--device` names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeviceName {
    /// Host memory of limited size.
    Cpu,
    /// The CUDA card of this number.
    Cuda(u32),
}

impl DeviceName {
    /// Reads `cpu` or `cuda:0`, and sees whether there is such a card.
    pub(crate) fn find(text: &str) -> Result<Self, Failure> {
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let wrong = |why: String| Failure::Argument { option: "--device", why };
        let ordinal = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        let ordinal = ordinal.ok_or_else(|| wrong(format!("`{text}` is no device; use cpu, or cuda:0")))?;
        open_device(ordinal).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::Cuda(ordinal))
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceName;

    #[test]
    fn devices_that_are_not_there_are_refused() {
        assert_eq!(DeviceName::find("cpu").expect("always there"), DeviceName::Cpu);
        for text in ["cuda:999", "cuda", "cuda:x", "tpu:0", ""] {
            let error = DeviceName::find(text).expect_err(text).to_string();
            assert!(error.starts_with("--device"), "{error}");
        }
    }
}
