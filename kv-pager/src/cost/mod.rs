//! Costs: what a move and a prefill take on this machine.
//! Layer 6. Uses `ids`, `units`, `clock`, `tier`. Known by: `transfer`, `policy`.
