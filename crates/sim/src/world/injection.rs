//! What goes wrong in the world: how each fault begins, and how it ends.
//!
//! It carries out what was drawn before the run; it draws only what a fault leaves open.

use aoe::MacAddress;
use block::{Duration, SECTOR_BYTES};
use replication::durability::Durability;
use replication::input::Control;
use replication::membership::{Epoch, Members, Membership, NodeNumber};
use replication::volume::VolumeStatus;

use super::{Event, NODES, World};
use crate::build::{address, node_address};
use crate::damage;
use crate::disk::Loss;
use crate::examine;
use crate::fault::{Fault, Injection};
use crate::finding::{Finding, Property};
use crate::host::SEGMENTS_MAX;
use crate::mark::Mark;
use crate::network::Station;
use crate::operator;
use crate::process::Happening;

impl World {
    pub(super) fn begin(&mut self, index: usize) {
        let injection = self.injections[index];
        if self.healed {
            return;
        }
        self.trace.note(&[4, u64::from(injection.number)]);
        self.trace.say(self.now, format_args!("{injection}"));
        self.queue.schedule(injection.end(), Event::End(index));
        let node = injection.node;
        match injection.fault {
            Fault::Kill => self.crash(node, Loss::ProcessOnly, &injection),
            Fault::PowerLoss => self.crash(node, Loss::Tear, &injection),
            Fault::PowerLossBoth => {
                for node in 0..NODES {
                    self.crash(node, Loss::KeepOrDrop, &injection);
                }
            }
            Fault::Pause => self.pause(node, &injection),
            Fault::HostCrash => self.crash_host(&injection),
            Fault::MetadataDamage => self.damage(node, &injection),
            Fault::DiskReplaced => self.replace_disks(node, &injection),
            Fault::MtuChange => self.set_mtu(node, self.rules.mtu / 2),
            Fault::SetState | Fault::Flush => self.operate(&injection),
            Fault::Grow => self.grow(&injection),
            Fault::Force => {
                self.counts.add(Fault::Force);
                let registers = self.arbiter.registers().iter();
                let held = registers.map(|register| register.epoch).max().unwrap_or(Epoch(0));
                self.control(node, Control::Force { held });
            }
            Fault::Leave | Fault::Restart => {
                self.counts.add(injection.fault);
                self.control(node, Control::Leave);
            }
            Fault::Verify => {
                self.counts.add(Fault::Verify);
                if injection.fixes {
                    self.watch.mark(Mark::VerifyToFix);
                }
                self.control(node, Control::Verify { fix: injection.fixes });
            }
            fault if is_of_disk(fault) => self.begin_at_disk(&injection),
            fault => {
                self.counts.add(fault);
                self.begin_between(injection);
            }
        }
    }

    /// Something goes wrong between the machines.
    fn begin_between(&mut self, injection: Injection) {
        let fault = injection.fault;
        if is_of_network(fault) {
            self.network.begin(injection);
        }
        if fault == Fault::LinkDown {
            self.notice_links(injection.node);
        }
        if is_of_peer(fault) {
            self.peer.begin(self.now, injection, &mut self.deliveries);
            self.deliver();
            if fault == Fault::PeerFlap {
                self.queue.schedule(self.now, Event::Flap);
            }
        }
        if is_of_arbiter(fault) {
            self.arbiter.begin(injection);
        }
    }

    pub(super) fn end(&mut self, index: usize) {
        let injection = self.injections[index];
        if self.healed {
            return;
        }
        self.network.end(injection.number);
        self.peer.end(self.now, injection.number, &mut self.deliveries);
        self.deliver();
        self.arbiter.end(injection.number);
        match injection.fault {
            Fault::Leave => self.control(injection.node, Control::Join),
            Fault::Restart if self.machines[injection.node].is_up() => {
                self.stop_for(injection.node, Loss::ProcessOnly, Duration::ZERO);
            }
            Fault::MtuChange => self.set_mtu(injection.node, self.rules.mtu),
            Fault::LinkDown => self.notice_links(injection.node),
            fault if is_of_disk(fault) => {
                for disks in &mut self.machines[injection.node].disks {
                    disks.data.condition = Default::default();
                    disks.metadata.condition = Default::default();
                }
            }
            _ => {}
        }
    }

