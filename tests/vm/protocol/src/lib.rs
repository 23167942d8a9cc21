//! What the harness and the program in the guest tell each other over a serial line, and where the
//! guest leaves results on its second way out.
//!
//! | module | concept |
//! | --- | --- |
//! | [`message`] | the messages of both sides, and the deeds of the guest |
//! | [`frame`] | a message as a line of text with a checksum |
//! | [`results`] | the files of the result disk |
//! | [`routines`] | how long DPCs and ISRs took, as JSON |
//!
//! The harness decides and the guest does: it is told one step after the other, and needs no memory
//! of what it did before a restart.

pub mod frame;
pub mod message;
pub mod results;
pub mod routines;
