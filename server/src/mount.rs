//! Serves one point over NBD, to several clients at once. What they write, if they may, goes with
//! the mount.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`listen`] | the socket that clients find, and who may open it |
//! | [`image`] | a point as a disk |
//! | [`overlay`] | what clients have written over it |
//!
//! Neither encrypts nor asks who a client is: the socket is one that only this machine reaches.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use log::{debug, warn};
use snapless_nbd::{Access, Disk, Export, Stream, shake_hands};

use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::point::{PointMap, PointReader};
use crate::stop::StopFlag;

mod image;
mod listen;
mod overlay;
#[cfg(unix)]
mod socket;

use image::Image;
use listen::{Accept, Listener};
pub use listen::{Address, Wake};
use overlay::Overlay;

/// Clients at a time. A client may use several connections, each of which counts.
const CLIENTS_MAX: usize = 32;
/// A rest after a connection that could not be accepted.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A point that is being served.
#[derive(Debug)]
pub struct Mount {
    listener: Listener,
    export: Export,
    image: PointReader,
    /// Where what clients write goes; `None` if they may not.
    overlay: Option<File>,
    stop: StopFlag,
    failure: Arc<OnceLock<Error>>,
}

/// Ends a mount.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: StopFlag,
    wake: Wake,
}

impl Mount {
    /// Listens at an address, to serve an image of this session, for reading only or with an empty
    /// file over it.
    ///
    /// # Errors
    /// [`crate::error::Error::MountAddress`] for an address that other machines reach,
    /// [`crate::error::Error::Listen`].
    pub fn bind(
        address: &Address,
        session: &SessionHeader,
        image: PointReader,
        overlay: Option<File>,
    ) -> Result<Self> {
        let export = Export {
            name: session.volume.to_string(),
            length: image.map().length(),
            sector: session.geometry.sector_size(),
            access: if overlay.is_some() { Access::Write } else { Access::Read },
            tells_allocation: overlay.is_none(),
        };
        let listener = Listener::bind(address)?;
        let (stop, failure) = (StopFlag::default(), Arc::default());
        Ok(Self { listener, export, image, overlay, stop, failure })
    }

    /// Where clients find it; with the real port if port 0 was asked for.
    pub fn address(&self) -> &Address {
        self.listener.address()
    }

    /// The map of what is served.
    pub fn map(&self) -> &PointMap {
        self.image.map()
    }

    /// The name of the export.
    pub fn export(&self) -> &str {
        &self.export.name
    }

    /// What a client calls on Linux: to attach it as a device, and to make an image of it.
    pub fn commands(&self) -> [String; 2] {
        let (address, export) = (self.address(), self.export());
        let place = match address {
            Address::Tcp(address) => format!("{} {}", address.ip(), address.port()),
            Address::Unix(path) => format!("-unix '{}'", path.display()),
        };
        let access = if self.overlay.is_some() { "" } else { " -readonly" };
        let uri = address.uri(export);
        [
            format!("nbd-client {place} /dev/nbd0{access} -name {export}"),
            format!("qemu-img convert -p -O qcow2 '{uri}' volume.qcow2"),
        ]
    }

    /// A handle that ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper { stop: self.stop.clone(), wake: self.listener.wake() }
    }

    /// Where the first error of a read goes.
    pub(crate) fn failure(&self) -> Arc<OnceLock<Error>> {
        Arc::clone(&self.failure)
    }

    /// Serves until it is ended; returns when the last client has gone.
    pub fn run(mut self) {
        let overlay = self.overlay.take();
        let image = Image::new(&self.image, &self.failure);
        match overlay {
            None => self.serve(&image),
            Some(file) => self.serve(&Overlay::new(image, self.export.length, file)),
        }
    }

    fn serve(&self, disk: &impl Disk) {
        match &self.listener {
            Listener::Tcp(listener, _) => self.serve_at(listener, disk),
            #[cfg(unix)]
            Listener::Unix(listener, _) => self.serve_at(listener, disk),
        }
    }

    fn serve_at<L: Accept>(&self, listener: &L, disk: &impl Disk)
    where
        for<'s> &'s L::Stream: Read + Write,
    {
        thread::scope(|scope| {
            let mut clients = Vec::new();
            while !self.stop.is_set() {
                let accepted = listener.accept();
                if self.stop.is_set() {
                    break;
                }
                clients.retain(|(thread, _): &(thread::ScopedJoinHandle<'_, ()>, _)| {
                    !thread.is_finished()
                });
                if clients.len() >= CLIENTS_MAX {
                    warn!("a client is turned away: there are {CLIENTS_MAX} connections");
                    continue;
                }
                let begun = accepted.and_then(|stream| {
                    let handle = stream.another()?;
                    let export = &self.export;
                    let client = move || {
                        tell(client(&stream, export, disk));
                        // The other handle keeps it open.
                        stream.shut_down();
                    };
                    Ok((thread::Builder::new().spawn_scoped(scope, client)?, handle))
                });
                match begun {
                    Ok(client) => clients.push(client),
                    Err(error) => {
                        warn!("a client is turned away: {error}");
                        thread::sleep(ACCEPT_REST);
                    }
                }
            }
            for (_, handle) in &clients {
                handle.shut_down();
            }
        });
    }
}

impl Stopper {
    /// Ends the mount; its clients get errors.
    pub fn stop(&self) {
        self.stop.set();
        self.wake.wake();
    }
}

fn client<S: Stream>(stream: &S, export: &Export, disk: &impl Disk) -> io::Result<()>
where
    for<'s> &'s S: Read + Write,
{
    let Some(agreed) = shake_hands(stream, std::slice::from_ref(export))? else { return Ok(()) };
    debug!("a client has come: {agreed:?}");
    snapless_nbd::serve(stream, export, agreed, disk)
}

fn tell(ended: io::Result<()>) {
    match ended {
        Ok(()) => debug!("a client has gone"),
        Err(error) => warn!("a client's connection is closed: {error}"),
    }
}
