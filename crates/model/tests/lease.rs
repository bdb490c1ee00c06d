//! Leases by the clock: the holder stops before the granter goes on.

use model::catalogue::LEASE;
use model::lease::two_clocks;
use model::rules::Rule;

#[test]
fn a_holder_stops_before_its_granter_goes_on() {
    LEASE.assert_holds(two_clocks);
}

#[test]
fn the_granter_may_count_from_when_it_received_the_renewal() {
    LEASE.assert_spares(Rule::GranterCountsFromAnswering);
}

#[test]
fn a_holder_that_counts_from_the_answer_serves_too_long() {
    LEASE.assert_needs(Rule::HolderCountsFromSending);
}

#[test]
fn without_a_margin_clocks_of_different_rate_let_both_serve() {
    LEASE.assert_needs(Rule::LeaseMargin);
}

#[test]
fn a_clock_that_sleeps_with_its_machine_lets_the_holder_serve_after_waking() {
    LEASE.assert_needs(Rule::ClockCountsSuspend);
}
