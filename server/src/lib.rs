//! The Snapless server: receives the streams of protected volumes, stores them durably in a
//! repository and restores any point of them.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`mod@format`] | the bytes of a repository's files |
//! | [`stream`] | the rules of a stream, asserted a second time after the driver |
//! | [`timeline`] | the instants of a stream that can be restored |
//! | [`storage`] | the files below, and what of them survives a crash |
//! | [`seal`] | what of them is compressed and encrypted, and with which key |
//! | [`compression`], [`crypto`] | how |
//! | [`repository`], [`writer`], [`reader`] | volumes and sessions; appends; reads |
//! | [`fold`] | the history before a boundary, folded into retained points; garbage |
//! | [`point`] | which record holds the bytes of each part of a point's image |
//! | [`pin`] | who reads a session, so that nothing of it is removed meanwhile |
//! | [`point_name`], [`bookmarks`], `naming` | how an administrator names a point |
//! | [`security`] | who may speak, and about which volumes |
//! | [`serve`], [`connection`], [`backlog`], `storing`, [`ingest`] | from the network to the writer |
//! | [`groups`], [`meetings`] | volumes of several machines that get common bookmarks, and where they wait for it |
//! | `questions` | tells machines what can be restored of their own volumes, and names points for them |
//! | `fetching` | lets machines restore points of their own volumes over the network |
//! | [`comparer`], [`given`], [`openings`] | tells services what the stream has already |
//! | `seeds`, [`seed_image`] | content of a volume from before a session, which its first sync need not send |
//! | [`gate`], [`occupancy`] | how many connections there are, and which one serves a session |
//! | [`connected`], `console` | which volumes are connected; what the console shows of the server and does for it |
//! | [`host`], [`handles`] | what connections share; how many files may be open for them |
//! | [`floor`] | how much space stays free |
//! | [`indexer`] | the indices that segments lack, and kept maps |
//! | [`retention`] | how much of the past is kept, and what makes room |
//! | [`restore`], [`disk_image`], [`mount`], [`diff`], [`salvage`], [`target`], [`verify`], [`against`], [`list`], [`points`], [`stat`], [`bill`], [`dedup`] | an administrator's commands |
//! | [`copy`], [`export`], [`upgrade`] | sessions into another repository; one on a disk that is shipped; what older releases did not make |
//! | `walk` | the headers of a whole history, for reports |
//! | [`shown_name`], [`bytes`], `toml_text` | names of files and runs of bytes in their reports; bytes in memory; text that people may edit |
#![forbid(unsafe_code)]

pub mod against;
pub mod backlog;
pub mod bill;
pub mod bitmap;
pub mod bookmarks;
pub mod bytes;
pub mod checks;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod comparer;
pub mod compression;
pub mod connected;
pub mod connection;
#[cfg(feature = "console")]
pub mod console;
pub mod copy;
pub mod copy_error;
pub mod crypto;
pub mod dedup;
pub mod diff;
pub mod disk_image;
pub mod error;
pub mod export;
mod fetching;
pub mod floor;
pub mod fold;
pub mod format;
pub mod gate;
pub mod given;
pub mod groups;
pub mod handles;
pub mod host;
pub mod indexer;
pub mod ingest;
pub mod list;
pub mod location;
pub mod meetings;
pub mod mount;
mod naming;
pub mod occupancy;
pub mod openings;
pub mod pin;
pub mod point;
pub mod point_name;
pub mod points;
mod questions;
pub mod reader;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod salvage;
pub mod seal;
pub mod security;
pub mod seed_image;
mod seeds;
pub mod serve;
pub mod shown_name;
pub mod stat;
pub mod stop;
pub mod storage;
mod storing;
pub mod stream;
pub mod target;
pub mod time;
pub mod timeline;
mod toml_text;
pub mod trust_cli;
pub mod upgrade;
pub mod verification;
pub mod verify;
mod walk;
pub mod writer;
