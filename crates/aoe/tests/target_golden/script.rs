//! Drives a target through one command after another and writes down every byte in both directions.

use std::fmt::Write as _;
use std::path::PathBuf;

use aoe::target::{
    ExportConfig, Identity, Input, Output, PortId, PortLink, SmallState, StateError, Target, TargetLimits,
};
use aoe::wire::{Head, ethernet, header};
use aoe::{Address, AddressPattern, Command, MacAddress, Shelf, Slot, Tag};
use block::{
    BlockError, BlockRequest, BufferName, BufferSlice, Completion, Duration, Instant, LogicalSectorSize,
    Operation,
};

pub(crate) const OURS: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0xaa]);
pub(crate) const HOST: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x01]);
pub(crate) const OTHER: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0x02]);
const EXPECT_REWRITE: &str = "AOE_GOLDEN_REWRITE";

/// A target and what has been said so far.
pub(crate) struct Script {
    target: Target,
    now: Instant,
    tag: u32,
    text: String,
    /// How the next disk request ends.
    pub(crate) disk: Result<(), BlockError>,
    /// How the next change is stored.
    pub(crate) store: Result<(), StateError>,
    /// Who sends the next frames.
    pub(crate) host: MacAddress,
    pub(crate) destination: MacAddress,
    pub(crate) pattern: AddressPattern,
}

pub(crate) fn config() -> ExportConfig {
    ExportConfig {
        address: Address::new(Shelf(7), Slot(1)).expect("an address"),
        sectors: 2048,
        logical_sector_size: LogicalSectorSize::B512,
        identity: Identity::new("7.1:golden", "etherpair", "0.1"),
        read_only: false,
        write_cache: false,
        buffer_count: 64,
        state: SmallState::default(),
        mirror: None,
    }
}

impl Script {
    pub(crate) fn new(title: &str, config: ExportConfig, mtu: u32) -> Self {
        let limits = TargetLimits {
            outstanding_max: 16,
            write_history_max: 64,
            export_max: 2,
            followed_max: 4,
            digest_seed: 42,
        };
        let mut target = Target::new(limits);
        let now = Instant::from_nanos(10_000_000_000);
        let link = Some(PortLink { mac: OURS, mtu });
        target.handle_input(now, Input::PortChanged { port: PortId(0), link }).expect("no frame");
        let pattern = AddressPattern::from(config.address);
        target.add_export(now, config).expect("a good config");
        let text = format!("# {title}\n");
        let (disk, store) = (Ok(()), Ok(()));
        Self { target, now, tag: 0, text, disk, store, host: HOST, destination: OURS, pattern }
    }

    /// A request with the next tag; `argument` writes what follows the header and says where the frame ends.
    pub(crate) fn frame(&mut self, command: Command, argument: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        self.tag += 1;
        let mut frame = vec![0; 2100];
        let head = Head {
            ethernet: ethernet::Repr { destination: self.destination, source: self.host },
            header: header::Repr::request(self.pattern, command, Tag(self.tag)),
        };
        let end = head.emit(&mut frame);
        let end = argument(&mut frame).max(end).max(60);
        frame.truncate(end);
        frame
    }

    /// Sends a request and writes down what follows, until nothing more does.
    pub(crate) fn send(&mut self, comment: &str, frame: &[u8]) {
        self.send_aged(comment, frame, 0);
    }

    pub(crate) fn send_aged(&mut self, comment: &str, frame: &[u8], milliseconds: u64) {
        self.now = self.now.after(Duration::from_millis(1));
        self.note(comment);
        self.dump('>', frame);
        let received = self.now.before(Duration::from_millis(milliseconds));
        let input = Input::Frame { port: PortId(0), received, frame, buffer: BufferName(1) };
        if let Err(refusal) = self.target.handle_input(self.now, input) {
            self.line(&format!("silence: {refusal}"));
        }
        self.drain();
        self.disk = Ok(());
        self.store = Ok(());
    }

    /// Does what is not written down.
    pub(crate) fn quietly(&mut self, work: impl FnOnce(&mut Self)) {
        let length = self.text.len();
        work(self);
        self.text.truncate(length);
    }

