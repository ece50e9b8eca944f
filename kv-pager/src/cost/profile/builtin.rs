//! The profiles that come with the library.
//! Layer 6. Uses `cost::profile`. Known by: the command line, tests.

use super::Profile;

/// By name: what they are of stands in `docs/cost-model.md`.
const SHIPPED: [(&str, &str); 4] = [
    ("h200-llama3-8b", include_str!("../../../profiles/h200-llama3-8b.json")),
    ("h200-llama3-8b-fast-drive", include_str!("../../../profiles/h200-llama3-8b-fast-drive.json")),
    ("h200-llama3-8b-measured", include_str!("../../../profiles/h200-llama3-8b-measured.json")),
    ("h200-qwen2.5-0.5b-measured", include_str!("../../../profiles/h200-qwen2.5-0.5b-measured.json")),
];

impl Profile {
    /// The names of the profiles that come with the library.
    pub fn shipped_names() -> impl ExactSizeIterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// The profile of that name that comes with the library, if there is one.
    ///
    /// # Panics
    /// Never: the files are part of the library and its tests.
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Some(Self::from_json(text).expect("shipped profiles are plausible"))
    }

    /// An H200 with llama3-8b: a PCI express 5 link, one virtio disk that reads 1.3 GB/s.
    ///
    /// # Panics
    /// Never: it is shipped.
    pub fn h200_llama3_8b() -> Self {
        Self::shipped("h200-llama3-8b").expect("it is shipped")
    }
}