    pub(super) fn control(&mut self, node: usize, control: Control) {
        let boot = self.machines[node].boot();
        self.tell(node, boot, Happening::Control(control));
    }

    fn crash(&mut self, node: usize, loss: Loss, injection: &Injection) {
        if self.machines[node].is_up() {
            self.counts.add(injection.fault);
            self.stop_for(node, loss, injection.lasts);
        }
    }

    pub(super) fn stop_for(&mut self, node: usize, loss: Loss, lasts: Duration) {
        self.stop(node, loss);
        self.queue.schedule(self.now.after(lasts), Event::Start { node });
    }

    pub(super) fn stop(&mut self, node: usize, mut loss: Loss) {
        let other = 1 - node;
        let has_all = self.has_all(other);
        if loss == Loss::Tear && !(has_all && self.mends(other)) {
            loss = Loss::KeepOrDrop;
        }
        // It may lack what was answered until it has met the other one.
        let volumes = self.histories.len();
        self.replaced[node] |= self.rules.durability[..volumes].contains(&Durability::Memory);
        for disks in &mut self.machines[other].disks {
            disks.data.forgive_torn();
        }
        // Looking costs time: at every fourth.
        if self.random.below(4) == 0 {
            self.examine(false);
        }
        self.examine_lag(node);
        self.watch.counted(&self.machines[node]);
        let connection = self.machines[node].stop(loss);
        self.memory_is_gone(node);
        self.broken[node] = false;
        match (loss, connection) {
            (Loss::ProcessOnly, Some(connection)) => {
                self.peer.close(self.now, node, connection, &mut self.deliveries);
                self.deliver();
            }
            _ => self.peer.forget(node),
        }
    }

    /// Whether a node is a member with all of every volume, by the arbiter and as far as it knows itself.
    fn has_all(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let mut registers = self.arbiter.registers().iter().enumerate();
        registers.all(|(volume, register)| {
            let knows = machine.status(volume).is_some_and(|status| status.membership == *register);
            register.members == Members::Both && knows && examine::has_good_copy(machine, volume)
        })
    }

    /// Whether what is torn at the other node would be put right by this one: its own copy counts, and nothing of it is torn.
    fn mends(&mut self, node: usize) -> bool {
        let is_server = |number: NodeNumber| usize::from(number.number()) == node;
        let counts = self.rules.durability.iter().all(|durability| match *durability {
            // Among equals the server's copy counts, whichever lost power.
            Durability::Async { server, .. } => is_server(server),
            Durability::Stable | Durability::Memory => true,
        });
        let is_flawless = self.machines[node].disks.iter().all(|disks| disks.data.is_flawless());
        counts && is_flawless && self.is_complete(node)
    }

    /// Whether all of the volumes was on the disks of a node since they were replaced, if they were.
    fn is_complete(&mut self, node: usize) -> bool {
        self.replaced[node] = self.replaced[node] && !self.is_whole();
        !self.replaced[node]
    }

    /// A node that is down is worn by its disk.
    fn damage(&mut self, node: usize, injection: &Injection) {
        if !self.machines[node].is_up() {
            return;
        }
        self.stop_for(node, Loss::ProcessOnly, injection.lasts);
        for disks in &mut self.machines[node].disks {
            match damage::damage(&mut disks.metadata, &mut self.random) {
                Ok(true) => self.counts.add(Fault::MetadataDamage),
                Ok(false) => {}
                Err(error) => self.watch.violated(Finding::new(Property::Metadata, error)),
            }
        }
    }

