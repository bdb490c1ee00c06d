//! Our initiator and our target with sequenced writes between them, in virtual time.

use aoe::ata::AtaCommand;
use aoe::initiator::{self, Ask, Initiator, Options};
use aoe::target::{self, ExportConfig, Identity, PortId, PortLink, SmallState, Target, TargetLimits};
use aoe::wire::{ata, sequenced};
use aoe::{Address, Frame, MacAddress, Shelf, Slot};
use block::{BufferName, BufferSlice, Completion, Duration, Instant, Lba, LbaRange};
use block::{LogicalSectorSize, RequestId, SectorCount};

const PORT: PortId = PortId(0);
const HOST: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const NODE: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);
const DATA: [u8; 20 * 512] = [0x5a; 20 * 512];

struct World {
    now: Instant,
    initiator: Initiator,
    target: Target,
    /// Disk writes.
    executed: u32,
    /// Frames of sequenced and of other writes that the initiator has sent.
    sent: [u32; 2],
    completed: Vec<Result<(), initiator::RequestError>>,
    /// Answers to writes are lost.
    loses: bool,
    /// The target is one that does not know the command.
    stock: bool,
}

impl World {
    fn new(sequenced: Option<u64>) -> Self {
        let address = Address::new(Shelf(7), Slot(1)).expect("an address");
        let now = Instant::default().after(Duration::from_secs(1000));
        let link = |mac| PortLink { mac, mtu: 9000 };
        let options = Options { sequenced, ..Options::new(address, 5) };
        let mut target = Target::new(TargetLimits::new(1));
        let up = target::Input::PortChanged { port: PORT, link: Some(link(NODE)) };
        target.handle_input(now, up).expect("no frame");
        let config = ExportConfig {
            address,
            sectors: 4096,
            logical_sector_size: LogicalSectorSize::B512,
            identity: Identity::new("s", "m", "f"),
            read_only: false,
            write_cache: false,
            buffer_count: 16,
            state: SmallState::default(),
            mirror: None,
        };
        target.add_export(now, config).expect("a good config");
        let initiator = Initiator::new(now, options, &[(PORT, link(HOST))]);
        Self {
            now,
            initiator,
            target,
            executed: 0,
            sent: [0; 2],
            completed: Vec::new(),
            loses: false,
            stock: false,
        }
    }

    /// Lets time pass until the initiator has nothing due for a while.
    fn run(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        loop {
            while let Some(output) = self.initiator.poll_output() {
                self.take(output);
            }
            let due = self.initiator.poll_timeout();
            if due > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(due);
            self.initiator.handle_input(self.now, initiator::Input::Timeout).expect("no frame");
        }
    }

    fn take(&mut self, output: initiator::Output) {
        match output {
            initiator::Output::Send { mut head, payload, .. } => {
                let payload = payload.map(|slice| &DATA[slice.offset as usize..][..slice.length as usize]);
                if let Some(payload) = payload {
                    self.sent[usize::from(!head.is_sequenced_write())] += 1;
                    head.seal(payload);
                }
                let frame = [head.bytes(), payload.unwrap_or_default()].concat();
                self.deliver(&frame);
            }
            initiator::Output::Completed { result, .. } => self.completed.push(result),
            _ => {}
        }
    }

    fn deliver(&mut self, frame: &[u8]) {
        if self.stock && frame[19] == 0xf0 {
            return;
        }
        let input = target::Input::Frame { port: PORT, received: self.now, frame, buffer: BufferName(1) };
        // A frame that is refused is not answered.
        let _ = self.target.handle_input(self.now, input);
        while let Some(output) = self.target.poll_output() {
            match output {
                target::Output::Block(request) => {
                    self.executed += 1;
                    let completion = Completion { id: request.id, result: Ok(None) };
                    let input = target::Input::Completed(completion);
                    self.target.handle_input(self.now, input).expect("no frame");
                }
                target::Output::Send(transmit) if !(self.loses && is_write_answer(transmit.head.bytes())) => {
                    self.hear(transmit.head.bytes().to_vec());
                }
                target::Output::SendControl { frame, .. } => self.hear(frame),
                _ => {}
            }
        }
    }

    fn hear(&mut self, frame: Vec<u8>) {
        let input = initiator::Input::Frame { port: PORT, frame: &frame, buffer: BufferName(2) };
        self.initiator.handle_input(self.now, input).expect("a good frame");
    }

    fn write(&mut self) {
        let range = LbaRange::new(Lba(8), SectorCount(20)).expect("a range");
        let data = BufferSlice { buffer: BufferName(3), offset: 0, length: 20 * 512 };
        let submit = initiator::Input::Submit { id: RequestId(1), ask: Ask::Write { range, data } };
        self.initiator.handle_input(self.now, submit).expect("room");
    }
}

fn is_write_answer(bytes: &[u8]) -> bool {
    let frame = Frame::new(bytes).expect("a frame");
    sequenced::View::new(frame).is_ok()
        || ata::View::new(frame)
            .is_ok_and(|view| ata::Request::parse(view).command != AtaCommand::IdentifyDevice)
}

#[test]
fn a_write_whose_answer_is_lost_is_executed_once_however_late_it_is_sent_again() {
    let mut world = World::new(Some(0xabcd));
    world.run(Duration::from_secs(1));
    assert_eq!(world.initiator.volume().map(|volume| volume.sectors), Some(4096));
    world.loses = true;
    world.write();
    world.run(Duration::from_secs(30));
    assert_eq!((world.executed, world.completed.len()), (2, 0), "20 sectors are two frames");
    world.loses = false;
    world.run(Duration::from_secs(30));
    assert_eq!((world.executed, world.completed.as_slice()), (2, &[Ok(())][..]));
    assert!(world.sent[0] > 2 && world.sent[1] == 0, "{:?}", world.sent);
    assert_eq!(world.initiator.statistics().sequenced, 2);
}

#[test]
fn a_target_that_does_not_know_the_command_gets_stock_writes() {
    let mut world = World::new(Some(0xabcd));
    world.stock = true;
    world.run(Duration::from_secs(3));
    world.write();
    world.run(Duration::from_secs(1));
    assert_eq!((world.executed, world.sent, world.completed.as_slice()), (2, [0, 2], &[Ok(())][..]));
}

#[test]
fn an_initiator_without_a_name_sends_stock_writes() {
    let mut world = World::new(None);
    world.run(Duration::from_secs(1));
    world.write();
    world.run(Duration::from_secs(1));
    assert_eq!((world.sent, world.completed.as_slice()), ([0, 2], &[Ok(())][..]));
}
