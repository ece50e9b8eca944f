//! The same requests without a cache: each computes its whole prompt, in order of arrival.
//! Known by: `replay::simulated`.

use super::{Arrivals, Scenario};
use crate::replay::outcome::Outcome;
use crate::replay::queue::stretched;
use hdrhistogram::Histogram;
use kv_pager::clock::Time;
use kv_pager::cost::TokenSpan;

/// Nanoseconds to the first token of every request.
pub(super) fn first_token(scenario: &Scenario<'_>) -> Histogram<u64> {
    let prefill = scenario.profile.prefill.cost();
    let steps = prefill.in_steps(scenario.profile.prefill.step_tokens_max);
    let mut outcome = Outcome::default();
    let mut ends: Vec<Time> = Vec::with_capacity(scenario.stream.requests().len());
    for (index, request) in scenario.stream.requests().iter().enumerate() {
        let arrival = match scenario.arrivals {
            Arrivals::Closed(places) => index.checked_sub(places).map_or(Time::START, |left| ends[left]),
            Arrivals::Scaled(scale) => Time::START.after(stretched(request.arrival, scale)),
        };
        let free = ends.last().copied().unwrap_or(Time::START);
        let end = free.max(arrival).after(steps.span(TokenSpan::between(0, request.prompt_tokens)));
        outcome.add_first_token(end.since(arrival));
        ends.push(end);
    }
    outcome.first_token
}
