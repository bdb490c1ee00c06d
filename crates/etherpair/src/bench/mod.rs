//! The load generator: one thread that never sleeps, from the answer of one request to the next request.
//!
//! Read in this order: `plan` (what is asked for), `generator` (which request comes next), `load` (the loop), `stamp` and
//! `verifier` (what is in the data), `meter` and `report` (what is found).

mod error;
mod generator;
mod load;
mod meter;
mod plan;
mod progress;
mod report;
mod stamp;
mod verifier;

pub(crate) use error::BenchError;
pub(crate) use plan::Plan;

use load::Load;

use crate::interrupt::Interrupt;

/// Runs a plan and prints its report.
pub(crate) fn run(plan: &Plan) -> Result<(), BenchError> {
    if let Some(core) = plan.core {
        os::cpu::pin_to_core(core)?;
    }
    let interrupt = Interrupt::listen().map_err(BenchError::Signals)?;
    let mut load = Load::open(plan, interrupt)?;
    let report = load.run()?;
    let printed = report.print(plan.json);
    // Wrong data is worse than a report that nobody gets.
    report.verdict()?;
    printed
}
