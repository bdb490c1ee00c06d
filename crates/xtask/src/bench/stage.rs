//! What all measurements share: the built command, two namespaces and the wire between them, the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::network::{MTU_JUMBO, wire};
use lab::{Error, Namespace, Process, Program, Scratch, disk};

use super::Arguments;
use crate::demo::build;

/// The interfaces at both ends of the wire.
pub(super) const CLIENT_INTERFACE: &str = "eth0";
pub(super) const TARGET_INTERFACE: &str = "eth1";
/// For NBD, which needs IP.
pub(super) const TARGET_IP: &str = "192.0.2.2";
const CLIENT_IP: &str = "192.0.2.1";

const CLIENT_CORE: usize = 0;
const TARGET_CORE: usize = 1;
pub(super) const IMAGE_BYTES: u64 = 1 << 30;
/// More than a measurement may take that hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Where everything happens.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) command: PathBuf,
    pub(super) ggaoed: Option<PathBuf>,
    pub(super) image: PathBuf,
    pub(super) scratch: Scratch,
    pub(super) seconds: f64,
    realtime: bool,
    client: Namespace,
    target: Namespace,
}

impl Stage {
    pub(super) fn new(arguments: &Arguments) -> Result<Self, Error> {
        let command = build()?;
        let scratch = Scratch::new("bench")?;
        let image = scratch.join("disk.img");
        disk::filled_image(&image, IMAGE_BYTES)?;
        let (client, target) = (Namespace::new()?, Namespace::new()?);
        wire((&client, CLIENT_INTERFACE), (&target, TARGET_INTERFACE), MTU_JUMBO)?;
        for (namespace, ip, interface) in
            [(&client, CLIENT_IP, CLIENT_INTERFACE), (&target, TARGET_IP, TARGET_INTERFACE)]
        {
            let address = format!("{ip}/24");
            namespace.program("ip").args(["address", "add", &address, "dev", interface]).run()?;
        }
        let Arguments { ggaoed, seconds, realtime, .. } = arguments;
        Ok(Self {
            command,
            ggaoed: ggaoed.clone(),
            image,
            scratch,
            seconds: *seconds,
            realtime: *realtime,
            client,
            target,
        })
    }

    /// A program at the client's end, on its core.
    pub(super) fn client(&self, program: impl AsRef<Path>) -> Program {
        self.program(program.as_ref()).in_namespace(&self.client).on_core(CLIENT_CORE).within(LIMIT)
    }

    /// A program at the target's end, on its core.
    pub(super) fn target(&self, program: impl AsRef<Path>) -> Program {
        self.program(program.as_ref()).in_namespace(&self.target).on_core(TARGET_CORE).within(LIMIT)
    }

    /// Starts a target; what it prints goes to a file of that name.
    pub(super) fn start(&self, program: Program, name: &str) -> Result<Process, Error> {
        program.start(self.scratch.join(format!("{name}.log")))
    }

    fn program(&self, program: &Path) -> Program {
        if self.realtime {
            return Program::new("chrt").args(["--fifo", "10"]).arg(program);
        }
        Program::new(program)
    }

    /// Puts the file into the page cache, or takes it out.
    pub(super) fn cache(&self, wanted: bool) -> Result<(), Error> {
        let image = self.image.display();
        let input = format!("if={image}");
        let nocache = ["count=0", "iflag=nocache", "of=/dev/null", "status=none"];
        let cache = ["bs=1M", "of=/dev/null", "status=none"];
        let dd = Program::new("dd").arg(input);
        if wanted { dd.args(cache) } else { dd.args(nocache) }.run().map(|_| ())
    }
}
