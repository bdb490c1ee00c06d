//! What every file of the engine uses: its volumes, its disk, what it says and when it wakes.

use block::{BlockRequest, BufferSlice, Duration, ExportId, Instant, Operation, RequestId};

use super::{DiskWork, Engine, index};
use crate::message::{Message, Token, VolumeMessage};
use crate::mutation::Mutation;
use crate::output::{Event, Output};
use crate::slots::place;
use crate::volume::Volume;

impl Engine {
    /// Whether this mistake is to be made: never, but in the test that looks whether it would be noticed.
    pub(crate) fn mutated(&self, mutation: Mutation) -> bool {
        self.mutations.has(mutation)
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn event(&mut self, volume: ExportId, event: Event) {
        self.push(Output::Event { volume, event });
    }

    /// Whether a request that took so long here may be one that is told of. Part of its time may have passed before it came.
    #[inline]
    pub(crate) fn may_be_slow(&self, took: Duration) -> bool {
        self.slow_after.is_some_and(|after| took >= after / 4)
    }

    /// Says something about a volume to the peer, if it can be reached and knows the volume.
    pub(crate) fn say(&mut self, export: ExportId, message: VolumeMessage, data: Option<BufferSlice>) {
        let Some(peer_export) = self.volume(export).meeting.peer_export.filter(|_| self.session.is_up())
        else {
            return;
        };
        self.push(Output::Send { message: Message::Volume(peer_export, message), data });
    }

    /// Asks the data disk for something.
    pub(crate) fn ask_disk(&mut self, export: ExportId, work: DiskWork, operation: Operation) {
        let token = self.disk.insert((export, work)).expect("as many as there are requests");
        self.volume_mut(export).at_disk += 1;
        let slot = place(token) + u32::from(self.config.first_disk_slot);
        let generation = u32::try_from(token.0 >> 32 & 0xffff).expect("16 bits");
        let id = RequestId(generation << 16 | slot);
        self.push(Output::Disk(BlockRequest { id, export, operation }));
    }

    pub(super) fn disk_token(&self, id: RequestId) -> Token {
        let place =
            u32::from(u16::try_from(id.slot()).expect("16 bits")) - u32::from(self.config.first_disk_slot);
        let token = self.disk.token_at(place).expect("the disk completes what it was asked");
        assert!(token.0 >> 32 & 0xffff == u64::from(id.0 >> 16), "the disk completes a request once");
        token
    }

    /// An empty list, in memory that is to be given back.
    pub(crate) fn token_list(&mut self) -> Vec<Token> {
        self.spare_tokens.pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&mut self, mut tokens: Vec<Token>) {
        tokens.clear();
        self.spare_tokens.push(tokens);
    }

    /// The next number in the order of what happens.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    pub(crate) fn has_volume(&self, export: ExportId) -> bool {
        self.volumes.get(index(export)).is_some_and(Option::is_some)
    }

    pub(crate) fn volume(&self, export: ExportId) -> &Volume {
        self.volumes[index(export)].as_ref().expect("a volume of this engine")
    }

    pub(crate) fn volume_mut(&mut self, export: ExportId) -> &mut Volume {
        self.volumes[index(export)].as_mut().expect("a volume of this engine")
    }

    pub(crate) fn exports(&self) -> Vec<ExportId> {
        self.volumes.iter().flatten().map(|volume| volume.export).collect()
    }

    /// The volume is to be looked after before this input is over.
    pub(crate) fn attend(&mut self, export: ExportId) {
        if !self.attention.contains(&export) {
            self.attention.push(export);
        }
    }

    pub(crate) fn attend_to_all(&mut self) {
        self.wake = None;
        self.attention.clear();
        self.attention.extend(self.volumes.iter().flatten().map(|volume| volume.export));
    }

    /// A timeout is due then, at the latest.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}
