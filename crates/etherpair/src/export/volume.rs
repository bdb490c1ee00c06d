//! A disk with its state file, opened and locked, before anybody is served.
//!
//! Decides who the volume is towards initiators: its serial number comes from its address and its volume id, never
//! from the host, because a second node that serves the same volume has to say the same.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use aoe::Address;
use aoe::target::{ExportConfig, Identity, SmallState};
use os::disk::{Disk, DiskError, DiskOptions};

use super::error::ExportError;
use super::plan::{ExportPlan, Plan};
use super::state_file::{Owner, StateFile, VolumeId};

/// What IDENTIFY says of every volume.
const MODEL: &str = "etherpair";
/// Firmware of IDENTIFY: the version of this program.
const FIRMWARE: &str = env!("CARGO_PKG_VERSION");
/// The lock of a killed process, and its claim of a device, goes when the kernel has ended its last request, a moment after the process itself.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// State files made at the same time: each waits for its disk twice, and disks sync many files at once.
const STATE_FILES_AT_ONCE: usize = 16;

/// One disk, ready to be served.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Where.
    pub(crate) address: Address,
    /// What.
    pub(crate) disk: Disk,
    state_path: PathBuf,
    owner: Owner,
    stored: Option<(StateFile, SmallState)>,
}

impl Volume {
    /// Opens and locks all disks and reads their state files; makes nothing.
    ///
    /// # Errors
    /// The first disk or state file that cannot be used.
    pub(crate) fn open_all(plan: &Plan) -> Result<Vec<Self>, ExportError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        plan.exports.iter().map(|export| Self::open(plan, export, deadline)).collect()
    }

    fn open(plan: &Plan, export: &ExportPlan, deadline: Instant) -> Result<Self, ExportError> {
        let disk = open_patiently(&export.disk, deadline)?;
        let regular_file = fs::metadata(&export.disk.path).is_ok_and(|metadata| metadata.is_file());
        let (state_path, by_address) = plan.state_path(export, regular_file);
        let disk_path = std::path::absolute(&export.disk.path)
            .map_err(|error| ExportError::System { what: "finding the working directory", error })?;
        let owner = Owner { address: export.address, disk: by_address.then_some(disk_path) };
        let stored = StateFile::open(&state_path, &owner)?;
        Ok(Self { address: export.address, disk, state_path, owner, stored })
    }

    /// Makes the state files of new volumes; all others are left as they are.
    ///
    /// # Errors
    /// The first that cannot be made.
    pub(crate) fn create_states(volumes: &mut [Self]) -> Result<(), ExportError> {
        let mut new: Vec<&mut Self> = volumes.iter_mut().filter(|volume| volume.stored.is_none()).collect();
        let share = new.len().div_ceil(STATE_FILES_AT_ONCE).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = new
                .chunks_mut(share)
                .map(|volumes| {
                    scope.spawn(|| volumes.iter_mut().try_for_each(|volume| volume.create_state()))
                })
                .collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })
    }

    fn create_state(&mut self) -> Result<(), ExportError> {
        let directory = self.state_path.parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some(directory) = directory {
            // If it cannot be made, the file in it cannot either, and that error names the cure.
            let _ = fs::create_dir_all(directory);
        }
        let file = StateFile::create(&self.state_path, &self.owner)?;
        self.stored = Some((file, SmallState::default()));
        Ok(())
    }

    /// What a shard needs to serve it, and the file for what clients set.
    ///
    /// # Panics
    /// If its state file was not made.
    pub(crate) fn into_parts(self, plan: &Plan) -> (Disk, ExportConfig, StateFile) {
        let (file, state) = self.stored.expect("state files are made before volumes are served");
        let geometry = self.disk.geometry();
        let config = ExportConfig {
            address: self.address,
            sectors: geometry.sectors(),
            logical_sector_size: geometry.logical_sector_size(),
            identity: Identity::new(&serial(self.address, file.volume()), MODEL, FIRMWARE),
            read_only: self.disk.read_only(),
            write_cache: plan.write_cache,
            buffer_count: plan.buffer_count,
            state,
            mirror: None,
        };
        (self.disk, config, file)
    }
}

/// The address for people, and as much of the volume id as ATA's twenty characters leave room for.
fn serial(address: Address, volume: VolumeId) -> String {
    const SERIAL_CHARACTERS: usize = 20;
    let mut serial = format!("{address}-{volume}");
    serial.truncate(SERIAL_CHARACTERS);
    serial
}

fn open_patiently(options: &DiskOptions, deadline: Instant) -> Result<Disk, DiskError> {
    loop {
        match Disk::open(options) {
            Err(DiskError::Locked(_) | DiskError::InUse(_)) if Instant::now() < deadline => {
                thread::sleep(LOCK_INTERVAL)
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_is_twenty_characters_of_address_and_volume() {
        let volume = VolumeId::random().expect("random bytes");
        for address in ["e0.0", "e7.1", "e65534.254"] {
            let serial = serial(address.parse().expect("an address"), volume);
            assert_eq!(serial.len(), 20);
            assert!(serial.starts_with(&format!("{address}-")), "{serial}");
        }
    }
}