    /// A node's disks are replaced, if the other one has everything and can go on alone, since `volume replace` refuses before it
    /// does: it is a member and has that on its disk, the third party says the same, and nothing is on its way there that would change
    /// that.
    fn replace_disks(&mut self, node: usize, injection: &Injection) {
        let other = &self.machines[1 - node];
        let is_good = (0..other.disks.len()).all(|volume| {
            let disks = &other.disks[volume];
            examine::has_good_copy(other, volume) && disks.data.is_flawless() && disks.metadata.is_flawless()
        });
        let other_number = [NodeNumber::One, NodeNumber::Zero][node];
        // The operator takes over what the other node says.
        let statuses: Vec<VolumeStatus> =
            (0..other.disks.len()).filter_map(|volume| other.status(volume)).collect();
        let memberships: Vec<Membership> = statuses.iter().map(|status| status.membership).collect();
        let counts = memberships.iter().all(|held| held.members.includes(other_number));
        let mut numbered = statuses.iter().enumerate();
        let is_noted = numbered.all(|(volume, status)| examine::has_noted(other, volume, status));
        let is_settled =
            is_noted && self.arbiter.registers() == memberships && !self.arbiter.is_asked_by(node);
        let is_alive = !other.is_paused() && !self.broken[1 - node] && !self.replaced[1 - node];
        let is_kept = is_good && counts && is_settled && is_alive;
        if !is_kept || !self.machines[node].is_up() {
            return;
        }
        self.counts.add(Fault::DiskReplaced);
        self.stop_for(node, Loss::ProcessOnly, injection.lasts);
        self.machines[node].replace_disks(&mut self.random, &statuses);
        self.replaced[node] = true;
    }

    /// An operator has a volume made larger: by a little or by much, once in a while by more than fits.
    fn grow(&mut self, injection: &Injection) {
        self.counts.add(Fault::Grow);
        let volume = usize::try_from(injection.place % self.histories.len() as u64).expect("few volumes");
        let Some(status) = self.machines[injection.node].status(volume) else { return };
        let by = 1 + (injection.place >> 8) % (self.rules.room[volume] >> (injection.place >> 4 & 3)).max(1);
        let control = Control::Resize { sectors: (status.sectors + by).next_multiple_of(8) };
        let boot = self.machines[injection.node].boot();
        self.tell(injection.node, boot, Happening::ControlOf(volume, control));
    }

    pub(super) fn set_mtu(&mut self, node: usize, mtu: u32) {
        let station = Station(u8::try_from(node).expect("two nodes"));
        self.network.set_mtu(station, mtu);
        self.machines[node].set_mtu(self.now, mtu, &mut self.counts, &mut self.effects);
        self.carry_out(node);
    }

    /// A node will see which of its ports have a link: at once, or some time after switches have.
    fn notice_links(&mut self, node: usize) {
        let later = self.random.tailed(Duration::from_millis(20));
        self.queue.schedule(self.now.after(later), Event::Links { node });
    }

    /// A node sees which of its ports have a link.
    pub(super) fn look_at_links(&mut self, node: usize) {
        let down = self.network.links_down(Station(u8::try_from(node).expect("two nodes")));
        for port in self.machines[node].set_links_down(down) {
            let boot = self.machines[node].boot();
            self.tell(node, boot, Happening::Link { port, down: down[usize::from(port)] });
        }
    }

    /// Operators ask by frames: all nodes together, or each for itself.
    fn operate(&mut self, injection: &Injection) {
        self.counts.add(injection.fault);
        let volume = u8::try_from(injection.place % self.histories.len() as u64).expect("few volumes");
        let hosts: Vec<MacAddress> = self
            .hosts
            .iter()
            .flat_map(|place| (0..SEGMENTS_MAX).map(|port| place.host.mac(u8::try_from(port).unwrap_or(0))))
            .collect();
        let station = Station(u8::try_from(NODES + self.hosts.len()).expect("few hosts"));
        let each = [node_address(0, 0), node_address(1, 0)];
        let destinations: &[MacAddress] =
            if injection.place & 1 == 0 { &[MacAddress::BROADCAST] } else { &each };
        for &destination in destinations {
            let bytes = match injection.fault {
                Fault::Flush => operator::flush(&mut self.random, address(volume), destination),
                _ => operator::set(&mut self.random, address(volume), destination, &hosts),
            };
            self.carry(station, 0, bytes);
        }
    }

