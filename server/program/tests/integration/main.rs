//! The server's integration tests, one program: linking one for each file takes a minute.

mod checks;
mod commands;
mod common;
mod compare;
#[cfg(all(feature = "console", target_os = "linux"))]
mod console;
mod copy;
mod damage;
#[cfg(target_os = "linux")]
mod devices;
mod fetching;
#[cfg(target_os = "linux")]
mod flood;
#[cfg(target_os = "linux")]
mod fold;
#[cfg(all(feature = "cloud", target_os = "linux"))]
mod fold_objects;
mod folders;
#[cfg(target_os = "linux")]
mod foreign;
mod golden;
mod groups;
mod history;
mod images;
mod index;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod killed;
mod kills;
#[cfg(feature = "cloud")]
mod leases;
mod limits;
mod listing;
mod maps;
#[cfg(target_os = "linux")]
mod mount;
mod network;
#[cfg(all(feature = "cloud", target_os = "linux"))]
mod object_lock;
#[cfg(feature = "cloud")]
mod object_storage;
#[cfg(feature = "cloud")]
mod objects;
mod overload;
mod point;
mod points;
#[cfg(target_os = "linux")]
mod printed;
#[cfg(target_os = "linux")]
mod privacy;
mod program;
mod questions;
mod quiet;
#[cfg(target_os = "linux")]
mod resize;
mod restarts;
mod resumed;
mod retention;
#[cfg(feature = "cloud")]
mod retention_objects;
mod rules;
#[cfg(feature = "cloud")]
mod s3;
mod salvage;
#[cfg(feature = "cloud")]
mod salvage_objects;
mod sealed;
#[cfg(feature = "cloud")]
mod sealed_objects;
mod seed;
mod space;
#[cfg(feature = "cloud")]
mod stores;
#[cfg(feature = "cloud")]
mod takeover;
#[cfg(target_os = "linux")]
mod targets;
#[cfg(target_os = "linux")]
mod truncated;
mod trust;
mod unchanged;
mod upgrade;
mod verified;
