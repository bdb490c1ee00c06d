//! A mirrored pair beside what its parts are made of: two `etherpair serve` and a witness in namespaces, TCP between them.
//!
//! Both nodes, the witness, the initiator and everything compared with share this machine's cores and its one disk, which a real
//! pair does not: so what counts are the ratios within a round. Nothing is bound to a core, and the initiator sleeps while it waits: of
//! two cores one that it spins on would be half of the machine.

mod beside;
mod fail_over;
mod load;
mod ping_pong;
mod probe;
mod resync;
mod stage;
mod volumes;

use lab::Error;

use self::stage::PairStage;
use super::stage::Stage;
use super::{Arguments, Report};

/// For `--only`, all of them: `pair:`.
const FAIL_OVER: &str = "pair: kill -9 of a node";
const LEAVE: &str = "pair: planned leave and join";
const RESYNC: &str = "pair: resync";
const VOLUMES: &str = "pair: 1 to 1000 volumes";

/// Adds the tables of all lines whose names are wanted.
pub(super) fn measure(
    stage: &Stage,
    arguments: &Arguments,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Result<(), Error> {
    let lines: Vec<_> = beside::LINES.iter().filter(|line| wanted(line.name)).collect();
    let with_one_volume = !lines.is_empty() || [FAIL_OVER, LEAVE, RESYNC].into_iter().any(wanted);
    if with_one_volume {
        let mut pair = PairStage::new(stage)?;
        for line in lines {
            report.add(&beside::measure(line, &pair, arguments.rounds)?);
        }
        if wanted(RESYNC) {
            report.add(&resync::measure(RESYNC, &pair, arguments)?);
        }
        if wanted(FAIL_OVER) {
            report.add(&fail_over::kills(FAIL_OVER, &mut pair, arguments.rounds)?);
        }
        if wanted(LEAVE) {
            report.add(&fail_over::leaves(LEAVE, &pair, arguments.rounds)?);
        }
    }
    if wanted(VOLUMES) {
        report.add(&volumes::measure(VOLUMES, stage, arguments)?);
    }
    Ok(())
}

fn system(action: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { action: action.into(), source }
}
