//! The past: refusals, ended TAs, commands, wrong orders.

pub mod commands;
mod endings;
pub mod failures;
pub(crate) mod held;
pub mod history;
pub mod oom;
mod order_events;
mod refusals;
pub mod remains;
pub(crate) mod spent;
pub mod stored;
pub mod unfreed_sites;
pub mod wrong_orders;
