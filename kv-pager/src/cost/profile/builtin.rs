//! The profiles that come with the library.
//! Layer 6. Uses `cost::profile`. Known by: the command line, tests.

use super::Profile;

impl Profile {
    /// An H200 with llama3-8b: a PCI express 5 link, one virtio disk that reads 1.3 GB/s.
    ///
    /// # Panics
    /// Never: the file is part of the library and its tests.
    pub fn h200_llama3_8b() -> Self {
        let text = include_str!("../../../profiles/h200-llama3-8b.json");
        Self::from_json(text).expect("the shipped profile is plausible")
    }
}
