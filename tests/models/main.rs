//! Model checks: the crate's own sources under loom, which tries every interleaving.

mod cache_interleavings;
mod interleavings;
mod occupancy_interleavings;
