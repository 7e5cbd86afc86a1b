//! Placeholder head, replaced below.
/// x
pub(crate) fn run(_: &str) -> u8 {
    0
}
