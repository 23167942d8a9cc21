//! Retention: how much of the past a repository keeps, and what makes room.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`policy`] | what an administrator wants to keep, as text |
//! | [`minimum`] | what not even an administrator may shorten, for a while |
//! | [`grid`] | the slots of hours, days, weeks, months and years |
//! | [`mod@select`] | which points of a volume stay: a pure function |
//! | [`survey`] | what that function is told of a volume |
//! | [`run`] | folds and collects, as the policy says |
//! | [`show`] | what a fold would do |
//! | [`engine`], [`folds`] | what makes a fold |
//! | [`removal`] | removes a whole session |
//! | [`gc`] | files that nothing refers to |
//! | [`keeper`] | does it while the server runs |
//! | [`idle`] | how often it looks at what is in an object store |
//!
//! Time is measured by the clock of the protected machine that is never set, and never by more
//! than has passed on the server: see [`mod@select`].

pub mod engine;
pub mod folds;
pub mod gc;
pub mod grid;
pub mod idle;
pub mod keeper;
pub mod minimum;
pub mod policy;
pub mod removal;
pub mod run;
pub mod select;
pub mod show;
pub mod survey;
