//! Channels to the host: virtio consoles whose other ends are files. What is written is appended there, and
//! nothing comes back.

use alloc::alloc::{alloc_zeroed, dealloc};
use bitflags::bitflags;
use core::alloc::Layout;
use core::ptr::NonNull;
use spin::{Mutex, Once};
use tally_board_virt::{VIRTIO_BYTES, images};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// A console's queue of what it is to transmit (Virtio 1.1, 5.3.2), and how many pieces that may have.
const TRANSMIT: u16 = 1;
const PIECES: usize = 4;

bitflags! {
    /// Of a device's features, those that matter here.
    #[derive(Clone, Copy, Debug)]
    struct Features: u64 {
        const VERSION_1 = 1 << 32;
    }
}

/// Lines of results, the guest's status last.
pub(crate) static RESULTS: Channel = Channel::at(images::RESULTS_CHANNEL);
/// Files, in pieces ([`images::FilePiece`]).
pub(crate) static FILES: Channel = Channel::at(images::FILES_CHANNEL);

/// One channel.
pub(crate) struct Channel {
    registers: u64,
    device: Once<Option<Mutex<Device>>>,
}

/// The transmitting half of a virtio console.
struct Device {
    transport: MmioTransport<'static>,
    queue: VirtQueue<Memory, PIECES>,
}

impl Channel {
    const fn at(registers: u64) -> Self {
        Self {
            registers,
            device: Once::new(),
        }
    }

    /// Appends `pieces`, none of them empty, with nothing in between; `false` if there is no such channel.
    pub(crate) fn write(&self, pieces: &[&[u8]]) -> bool {
        let device = self
            .device
            .call_once(|| open(self.registers).map(Mutex::new));
        let Some(device) = device else { return false };
        let Device { transport, queue } = &mut *device.lock();
        queue
            .add_notify_wait_pop(pieces, &mut [], transport)
            .is_ok()
    }
}

fn open(registers: u64) -> Option<Device> {
    let header = core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(registers as usize);
    // SAFETY: a virtio transport of the board's, mapped as device memory; `Channel` opens it once.
    let transport = unsafe { MmioTransport::new(NonNull::new(header)?, VIRTIO_BYTES) };
    let mut transport = transport.ok()?;
    transport.begin_init(Features::VERSION_1);
    let queue = VirtQueue::new(&mut transport, TRANSMIT, false, false).ok()?;
    transport.finish_init();
    Some(Device { transport, queue })
}

/// Memory as the devices see it: physical is virtual, and caches are coherent.
struct Memory;

fn layout(pages: usize) -> Option<Layout> {
    Layout::from_size_align(pages.checked_mul(PAGE_SIZE)?, PAGE_SIZE).ok()
}

// SAFETY: blocks of the heap are whole zeroed pages of their own until they are given back.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the driver asks for a page at least.
        let block = layout(pages).map_or(core::ptr::null_mut(), |layout| unsafe {
            alloc_zeroed(layout)
        });
        // Address 0 means that there is none.
        let pointer = NonNull::new(block).unwrap_or(NonNull::dangling());
        (block.expose_provenance() as u64, pointer)
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, pages: usize) -> i32 {
        if let Some(layout) = layout(pages) {
            // SAFETY: `dma_alloc` allocated it with this layout, by contract.
            unsafe { dealloc(block.as_ptr(), layout) };
        }
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
            .unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as u64
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
