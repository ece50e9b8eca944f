//! What every tier must do (T1 to T3).
//! Uses `kv_pager::tier`. Known by: `tests/conformance.rs` of every backend.

use kv_pager::ids::Fence;
use kv_pager::layout::ModelLayout;
use kv_pager::tier::{Health, Tier};

/// Checks the contract of a fresh tier for `model`.
///
/// # Panics
/// If it doesn't hold.
pub fn check_tier(tier: &dyn Tier, model: &ModelLayout) {
    // T1: an entry for each group, large enough, and the same each time.
    let classes = tier.classes().to_vec();
    assert_eq!(classes.len(), model.groups().len());
    for (group, class) in model.group_ids().zip(&classes) {
        let kept = tier.format().encoded_bytes(model.part_bytes(group), model.group(group).dtype);
        assert!(class.slots > 0, "{}: {group:?}", tier.id());
        assert!(class.slot_bytes >= kept, "{}: {group:?}: {class:?} for {kept}", tier.id());
    }
    assert_eq!(tier.classes(), classes);
    // T2: what is over stays over, and a stranger is not.
    for _ in 0..2 {
        assert!(tier.is_fence_over(Fence::OVER));
        assert!(!tier.is_fence_over(Fence(u64::MAX)));
    }
    assert_eq!(tier.health(), Health::Well);
}
