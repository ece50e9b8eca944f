//! What the bookkeeping costs, in nanoseconds a block: ours, and with `--features peer` kvbm-logical's beside it.
//!
//! `cargo run --release -p benches --bin bookkeeping -- --json FILE`. No byte moves: the device is metadata, hashes are made
//! outside the timing. Each figure is the median of rounds.

mod ours;

fn main() {
    let only = std::env::args().nth(1);
    let run = |name: &str, f: &dyn Fn() -> f64| {
        if only.as_deref().is_none_or(|only| only == name) {
            println!("{name}: {:.1} ns", f());
        }
    };
    run("cycle_1", &|| ours::cycle(1 << 14, 1, false));
    run("cycle_64", &|| ours::cycle(1 << 14, 64, false));
    run("cycle_evict_1", &|| ours::cycle(1 << 14, 1, true));
    run("cycle_evict_64", &|| ours::cycle(1 << 14, 64, true));
    run("cycle_evict_1m", &|| ours::cycle(1 << 20, 64, true));
    run("match_held", &|| ours::matched(true));
    run("match_unheld", &|| ours::matched(false));
    run("serve", &ours::serve);
    run("hash", &ours::hash);
}
