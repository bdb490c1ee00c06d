//! Network boot: a machine that runs iPXE with a script, and a boot sector that says a line when it is reached.

use super::attach_card;
use crate::{Error, Namespace, Process, Program, Scratch, package};
use std::fs;

/// iPXE silently ignores its script when it has much less.
const MEMORY_MEBIBYTES: &str = "256";

/// A boot sector that prints `line` on the first serial port and stops. Code of the 16-bit PC, written out by hand.
///
/// # Panics
/// If the line is too long for a sector.
pub fn boot_sector(line: &str) -> [u8; 512] {
    const CODE: [u8; 34] = [
        0xFA, //                   cli
        0x31, 0xC0, //             xor ax, ax
        0x8E, 0xD8, //             mov ds, ax
        0xBE, 0x21,
        0x7C, //       mov si, 0x7C21        the text right behind the code; sectors are loaded at 0x7C00
        0xFC, //                   cld
        // next:
        0xAC, //                   lodsb
        0x08, 0xC0, //             or al, al
        0x74, 0x11, //             jz done               the text ends with a zero
        0x88, 0xC4, //             mov ah, al
        // busy:
        0xBA, 0xFD, 0x03, //       mov dx, 0x3FD         line status of COM1
        0xEC, //                   in al, dx
        0xA8, 0x20, //             test al, 0x20         room for a byte?
        0x74, 0xF8, //             jz busy
        0x88, 0xE0, //             mov al, ah
        0xB2, 0xF8, //             mov dl, 0xF8          data of COM1
        0xEE, //                   out dx, al
        0xEB, 0xEA, //             jmp next
        // done:
        0xF4, //                   hlt
        0xEB, 0xFD, //             jmp done
    ];
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    let text = line.as_bytes();
    assert!(CODE.len() + text.len() + 2 < 510, "the line does not fit into a boot sector");
    sector[CODE.len()..CODE.len() + text.len()].copy_from_slice(text);
    sector[CODE.len() + text.len()] = b'\n';
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    sector
}

/// Switches on a machine plugged into `bridge` of `switch` that runs the iPXE commands of `script`.
///
/// What it prints on its first serial port, iPXE's own messages too, is the output of the process.
pub fn start_ipxe(
    scratch: &Scratch,
    switch: &Namespace,
    bridge: &str,
    script: &str,
) -> Result<Process, Error> {
    package::require(&[package::QEMU, package::IPXE])?;
    let path = scratch.join("script.ipxe");
    fs::write(&path, format!("#!ipxe\n{script}\n")).map_err(Error::system("write a script for iPXE"))?;
    let tap = switch.add_tap("ipxe0", 1500)?;
    switch.plug("ipxe0", bridge)?;
    let program = Program::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-m", MEMORY_MEBIBYTES, "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-machine", "pc,graphics=off", "-serial", "stdio"])
        .args(["-kernel", package::IPXE.provides, "-initrd"])
        .arg(&path);
    attach_card(program, tap, 0, 1500).start(scratch.join("ipxe"))
}
