//! Rows: what one token caches in one layer and side, as bytes of the model's dtype.
//! Uses nothing. Known by: `engine`.

use kv_pager::Error;
use kv_pager::layout::DType;

/// The types the reference engine writes. Others lose too much to compute with, or need scales of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RowType {
    /// 32-bit float.
    F32,
    /// bfloat16, rounded to nearest, ties to even.
    Bf16,
}

impl RowType {
    /// The type for `dtype`.
    pub(super) fn new(dtype: DType) -> Result<Self, Error> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::BF16 => Ok(Self::Bf16),
            other => Err(Error::Configuration {
                setting: "shape",
                why: format!(
                    "the reference engine computes in F32 and BF16, not in {other:?}; choose another shape"
                ),
            }),
        }
    }

    /// Bytes of one value.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Writes `values` to `bytes`, which has room for exactly them, and rounds `values` to what can be read back.
    pub(super) fn encode(self, values: &mut [f32], bytes: &mut [u8]) {
        match self {
            Self::F32 => {
                for (value, place) in values.iter().zip(bytes.as_chunks_mut::<4>().0) {
                    *place = value.to_le_bytes();
                }
            }
            Self::Bf16 => {
                for (value, place) in values.iter_mut().zip(bytes.as_chunks_mut::<2>().0) {
                    let bits = value.to_bits();
                    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
                    *value = f32::from_bits(rounded);
                    let [_, _, low, high] = rounded.to_le_bytes();
                    *place = [low, high];
                }
            }
        }
    }

    /// Reads the first values of `bytes`, as many as `values` and `bytes` both have.
    pub(super) fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            Self::F32 => {
                for (value, place) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*place);
                }
            }
            Self::Bf16 => {
                for (value, &[low, high]) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = f32::from_le_bytes([0, 0, low, high]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RowType;
    use kv_pager::layout::DType;

    #[test]
    fn what_was_encoded_is_read_back() {
        for row_type in [RowType::F32, RowType::Bf16] {
            let mut values = [1.0, -0.333_333_34, 1e-20, 65_537.0];
            let mut bytes = vec![0; values.len() * row_type.bytes()];
            row_type.encode(&mut values, &mut bytes);
            let mut read = [0.0; 4];
            row_type.decode(&bytes, &mut read);
            assert_eq!(read.map(f32::to_bits), values.map(f32::to_bits), "{row_type:?}");
        }
    }

    #[test]
    fn bfloat16_rounds_to_nearest_and_ties_to_even() {
        let mut values = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1.0 + 1.0 / 200.0];
        RowType::Bf16.encode(&mut values, &mut [0; 6]);
        let expected: [f32; 3] = [1.0, 1.0 + 4.0 / 256.0, 1.0 + 2.0 / 256.0];
        assert_eq!(values.map(f32::to_bits), expected.map(f32::to_bits));
    }

    #[test]
    fn other_types_are_refused_with_advice() {
        let error = RowType::new(DType::I8).expect_err("it has no scales").to_string();
        assert!(error.contains("choose another shape"), "{error}");
    }
}
