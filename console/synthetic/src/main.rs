//! `snapless-console-synthetic`: a console over an estate that does not exist. For those who work
//! on the page, and for the tests of the API.
#![forbid(unsafe_code)]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use snapless_console::accounts::Accounts;
use snapless_console::accounts::users::Users;
use snapless_console::model::{NewToken, Role, TokenName, UserName};
use snapless_console::serve::{self, Options};
use snapless_console::settings::Settings;
use snapless_console_synthetic::{Synthetic, certificate};

/// A console over an estate that does not exist.
#[derive(Parser)]
struct Arguments {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// How many volumes there are.
    #[arg(long, default_value_t = 1000)]
    volumes: u64,
    /// Requests a second of an address.
    #[arg(long, default_value_t = 1000)]
    requests_per_second: u32,
    /// The folder of accounts; a temporary one without this.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Makes a token of the API for an administrator, and writes its secret here.
    #[arg(long)]
    token: Option<PathBuf>,
    /// Writes the certificate here, in PEM.
    #[arg(long)]
    certificate: Option<PathBuf>,
}

/// The password of each user: nothing real is behind it.
const PASSWORD: &str = "snapless-synthetic";

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let folder = arguments.folder.unwrap_or_else(|| temporary.path().to_owned());
    let users = Users::new(&folder);
    for role in [Role::Viewer, Role::Operator, Role::Administrator] {
        users.set(&UserName::parse(role.name())?, role, PASSWORD)?;
    }
    if let Some(file) = arguments.token {
        let name = TokenName::parse("tests")?;
        let new = NewToken { name, role: Role::Administrator, valid_days: None };
        std::fs::write(file, Accounts::new(&folder).make_token(&new, "synthetic")?.secret)?;
    }
    let (tls, pem) = certificate()?;
    if let Some(file) = arguments.certificate {
        std::fs::write(file, pem)?;
    }
    let running = serve::start(
        arguments.listen,
        Options {
            estate: Arc::new(Synthetic::new(arguments.volumes)),
            folder,
            settings: Settings {
                requests_per_second: arguments.requests_per_second,
                ..Settings::default()
            },
            tls,
            machine: "synthetic".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    )?;
    println!("https://{}", running.address());
    println!("users viewer, operator, administrator; password {PASSWORD}");
    loop {
        std::thread::park();
    }
}
