//! What a disk is asked and how it answers: the part of ATA (ACS-3) that AoE initiators use. Says what bits and words
//! are; the target decides what to answer.

mod command;
pub mod identify;
mod register;
pub mod smart;

pub use command::AtaCommand;
pub use identify::{AtaString, Identify, IdentifyError};
pub use register::{ErrorRegister, Status};
