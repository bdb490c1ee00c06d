//! Copying from memory that may be gone: pages of a mapped file that was cut short or whose disk fails.
//!
//! Unsafe because it takes the signal that such a page raises. One function does the copying, and a signal raised inside
//! it makes it return at once and say so. Every other signal goes where it went before.

use std::io;

/// Makes [`copy`] safe to call; once for the whole process.
pub(crate) fn prepare() -> io::Result<()> {
    machine::prepare()
}

/// Copies `length` bytes; false if they cannot be read (some may have been copied all the same), or if copies cannot be
/// guarded on this kind of machine.
///
/// # Safety
/// `to` can be written to, and nobody else looks at it. [`prepare`] has succeeded.
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) -> bool {
    // SAFETY: the caller's promise.
    unsafe { machine::copy(from, to, length) }
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::io;
    use std::mem;
    use std::ptr;
    use std::sync::OnceLock;

    const SIGNALS: [libc::c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

    /// What was done about these signals before.
    static BEFORE: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

    /// Copies and returns 1. The second instruction is the only one that can raise a signal, and while it runs there is
    /// nothing on the stack but the place to return to: so [`handle`] can return from here in its stead.
    #[unsafe(naked)]
    unsafe extern "C" fn copy_bytes(to: *mut u8, from: *const u8, length: usize) -> u32 {
        std::arch::naked_asm!("mov rcx, rdx", "rep movsb", "mov eax, 1", "ret")
    }

    /// Bytes of these instructions.
    const COPY_BYTES_LENGTH: u64 = 3 + 2 + 5 + 1;

    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) -> bool {
        // SAFETY: by the caller's promise `to` is ours and the handler is in place, so a source that cannot be read ends
        // the copy and nothing else.
        unsafe { copy_bytes(to, from, length) == 1 }
    }

    pub(super) fn prepare() -> io::Result<()> {
        let mut before = [(), ()].map(|()| {
            // SAFETY: an all-zero action is a valid one.
            unsafe { mem::zeroed::<libc::sigaction>() }
        });
        for (signal, before) in SIGNALS.into_iter().zip(&mut before) {
            // SAFETY: only asks; `before` is writable.
            if unsafe { libc::sigaction(signal, ptr::null(), before) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let mut result = Ok(());
        BEFORE.get_or_init(|| {
            result = SIGNALS.into_iter().try_for_each(take);
            before
        });
        result
    }

    fn take(signal: libc::c_int) -> io::Result<()> {
        // SAFETY: an all-zero action is a valid one.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handle as *const () as libc::sighandler_t;
        // On the stack for signals: one of them may say that the usual stack is full.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler is a function for the life of the program and does what a handler may.
        let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    extern "C" fn handle(signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel hands a handler of this kind the interrupted thread's registers, to be read and changed.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let [instruction, stack, result] = [libc::REG_RIP, libc::REG_RSP, libc::REG_RAX].map(index);
        let begin = (copy_bytes as *const ()).addr() as u64;
        if (begin..begin + COPY_BYTES_LENGTH).contains(&registers[instruction].cast_unsigned()) {
            let top = registers[stack] as *const libc::greg_t;
            // SAFETY: the interrupted function has put nothing on its stack, so the place to return to is on top.
            registers[instruction] = unsafe { top.read() };
            registers[stack] += 8;
            registers[result] = 0;
            return;
        }
        hand_on(signal, information, context);
    }

    fn index(register: libc::c_int) -> usize {
        register.unsigned_abs() as usize
    }

    /// Does what would have been done without us.
    fn hand_on(signal: libc::c_int, information: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let index = SIGNALS.iter().position(|&taken| taken == signal);
        if let Some(before) = index.and_then(|index| BEFORE.get().map(|before| &before[index]))
            && before.sa_flags & libc::SA_SIGINFO != 0
            && before.sa_sigaction != libc::SIG_DFL
        {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: an action with this flag holds a function of this type.
            let handler = unsafe { mem::transmute::<libc::sighandler_t, Handler>(before.sa_sigaction) };
            handler(signal, information, context);
            return;
        }
        // The instruction runs again when we return, and then the process ends as it would have.
        // SAFETY: sets what the kernel does by itself.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use std::io;

    pub(super) fn prepare() -> io::Result<()> {
        Ok(())
    }

    pub(super) unsafe fn copy(_from: *const u8, _to: *mut u8, _length: usize) -> bool {
        false
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::sys::mapping::Mapping;
    use std::io::Write;
    use std::os::fd::AsFd;

    fn read(from: *const u8, length: usize) -> Option<Vec<u8>> {
        prepare().expect("handlers");
        let mut to = vec![0xee; length];
        // SAFETY: as long as said, and ours.
        unsafe { copy(from, to.as_mut_ptr(), length) }.then_some(to)
    }

    #[test]
    fn what_can_be_read_is_copied() {
        let bytes: Vec<u8> = (0..=255).collect();
        for (start, length) in [(0, 256), (3, 200), (17, 1), (9, 0)] {
            assert_eq!(read(bytes[start..].as_ptr(), length).as_deref(), Some(&bytes[start..][..length]));
        }
    }

    #[test]
    fn what_is_not_mapped_is_not_copied() {
        assert_eq!(read(std::ptr::without_provenance(64), 64), None);
    }

    #[test]
    fn a_page_that_a_file_has_lost_is_not_copied_and_costs_nothing_else() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[7; 8192]).expect("written");
        let mapping = Mapping::shared_at(file.as_fd(), 8192, 0).expect("mapped");
        let last = mapping.address().wrapping_add(8192 - 64).cast_const();
        assert_eq!(read(last, 64), Some(vec![7; 64]));
        file.set_len(4096).expect("cut");
        for _ in 0..3 {
            assert_eq!(read(last, 64), None);
            assert_eq!(read(mapping.address().wrapping_add(4096 - 32), 64), None, "half of it is gone");
            assert_eq!(read(mapping.address(), 64), Some(vec![7; 64]));
        }
    }
}
