//! Retention: how much of the past a repository keeps.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`policy`] | what an administrator wants to keep, as text |
//! | [`minimum`] | what not even an administrator may shorten, for a while |
//! | [`grid`] | the slots of hours, days, weeks, months and years |
//! | [`mod@select`] | which points of a volume stay: a pure function |
//!
//! Time is measured by the clock of the protected machine that is never set, and never by more
//! than has passed on the server: see [`mod@select`].

pub mod grid;
pub mod minimum;
pub mod policy;
pub mod select;
