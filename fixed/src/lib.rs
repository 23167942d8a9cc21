//! Data structures of a fixed capacity, for the engine's accounts of writes and blocks.
//!
//! Each allocates all its memory when it is made, and no operation but that one fails for want of
//! memory (rule BOUND, rules.md#bound). None of them knows what a session is.
//!
//! | module | what |
//! | --- | --- |
//! | `arena` | queue memory, given out and given back in any order |
//! | `bits` | runs of bits in words |
//! | `grid` | an index of extents by place |
//! | `holes` | the bad sectors of a block, in runs |
//! | `memory` | allocation that may fail, at the start only |
//! | `regions` | counts of extents by region of a volume |
//! | `ring` | slots in order |
//! | `rundown` | run-down protection of a value, in a word for each processor |
//! | `sabotage` | deliberate breaches of the rules, in builds that test the tests |
//! | `slots` | a fixed number of values, each in one of a few places |
//! | `steps` | counts what is looked at, in debug builds |
//! | `summary` | a set of numbers with summaries, for a search in constant time |
//! | `sync` | the atomics, loom's in a model |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "sabotage"))]
extern crate std;

/// Asserts a rule of the method in builds with `debug_assertions`: tests, the simulator, debug
/// drivers.
#[macro_export]
macro_rules! rule {
    ($holds:expr, $rule:literal) => {
        debug_assert!($holds, $rule)
    };
}

/// True if the chosen sabotage breaks a rule here: only in builds that test the tests.
#[cfg(feature = "sabotage")]
#[macro_export]
macro_rules! sabotaged {
    ($breach:ident) => {
        $crate::sabotage::Sabotage::$breach.is_chosen()
    };
}

/// False: no sabotage is compiled in.
#[cfg(not(feature = "sabotage"))]
#[macro_export]
macro_rules! sabotaged {
    ($breach:ident) => {
        false
    };
}

pub mod arena;
pub mod bits;
pub mod grid;
pub mod holes;
pub mod memory;
pub mod regions;
pub mod ring;
pub mod rundown;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod slots;
pub mod steps;
pub mod summary;
pub mod sync;
