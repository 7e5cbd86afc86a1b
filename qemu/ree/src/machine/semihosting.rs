//! Calls to the host (Arm semihosting, `hlt #0xf000`): exit status, files.
//!
//! **Invariant:** parameter blocks live as long as the call.

use core::arch::asm;

const SYS_OPEN: u32 = 0x01;
const SYS_CLOSE: u32 = 0x02;
const SYS_WRITE: u32 = 0x05;
const SYS_EXIT_EXTENDED: u32 = 0x20;
/// `ADP_Stopped_ApplicationExit`.
const APPLICATION_EXIT: usize = 0x2_0026;
/// `fopen` mode "wb".
const MODE_WRITE: usize = 5;

/// # Safety
/// `block` must be what `operation` expects, and everything it points to must be live.
unsafe fn call(operation: u32, block: &[usize]) -> usize {
    let result;
    // SAFETY: by our contract; the host changes nothing but the result.
    unsafe {
        asm!(
            "hlt #0xf000",
            inout("x0") operation as usize => result,
            in("x1") block.as_ptr(),
            options(nostack)
        );
    }
    result
}

/// Ends the machine with `status`.
pub(crate) fn exit(status: u8) -> ! {
    let block = [APPLICATION_EXIT, usize::from(status)];
    // SAFETY: the block that SYS_EXIT_EXTENDED expects.
    unsafe { call(SYS_EXIT_EXTENDED, &block) };
    // No semihosting: the firmware can still switch the machine off.
    super::cpu::system_off();
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// A file of the host, open for writing.
#[derive(Debug)]
pub(crate) struct HostFile(usize);

impl HostFile {
    /// Creates or empties the file `path`; `None` if the host refuses.
    pub(crate) fn create(path: &str) -> Option<Self> {
        let mut name = alloc::vec::Vec::from(path.as_bytes());
        name.push(0);
        let block = [name.as_ptr().expose_provenance(), MODE_WRITE, path.len()];
        // SAFETY: the block that SYS_OPEN expects; `name` is live and ends with zero.
        let handle = unsafe { call(SYS_OPEN, &block) };
        (handle != usize::MAX).then_some(Self(handle))
    }

    /// Appends `data`; `false` if not all of it was written.
    pub(crate) fn append(&mut self, data: &[u8]) -> bool {
        let block = [self.0, data.as_ptr().expose_provenance(), data.len()];
        // SAFETY: the block that SYS_WRITE expects; `data` is live.
        unsafe { call(SYS_WRITE, &block) == 0 }
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        // SAFETY: the block that SYS_CLOSE expects.
        unsafe { call(SYS_CLOSE, &[self.0]) };
    }
}
