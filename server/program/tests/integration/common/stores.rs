//! Servers of object stores, as the tests use them: the real program beside them, and a look at
//! what is stored.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use snapless_server::format::session::SessionHeader;
use snapless_wire::id::FileTime;

use super::{Client, Driver, SECTOR, Said, Served, VOLUME};

/// A day, as records have it.
const DAY: u64 = 24 * 3_600 * FileTime::TICKS_PER_SECOND;

/// The one bucket of a server.
pub const BUCKET: &str = "bucket";

/// A running server with that bucket.
pub trait StoreServer {
    /// The scheme of its URLs.
    fn scheme(&self) -> &'static str;

    /// What a client is told by its environment.
    fn environment(&self) -> Vec<(&'static str, String)>;

    /// The server's clock goes on.
    fn advance(&self, time: Duration);

    /// From now on objects are removed or not, as by the rights of an append-only role.
    fn refuse_removals(&self, refuses: bool);

    /// The repository of a test.
    fn url(&self) -> String {
        format!("{}://{BUCKET}/some/prefix", self.scheme())
    }

    /// The program, with nothing in its environment but what this server wants.
    fn program(&self) -> Command {
        let mut command = super::program();
        let of_stores = |name: &str| {
            ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|beginning| name.starts_with(beginning))
        };
        for (name, _) in std::env::vars().filter(|(name, _)| of_stores(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment());
        command
    }

    /// A command on the repository.
    fn at(&self, args: &[&str]) -> Command {
        let mut command = self.program();
        command.args(args).args(["--repository", &self.url()]);
        command
    }

    /// Runs a command on the repository, which must succeed; returns what it prints.
    #[track_caller]
    fn ran(&self, args: &[&str]) -> String {
        done(&self.at(args).output().unwrap())
    }

    /// The volume as it was at an instant.
    #[track_caller]
    fn restored(&self, at: &str) -> Vec<u8> {
        let (dir, volume) = (super::scratch(), VOLUME.to_string());
        let image = dir.path().join("volume.img");
        let mut command = self.at(&["restore", "--volume", &volume, "--at", at]);
        done(&command.arg("--to").arg(&image).output().unwrap());
        std::fs::read(&image).unwrap()
    }

    /// A server that listens, with further arguments.
    fn serve(&self, more: &[&str]) -> Served {
        let mut command = self.at(&["serve", "--insecure", "--listen", "127.0.0.1:0"]);
        let mut child =
            command.args(more).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect(&line).parse().unwrap();
        Served { child, address }
    }

    /// Makes the repository, and stores a stream with an epoch every six hours in it, which goes
    /// on. The server has had its session for two months.
    fn stored(&self, epochs: u8) -> (Driver, Client, Served) {
        done(&self.program().args(["init", &self.url()]).output().unwrap());
        let mut driver = Driver { tick: DAY / 4, ..Driver::default() };
        let process = self.serve(&[]);
        let (mut client, ..) = Client::resume(process.address);
        client.records(&driver.first_sync());
        for number in 0..epochs {
            client.records(&[driver.write(0, SECTOR, number), driver.epoch_end()].concat());
        }
        let epoch = u64::from(epochs) + 1;
        while client.hear() != (Said::Acknowledge { epoch, seq: driver.seq }) {}
        // A session is never older than the server has had it.
        self.change("/session.snapless", &|bytes| {
            let header = SessionHeader::read(bytes).unwrap();
            let created = FileTime::new(header.created.get() - 60 * DAY);
            SessionHeader { created, ..header }.to_bytes().to_vec()
        });
        (driver, client, process)
    }

    /// The bucket, without the program.
    fn objects(&self) -> Arc<dyn ObjectStore> {
        /// A builder of a client, told of the environment.
        macro_rules! built {
            ($builder:expr) => {{
                let environment = self.environment().into_iter();
                let told = environment.fold($builder, |builder, (name, value)| {
                    builder.with_config(name.to_lowercase().parse().unwrap(), value)
                });
                Arc::new(told.build().unwrap())
            }};
        }
        match self.scheme() {
            "s3" => built!(AmazonS3Builder::new().with_bucket_name(BUCKET)),
            "az" => built!(MicrosoftAzureBuilder::new().with_container_name(BUCKET)),
            "gs" => built!(GoogleCloudStorageBuilder::new().with_bucket_name(BUCKET)),
            other => panic!("{other}"),
        }
    }

    /// The names of all objects, in order.
    fn names(&self) -> Vec<String> {
        let listed = wait(self.objects().list(None).try_collect::<Vec<_>>()).unwrap();
        let mut names: Vec<_> = listed.into_iter().map(|it| it.location.to_string()).collect();
        names.sort();
        names
    }

    /// Changes the content of the one object whose name ends like this.
    fn change(&self, ending: &str, change: &dyn Fn(&[u8]) -> Vec<u8>) {
        let names: Vec<_> =
            self.names().into_iter().filter(|name| name.ends_with(ending)).collect();
        let [name] = &names[..] else { panic!("{names:?} end with {ending}") };
        let (objects, at) = (self.objects(), ObjectPath::from(name.as_str()));
        let content = wait(async { objects.get(&at).await.unwrap().bytes().await.unwrap() });
        self.put(name, &change(&content));
    }

    /// Stores an object, whatever is there.
    fn put(&self, name: &str, content: &[u8]) {
        let objects = self.objects();
        let content = PutPayload::from(content.to_vec());
        wait(async { objects.put(&ObjectPath::from(name), content).await }).unwrap();
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a command printed that must have succeeded.
#[track_caller]
pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command said that must have failed.
#[track_caller]
pub fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
