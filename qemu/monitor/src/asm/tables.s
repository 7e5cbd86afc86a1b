// EL3's identity map: static, read-only, in flash. 4 KiB granule, 4 GiB of address space.
//
// Windows and rights (see linker/monitor.ld); whatever is not named is not mapped:
//   flash       64 KiB   RX  monitor code
//   flash, the rest      R   constants, package
//   GIC          2 MiB   RW  device
//   UART         2 MiB   RW  device: UARTs, firmware configuration, GPIO
//   secure RAM  64 KiB   RW  data
//   STACKS     256 KiB   RW  eight stacks of 32 KiB, lowest page of each unmapped
//   KERNEL      the rest RW  the kernel's RAM, written once by the loader
//   RAM          2 MiB   RW  normal-world RAM: the device tree, completed once at boot

.set XN, 1 << 54
.set NORMAL, 0x700              // MAIR index 0, inner shareable, access flag
.set DEVICE, 0x404              // MAIR index 1, access flag
.set RO, 0xc0                   // AP[2:1] = 0b11
.set RW, 0x40                   // AP[2:1] = 0b01
.set NS, 0x20                   // normal-world physical address space
.set BLOCK, 1
.set PAGE, 3
.set BLOCK_BYTES, 1 << 21

// Goes on at the entry for `address`, whose entries stand for `bytes` each. Entries left out are zero.
.macro entry_for table, address, bytes
    .org \table + (\address) / (\bytes) % 512 * 8
.endm
.macro entries start, end, bytes, attributes
    .set at, \start
    .rept ((\end) - (\start)) / (\bytes)
    .quad at + (\attributes)
    .set at, at + (\bytes)
    .endr
.endm

.section .rodata.tables, "a"
.balign 4096
l2_low:
    entry_for l2_low, {FLASH}, BLOCK_BYTES
    .quad l3_flash + 3
    entries ({FLASH} + BLOCK_BYTES), ({FLASH} + {FLASH_BYTES}), BLOCK_BYTES, (NORMAL | RO | XN | BLOCK)
    entry_for l2_low, {GIC}, BLOCK_BYTES
    .quad {GIC} + (DEVICE | RW | XN | BLOCK)
    entry_for l2_low, {UART}, BLOCK_BYTES
    .quad {UART} + (DEVICE | RW | XN | BLOCK)
    entry_for l2_low, {SECURE_RAM}, BLOCK_BYTES
    .quad l3_ram + 3
    entries ({SECURE_RAM} + BLOCK_BYTES), {SECURE_RAM_END}, BLOCK_BYTES, (NORMAL | RW | XN | BLOCK)
    .org l2_low + 4096
l3_flash:
    entries {FLASH}, ({FLASH} + 0x10000), 0x1000, (NORMAL | RO | PAGE)
    entries ({FLASH} + 0x10000), ({FLASH} + BLOCK_BYTES), 0x1000, (NORMAL | RO | XN | PAGE)
l3_ram:
    entries {SECURE_RAM}, ({SECURE_RAM} + 0x10000), 0x1000, (NORMAL | RW | XN | PAGE)
    entry_for l3_ram, {STACKS}, 0x1000
    .set stack, {STACKS}
    .rept {MAX_CPUS}
    .quad 0                                     // guard page
    entries (stack + 0x1000), (stack + {STACK_STRIDE}), 0x1000, (NORMAL | RW | XN | PAGE)
    .set stack, stack + {STACK_STRIDE}
    .endr
    entry_for l3_ram, {KERNEL}, 0x1000
    entries {KERNEL}, ({SECURE_RAM} + BLOCK_BYTES), 0x1000, (NORMAL | RW | XN | PAGE)
.balign 4096
l2_normal:
    entry_for l2_normal, {RAM}, BLOCK_BYTES
    .quad {RAM} + (NORMAL | NS | RW | XN | BLOCK)
    .org l2_normal + 4096
.balign 64
monitor_l1:
    .quad l2_low + 3
    .quad l2_normal + 3
    .fill 2, 8, 0