    pub(crate) fn note(&mut self, comment: &str) {
        self.line(&format!("\n# {comment}"));
    }

    /// What is sent without being asked.
    pub(crate) fn advertise(&mut self, comment: &str, input: Option<Input<'_>>) {
        self.note(comment);
        if let Some(input) = input {
            self.target.handle_input(self.now, input).expect("no frame");
        }
        self.target.handle_input(self.now, Input::Timeout).expect("no frame");
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.target.poll_output() {
            match output {
                Output::Block(request) => self.complete(request),
                Output::StoreState { export, state } => {
                    let SmallState { config_string, mac_mask, reservation } = state;
                    self.line(&format!(
                        "store: config string {}, mask {mac_mask:?}, reservation {reservation:?}: {}",
                        config_string.escape_ascii(),
                        if self.store.is_ok() { "durable" } else { "fails" }
                    ));
                    let stored = Input::StateStored { export, result: self.store };
                    self.target.handle_input(self.now, stored).expect("no frame");
                }
                Output::Send(transmit) => {
                    let mut frame = transmit.head.bytes().to_vec();
                    if let Some(BufferSlice { length, .. }) = transmit.payload {
                        frame.extend(std::iter::repeat_n(0xd5, length as usize));
                    }
                    self.dump('<', &frame);
                }
                Output::SendControl { frame, .. } => self.dump('<', &frame),
                Output::Release(_) => {}
                Output::MirrorBlock { .. } | Output::Returned { .. } => panic!("no export here is mirrored"),
            }
        }
    }

    /// The disk answers at once; what it holds is 0xd5.
    fn complete(&mut self, request: BlockRequest) {
        let (what, data) = match request.operation {
            Operation::Read { range } => {
                let length = u32::try_from(range.bytes()).expect("small");
                (format!("read {range}"), Some(BufferSlice { buffer: BufferName(2), offset: 0, length }))
            }
            Operation::Write { range, data, durable } => {
                (format!("write {range} from byte {} durable {durable}", data.offset), None)
            }
            Operation::Flush => ("flush".to_owned(), None),
        };
        let outcome = self.disk.map_or_else(|error| format!("{error:?}"), |()| "done".to_owned());
        self.line(&format!("disk: {what}: {outcome}"));
        let completion = Completion { id: request.id, result: self.disk.map(|()| data) };
        self.target.handle_input(self.now, Input::Completed(completion)).expect("no frame");
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Sixteen bytes a line; `*` stands for lines that are equal to the one above.
    fn dump(&mut self, direction: char, frame: &[u8]) {
        let mut last: Option<&[u8]> = None;
        let mut starred = false;
        let lines = frame.len().div_ceil(16);
        for (index, row) in frame.chunks(16).enumerate() {
            if last == Some(row) && index + 1 < lines {
                if !starred {
                    self.line(&format!("{direction} *"));
                }
                starred = true;
                continue;
            }
            (last, starred) = (Some(row), false);
            let mut line = format!("{direction} {:04x} ", index * 16);
            for byte in row {
                write!(line, " {byte:02x}").expect("a string takes everything");
            }
            self.line(&line);
        }
    }

    /// Adds another script's text.
    pub(crate) fn append(&mut self, other: &Self) {
        self.line("");
        self.text.push_str(&other.text);
    }

    /// Compares with the file, or writes it anew when asked to.
    pub(crate) fn check(&self, name: &str) {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(format!("{name}.txt"));
        if std::env::var_os(EXPECT_REWRITE).is_some() {
            std::fs::write(&path, &self.text).expect("the file can be written");
            return;
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = expected.lines().zip(self.text.lines()).enumerate().find(|(_, (old, new))| old != new);
        if let Some((line, (old, new))) = differs {
            panic!(
                "{name}.txt:{}: expected\n{old}\nfound\n{new}\nif it is right, set {EXPECT_REWRITE}=1 and look at the diff",
                line + 1
            );
        }
        assert_eq!(expected.len(), self.text.len(), "{name}.txt has another length; set {EXPECT_REWRITE}=1");
    }
}
