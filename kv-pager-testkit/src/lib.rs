//! What the project tests itself with: machines under a test's control, suites for backends, models to compare with.
//!
//! | module | holds |
//! |---|---|
//! | [`conformance`] | what every tier and every lane must do |
//! | [`faulty`], [`late`], [`throttled`] | lanes that fail, fences that end late, lanes of a given speed |
//! | [`tagged`] | memory of tags and lanes that move when told to: a wrong byte is a wrong tag |

pub mod conformance;
pub mod faulty;
pub mod late;
mod relay;
pub mod tagged;
pub mod throttled;
