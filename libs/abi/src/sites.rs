//! Call-site names: a compact table from return addresses to function, file and line.
//!
//! xtask writes the table from an image's DWARF; the kernel carries its own, a TA's lies beside
//! its image in the normal world (`UUID.sites`).
