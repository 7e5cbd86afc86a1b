//! Memory of the secure world: pages, translation tables, address spaces.
