//! Two emulated machines with three disks each: a pair of ours and a DRBD resource, both up all the time, on disks of their own.
//!
//! ```text
//!   client eth0 ── storage0 ──── eth0 guest 0 eth1 ──┬── peers ── eth0 witness
//!          eth1 ── storage1 ──── eth0 guest 1 eth1 ──┘
//! ```
//!
//! Each disk comes with a second one for metadata. Whoever is not measured has nothing to do but to tell its peer that it lives.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use lab::guest::{Guest, GuestOptions, Job};
use lab::network::{MTU_JUMBO, wire};
use lab::{Error, Namespace, Process, Scratch, disk, wait_until};
use serde_json::Value;

/// Longer than anything takes in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(300);
const MIB: u64 = 1 << 20;
/// Both are measured on so much: it fits into the activity log of either.
const DATA_BYTES: u64 = 32 * MIB;
const METADATA_BYTES: u64 = 16 * MIB;
/// A network of each machine, so that a load can go through one of them alone.
const STORAGE: [&str; 2] = ["storage0", "storage1"];
const PAIR: &str = "5eed0000000000000000000000000002";

/// What the disks of a guest are for, in the order vda, vdb and so on.
const DISKS: [(&str, u64); 6] = [
    ("stable", DATA_BYTES),
    ("stable.meta", METADATA_BYTES),
    ("memory", DATA_BYTES),
    ("memory.meta", METADATA_BYTES),
    ("drbd", DATA_BYTES),
    ("drbd.meta", METADATA_BYTES),
];

/// DRBD as its own manual has it; only the replies to what the machines have in common are written here.
const DRBD: &str = "mkdir -p /var/lib/drbd /var/lock /run/lock
cat > /etc/drbd.conf << END
global { usage-count no; }
resource r0 {
    net { protocol C; }
    device /dev/drbd0;
    disk /dev/vde;
    meta-disk /dev/vdf;
    on guest0 { address 10.8.0.1:7789; }
    on guest1 { address 10.8.0.2:7789; }
}
END
drbdadm create-md --force r0
drbdadm up r0
";

pub(super) struct Machines {
    pub(super) guests: [Guest; 2],
    command: PathBuf,
    client: Namespace,
    /// Ended with this.
    _daemons: (Process, [Job; 2]),
    _scratch: Scratch,
}

impl Machines {
    /// Switches them on, and has both mirrors whole.
    pub(super) fn start(command: &Path) -> Result<Self, Error> {
        let scratch = Scratch::new("bench-guests")?;
        let (switch, client, witness) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        for (host, card, bridge) in
            [(&client, "eth0", STORAGE[0]), (&client, "eth1", STORAGE[1]), (&witness, "eth0", "peers")]
        {
            switch.add_bridge(bridge, MTU_JUMBO)?;
            wire((host, card), (&switch, &format!("{bridge}-host")), MTU_JUMBO)?;
            switch.plug(&format!("{bridge}-host"), bridge)?;
        }
        witness.program("ip").args(["address", "add", "10.8.0.3/24", "dev", "eth0"]).run()?;
        let configuration = scratch.join("witness.toml");
        let directory = scratch.join("registers");
        let text = format!(
            "listen = [\"10.8.0.3:8803\"]\ndirectory = \"{}\"\ninsecure = true\n",
            directory.display()
        );
        write(&configuration, &text)?;
        let program = witness.program(command).args(["witness", "-c"]).arg(&configuration);
        let mut arbiter = program.start(scratch.join("witness.log"))?;
        arbiter.wait_for_line("listens on", PATIENCE)?;
        let guests = [guest(&scratch, &switch, 0)?, guest(&scratch, &switch, 1)?];
        let command = command.to_path_buf();
        let mut machines = Starting { guests, command };
        machines.furnish()?;
        machines.start_drbd()?;
        let daemons = machines.start_pair()?;
        let Starting { guests, command } = machines;
        Ok(Self { guests, command, client, _daemons: (arbiter, daemons), _scratch: scratch })
    }

    /// What a command of the client says.
    pub(super) fn client_runs(&self, arguments: &[&str]) -> Result<String, Error> {
        Ok(self.client.program(&self.command).args(arguments).within(PATIENCE).run()?.stdout)
    }

    /// Starts vblade on DRBD's device in the first guest, and waits until it answers.
    pub(super) fn start_vblade(&mut self, options: &str) -> Result<(), Error> {
        let script = format!("/usr/sbin/vblade -b 256 {options} 7 3 eth0 /dev/drbd0 & echo $! > /tmp/vblade");
        self.guests[0].run(&script, PATIENCE)?;
        wait_until("an answer of vblade", PATIENCE, || {
            let question = ["discover", "7.3", "-i", "eth0", "--timeout", "50"];
            let answer = self.client.program(&self.command).args(question).output()?;
            Ok(answer.status.success().then_some(()))
        })
    }

    /// What has gone wrong, and what our nodes have said until then: it goes with the machines.
    pub(super) fn tell_with_logs(&self, error: &Error) -> Error {
        let log = |guest: &Guest| fs::read_to_string(guest.shared().join("log")).unwrap_or_default();
        let [first, second] = self.guests.each_ref().map(log);
        let detail = format!("{error}\nthe first machine's node has said:\n{first}\nthe second's:\n{second}");
        Error::Unexpected { program: "a load in or before guests".into(), detail }
    }

