//! A server of Azure's blobs that others wrote: `azurite` of the npm registry, Microsoft's own.
//! `cargo xtask setup` installs it; without it a test that wants it says `skipped`.

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::launched::{Launched, installed, skipped};
use super::stores::{BUCKET, StoreServer};

/// The account that every Azurite has, and its key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Linked to once all of it is installed.
const PROGRAM: &str = "node_modules/.bin/azurite-blob";
/// What it is started by.
const SERVER: &str = include_str!("azurite.js");

/// A running server; it ends when this is dropped.
pub struct Azurite {
    process: Launched,
    ahead: Mutex<Duration>,
}

impl Azurite {
    /// `None` where there is none, which is said.
    pub fn start() -> Option<Self> {
        let has_node = Command::new("node").arg("--version").output().is_ok();
        let Some(program) = installed(PROGRAM).filter(|_| has_node) else {
            skipped("Azurite");
            return None;
        };
        // The link's target says where the rest of it is.
        let main = program.canonicalize().unwrap();
        let process = Launched::start(|clock| {
            let mut command = Command::new("node");
            command.args(["-e", SERVER]).arg(clock).arg(main).args([ACCOUNT, KEY, BUCKET]);
            command
        });
        Some(Self { process, ahead: Mutex::default() })
    }
}

impl StoreServer for Azurite {
    fn scheme(&self) -> &'static str {
        "az"
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ("AZURE_ENDPOINT", format!("http://{}/{ACCOUNT}", self.process.address)),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    fn advance(&self, time: Duration) {
        let mut ahead = self.ahead.lock().unwrap();
        *ahead += time;
        self.process.set_ahead(*ahead);
    }

    fn refuse_removals(&self, refuses: bool) {
        self.process.set_flag("append-only", refuses);
    }
}