    fn pause(&mut self, node: usize, injection: &Injection) {
        if !self.machines[node].is_up() || self.machines[node].is_paused() {
            return;
        }
        self.counts.add(Fault::Pause);
        self.slowed_by(injection);
        self.machines[node].pause(injection.end());
        self.queue.schedule(injection.end(), Event::Resume { node });
    }

    fn crash_host(&mut self, injection: &Injection) {
        let host = usize::try_from(injection.place % self.hosts.len() as u64).expect("few hosts");
        self.counts.add(Fault::HostCrash);
        let place = &mut self.hosts[host];
        place.host.crash(self.now, &mut self.histories[place.volume]);
        self.after_host(host);
    }

    fn begin_at_disk(&mut self, injection: &Injection) {
        let node = injection.node;
        if matches!(injection.fault, Fault::DiskSlow | Fault::DiskHang) {
            self.slowed_by(injection);
        }
        let volumes = self.machines[node].disks.len() as u64;
        let volume = usize::try_from(injection.place % volumes).expect("few volumes");
        let disks = &mut self.machines[node].disks[volume];
        let certain = crate::random::MILLION;
        match injection.fault {
            Fault::DiskSlow => disks.data.condition.slowness = 10 + injection.strength / 600,
            Fault::DiskHang => {
                disks.data.condition.hangs_until = injection.end();
                disks.metadata.condition.hangs_until = injection.end();
            }
            Fault::WriteError => disks.data.condition.write_errors = certain,
            Fault::FlushError => disks.data.condition.flush_errors = certain,
            Fault::MetadataFull => disks.metadata.condition.full = true,
            Fault::ReadError => return self.spoil(injection, volume),
            other => unreachable!("{other} is no fault of a disk"),
        }
        self.broken[node] |= !matches!(injection.fault, Fault::DiskSlow | Fault::DiskHang);
    }

    /// Sectors that are in use can no more be read here, if they can at the other node.
    fn spoil(&mut self, injection: &Injection, volume: usize) {
        if !self.is_complete(1 - injection.node) {
            return;
        }
        let operations = self.histories[volume].operations();
        let Some(last) = operations.len().checked_sub(1) else { return };
        let near = usize::try_from(injection.place % 50).expect("small");
        let range = operations[last.saturating_sub(near)].range;
        let [zero, one] = &mut self.machines;
        let (here, there) = if injection.node == 0 { (zero, one) } else { (one, zero) };
        for sector in range.start().0..range.end().0 {
            let is_good = there.disks[volume].data.is_readable(sector * SECTOR_BYTES as u64, SECTOR_BYTES);
            if is_good && there.is_up() {
                here.disks[volume].data.spoil(sector);
            }
        }
    }
}

const fn is_of_network(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::FrameLoss
            | Fault::FrameDuplicate
            | Fault::FrameDelay
            | Fault::FrameHeld
            | Fault::FrameCorrupt
            | Fault::FrameTruncate
            | Fault::OneWay
            | Fault::PortCut
            | Fault::LinkDown
            | Fault::SwitchForgets
            | Fault::NodeIsolated
    )
}

const fn is_of_disk(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::DiskSlow
            | Fault::DiskHang
            | Fault::ReadError
            | Fault::WriteError
            | Fault::FlushError
            | Fault::MetadataFull
    )
}

const fn is_of_peer(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::PeerCut
            | Fault::PeerOneWay
            | Fault::PeerReset
            | Fault::PeerFlap
            | Fault::PeerSlow
            | Fault::PeerCorrupt
            | Fault::NodeIsolated
    )
}

const fn is_of_arbiter(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::ArbiterDown
            | Fault::ArbiterSlow
            | Fault::ArbiterDeaf
            | Fault::ArbiterCut
            | Fault::NodeIsolated
    )
}