    pub(super) fn stop_vblade(&mut self) -> Result<(), Error> {
        let script =
            "kill $(cat /tmp/vblade); while [ -e /proc/$(cat /tmp/vblade)/fd/0 ]; do sleep 0.1; done";
        self.guests[0].run(script, PATIENCE).map(drop)
    }
}

/// Two machines that are being furnished.
struct Starting {
    guests: [Guest; 2],
    command: PathBuf,
}

impl Starting {
    /// The same script in both at once, told which it is.
    fn on_both(&mut self, script: impl Fn(usize) -> String) -> Result<[String; 2], Error> {
        let jobs = [self.guests[0].start_job(&script(0))?, self.guests[1].start_job(&script(1))?];
        Ok([
            self.guests[0].wait_for_job(&jobs[0], PATIENCE)?,
            self.guests[1].wait_for_job(&jobs[1], PATIENCE)?,
        ])
    }

    fn furnish(&mut self) -> Result<(), Error> {
        for (number, guest) in self.guests.iter().enumerate() {
            let copy = guest.shared().join("etherpair");
            fs::copy(&self.command, &copy).map_err(system(format!("copy to {}", copy.display())))?;
            write(&guest.shared().join("node.toml"), &configuration(number))?;
        }
        self.on_both(|number| {
            let address = number + 1;
            format!(
                "set -e\nhostname guest{number}\nip address add 10.8.0.{address}/24 dev eth1\n\
                 mkdir -p /tmp/volumes\ncp /shared/etherpair /tmp/etherpair\n"
            )
        })?;
        Ok(())
    }

    fn start_drbd(&mut self) -> Result<(), Error> {
        self.on_both(|_| format!("set -e\n{DRBD}"))?;
        // Nothing is copied at first: what is on the disks is nobody's.
        let script = "set -e
            until drbdadm cstate r0 | grep -q Connected; do sleep 0.1; done
            drbdadm new-current-uuid --clear-bitmap r0/0
            until drbdadm dstate r0 | grep -q UpToDate/UpToDate; do sleep 0.1; done
            drbdadm primary r0";
        self.guests[0].run(script, PATIENCE).map(drop)
    }

    fn start_pair(&mut self) -> Result<[Job; 2], Error> {
        self.start_daemons()?;
        for (address, data, metadata) in [("7.1", "vda", "vdb"), ("7.2", "vdc", "vdd")] {
            let script = format!(
                "/tmp/etherpair volume create {address} --data /dev/{data} --metadata /dev/{metadata} \
                 --peer-data /dev/{data} --peer-metadata /dev/{metadata} --overwrite-metadata --overwrite-peer --socket /tmp/socket"
            );
            self.guests[0].run(&script, PATIENCE)?;
        }
        self.wait_until_whole()?;
        self.on_both(|_| {
            "set -e\nfor pid in $(pidof etherpair); do kill $pid; done\n\
             while pidof etherpair; do sleep 0.1; done\n\
             echo 'durability = \"memory\"' >> /tmp/volumes/e7.2.volume.toml\n"
                .into()
        })?;
        let daemons = self.start_daemons()?;
        self.wait_until_whole()?;
        Ok(daemons)
    }

    fn start_daemons(&mut self) -> Result<[Job; 2], Error> {
        let script = "exec /tmp/etherpair serve -c /shared/node.toml > /shared/log 2>&1";
        let jobs = [self.guests[0].start_job(script)?, self.guests[1].start_job(script)?];
        let wait = "until /tmp/etherpair status --socket /tmp/socket > /dev/null 2>&1; do sleep 0.1; done";
        self.on_both(|_| wait.into())?;
        Ok(jobs)
    }

    fn wait_until_whole(&mut self) -> Result<(), Error> {
        for guest in &mut self.guests {
            wait_until("the pair in the guests to be whole", PATIENCE, || {
                let said = guest.run("/tmp/etherpair status --json --socket /tmp/socket", PATIENCE)?;
                let status: Value = serde_json::from_str(&said).unwrap_or_default();
                let volumes = status["volumes"].as_array();
                let whole = volumes
                    .is_some_and(|volumes| volumes.len() == 2 && volumes.iter().all(lab::pair::is_whole));
                Ok(whole.then_some(()))
            })?;
        }
        // So long a node that has started does not rely on memory: until nothing asked of the arbiter before can be carried out.
        thread::sleep(Duration::from_secs(13));
        Ok(())
    }
}

fn guest(scratch: &Scratch, switch: &Namespace, number: usize) -> Result<Guest, Error> {
    let name = format!("guest{number}");
    let mut options = GuestOptions::new(&name).memory_mebibytes(768).module("drbd");
    for (disk, size) in DISKS {
        let image = scratch.join(format!("{name}.{disk}"));
        disk::filled_image(&image, size)?;
        options = options.disk(&image);
    }
    options.plug(switch, STORAGE[number])?.plug(switch, "peers")?.start(scratch)
}

fn configuration(node: usize) -> String {
    let (own, peer) = (node + 1, 2 - node);
    format!(
        "pair = \"{PAIR}\"\nnode = {node}\nvolumes_directory = \"/tmp/volumes\"\n\
         [storage]\ninterfaces = [\"eth0\"]\n\
         [peer]\nlisten = [\"10.8.0.{own}:8802\"]\naddresses = [\"10.8.0.{peer}:8802\"]\ninsecure = true\n\
         [arbiter.witness]\naddresses = [\"10.8.0.3:8803\"]\ninsecure = true\n\
         [admin]\nsocket = \"/tmp/socket\"\n"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(system(format!("write {}", path.display())))
}

fn system(action: String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { action, source }
}
