// EL3's identity map: static, read-only, in flash. 4 KiB granule, 4 GiB of address space.
//
// Windows and rights (see linker/monitor.ld); whatever is not named is not mapped:
//   0x0000_0000  64 KiB   RX  monitor code
//   0x0001_0000  rest of 64 MiB flash  R  constants, package
//   0x0800_0000   2 MiB   RW  device: GIC
//   0x0900_0000   2 MiB   RW  device: UARTs, GPIO
//   0x0e00_0000  64 KiB   RW  data
//   0x0e02_0000 128 KiB   RW  eight stacks of 16 KiB, lowest page of each unmapped
//   0x0e10_0000  15 MiB   RW  the kernel's RAM, written once by the loader
//   0x4000_0000   2 MiB   RW  normal-world RAM: the device tree, completed once at boot

.set XN, 1 << 54
.set NORMAL, 0x700              // MAIR index 0, inner shareable, access flag
.set DEVICE, 0x404              // MAIR index 1, access flag
.set RO, 0xc0                   // AP[2:1] = 0b11
.set RW, 0x40                   // AP[2:1] = 0b01
.set NS, 0x20                   // normal-world physical address space
.set BLOCK, 1
.set PAGE, 3

.section .rodata.tables, "a"
.balign 4096
l2_low:
    .quad l3_flash + 3
    .set at, 0x00200000
    .rept 31
    .quad at + (NORMAL | RO | XN | BLOCK)
    .set at, at + 0x200000
    .endr
    .fill 32, 8, 0                              // 0x0400_0000: normal-world flash
    .quad 0x08000000 + (DEVICE | RW | XN | BLOCK)
    .fill 7, 8, 0
    .quad 0x09000000 + (DEVICE | RW | XN | BLOCK)
    .fill 39, 8, 0
    .quad l3_ram + 3
    .set at, 0x0e200000
    .rept 7
    .quad at + (NORMAL | RW | XN | BLOCK)
    .set at, at + 0x200000
    .endr
    .fill 392, 8, 0
.balign 4096
l3_flash:
    .set at, 0
    .rept 16
    .quad at + (NORMAL | RO | PAGE)
    .set at, at + 0x1000
    .endr
    .rept 496
    .quad at + (NORMAL | RO | XN | PAGE)
    .set at, at + 0x1000
    .endr
l3_ram:
    .set at, 0x0e000000
    .rept 16
    .quad at + (NORMAL | RW | XN | PAGE)
    .set at, at + 0x1000
    .endr
    .fill 16, 8, 0
    .set at, 0x0e020000
    .rept 8
    .quad 0                                     // guard page
    .quad at + 0x1000 + (NORMAL | RW | XN | PAGE)
    .quad at + 0x2000 + (NORMAL | RW | XN | PAGE)
    .quad at + 0x3000 + (NORMAL | RW | XN | PAGE)
    .set at, at + 0x4000
    .endr
    .fill 192, 8, 0
    .set at, 0x0e100000
    .rept 256
    .quad at + (NORMAL | RW | XN | PAGE)
    .set at, at + 0x1000
    .endr
.balign 4096
l2_normal:
    .quad 0x40000000 + (NORMAL | NS | RW | XN | BLOCK)
    .fill 511, 8, 0
.balign 64
monitor_l1:
    .quad l2_low + 3
    .quad l2_normal + 3
    .fill 2, 8, 0
