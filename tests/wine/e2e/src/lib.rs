//! The end-to-end run on the Wine rig: the real driver, service and server around a volume whose
//! every write is known.
//!
//! | module | concept |
//! | --- | --- |
//! | [`scenario`] | what happens, from the first write to the verdict |
//! | [`selftest`] | whether the rig's KMDF notices a driver that breaks a rule |
//! | [`mod@rig`] | one run's Wine prefix, drivers, service, server, writer |
//! | [`image`], [`ntfs`] | the volume: an NTFS with real files |
//! | [`journal`], [`writes`], [`truth`], [`difference`], [`judge`] | what must be in the restored images, and whether it is |
//! | [`status`], [`status_watch`], [`summary`], [`console`] | what a person sees |
//! | [`prefix`], [`agent`], [`server`], [`service`], [`process`] | the programs of a run |
//!
//! The truth does not depend on Snapless: the test volume's driver journals every write in the order in
//! which it applied it, and the writer logs what it was told.

pub mod agent;
pub mod capped_log;
pub mod console;
pub mod difference;
pub mod error;
pub mod image;
pub mod journal;
pub mod judge;
pub mod ntfs;
pub mod prefix;
pub mod process;
pub mod rig;
pub mod run_folder;
pub mod scenario;
pub mod selftest;
pub mod server;
pub mod service;
pub mod status;
pub mod status_watch;
pub mod summary;
pub mod traces;
pub mod truth;
pub mod writes;

pub use error::E2eError;
