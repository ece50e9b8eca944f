//! What the bookkeeping costs, in nanoseconds a block: ours, and with `--features peer` kvbm-logical's beside it.
//!
//! `cargo run --release -p benches --bin bookkeeping -- --json FILE`. No byte moves: the device is metadata, hashes are made
//! outside the timing. Each figure is the median of rounds.

mod ours;

fn main() {
    for batch in [1_u32, 64] {
        println!("cycle batch {batch}: {:.1} ns", ours::cycle(1 << 14, batch, false));
        println!("cycle_evict batch {batch}: {:.1} ns", ours::cycle(1 << 14, batch, true));
    }
    println!("cycle_evict_1m: {:.1} ns", ours::cycle(1 << 20, 64, true));
    println!("match_held: {:.1} ns", ours::matched(true));
    println!("match_unheld: {:.1} ns", ours::matched(false));
    println!("serve: {:.1} ns", ours::serve());
    println!("hash: {:.1} ns", ours::hash());
}
