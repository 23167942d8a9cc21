//! The end-to-end run on the Wine rig: the real driver, service and server around a volume whose
//! every write is known.
//!
//! | module | concept |
//! | --- | --- |
//! | [`scenario`] | the scenarios, from the first write to the verdict |
//! | [`selftest`] | shows that the rig's KMDF reports a driver that breaks a rule |
//! | [`msi`] | the MSI: installed, upgraded, repaired, removed |
//! | [`mod@rig`] | one run's Wine prefix, drivers, service, server, writer |
//! | [`image`], [`ntfs`] | the volume: an NTFS with real files |
//! | [`journal`], [`writes`], [`truth`], [`difference`], [`verdict`] | the expected content of the restored images, and the comparison |
//! | [`status`], [`status_watch`], [`summary`], [`console`] | progress and results |
//! | [`prefix`], [`agent`], [`server`], [`service`], [`process`] | the programs of a run |
//!
//! The truth does not depend on Snapless: the test volume's driver journals every write in the
//! order in which it applied it, and the writer logs each completion.

pub mod agent;
pub mod capped_log;
pub mod console;
pub mod difference;
pub mod error;
pub mod image;
pub mod journal;
pub mod msi;
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
pub mod verdict;
pub mod writes;

pub use error::E2eError;
