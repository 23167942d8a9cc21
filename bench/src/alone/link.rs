//! What TLS costs on the link between service and server, with both ends on this machine.
//!
//! The service's frames, full of records of 64 KiB, from one thread to another over TCP on the
//! loopback: every frame is made, checksummed, sent, received and verified. No disk is involved, so
//! that nothing hides the cost. `stored` measures the same with a server behind the link.

mod stored;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits};
use snapless_link::server::{Patience, ServerLink};
use snapless_link::tls::server::Arrival;
use snapless_trust::config::Purpose;
use snapless_trust::identity::Role;
use snapless_trust::keystore::Applicant;
use snapless_trust::rustls::ClientConfig;
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT};
use snapless_wire::frame::FrameKind;
use snapless_wire::record::RECORD_HEADER_LEN;

use crate::error::{Error, Result};

/// Bytes of a record's payload.
const RECORD_LEN: usize = 64 << 10;
/// Records of a frame: the service packs up to 4 MiB.
const RECORDS: usize = 60;
/// Bytes sent in each measurement.
const BYTES: usize = 1 << 30;

/// What one round measured, in bytes per second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Speeds {
    /// Over TCP.
    pub plain: f64,
    /// Over TLS on TCP.
    pub tls: f64,
    /// Over TCP, to a server that stores.
    pub stored_plain: f64,
    /// Over TLS on TCP, to a server that stores.
    pub stored_tls: f64,
}

/// Sends over both links in turn.
pub fn measure(rounds: usize) -> Result<Vec<Speeds>> {
    let folder = tempfile::tempdir().map_err(Error::Thread)?;
    let trust = ServerTrust::create(&folder.path().join("trust"), SystemTime::now())?;
    let trust = Arc::new(trust);
    let config = enrol(&trust)?;
    let payload = vec![0x5a; RECORDS * (RECORD_HEADER_LEN + RECORD_LEN)];
    let speed = |secure: bool| {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(LinkError::Lost)?;
        let address = listener.local_addr().map_err(LinkError::Lost)?.to_string();
        thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (stream, peer) = listener.accept().map_err(LinkError::Lost)?;
                let link = if secure {
                    match ServerLink::accept_tls(stream, peer, &trust, &|| false)? {
                        Arrival::Link { link, .. } => link,
                        Arrival::Answered => return Err(LinkError::Closed),
                    }
                } else {
                    ServerLink::accept(stream, peer)?
                };
                receive(link)
            });
            let limits = LinkLimits::default();
            let link = if secure {
                Link::connect_tls(&address, &limits, &config, &|| false)?
            } else {
                Link::connect(&address, &limits, &|| false)?
            };
            send(link, &payload)?;
            let joined =
                receiver.join().map_err(|_| Error::Sink("the receiver panicked".into()))?;
            Ok::<_, Error>(joined?)
        })
    };
    // In turn, so that neither is always the first.
    let both = |index: usize, speed: &dyn Fn(bool) -> Result<f64>| {
        let (first, second) = (speed(index % 2 == 1)?, speed(index.is_multiple_of(2))?);
        Ok::<_, Error>(if index % 2 == 1 { (second, first) } else { (first, second) })
    };
    let into_server = |secure: bool| stored::speed(&trust, secure.then_some(&config));
    let round = |index| {
        let (plain, tls) = both(index, &speed)?;
        let (stored_plain, stored_tls) = both(index, &into_server)?;
        Ok(Speeds { plain, tls, stored_plain, stored_tls })
    };
    (0..rounds).map(round).collect()
}

fn enrol(trust: &ServerTrust) -> Result<Arc<ClientConfig>> {
    let now = SystemTime::now();
    let grant = Grant { role: Role::Client, name: None, machine: None };
    let token = trust.make_token(&grant, LIFETIME_DEFAULT, now)?;
    let applicant = Applicant::new(&token, "bench", "loopback")?;
    let answer = trust.answer(&applicant.request, None, "loopback", now);
    Ok(applicant.accept(answer)?.config(Purpose::Link)?)
}

fn send(mut link: Link, payload: &[u8]) -> Result<()> {
    let mut sent = 0;
    while sent < BYTES {
        sent += link.sender.send(FrameKind::Records, payload)?;
    }
    link.sender.finish()?;
    // The receiver has everything when it closes.
    let _closed = link.receiver.receive();
    Ok(())
}

/// Receives all; the clock begins with the first frame.
#[allow(clippy::cast_precision_loss)]
fn receive(mut link: ServerLink) -> Result<f64, LinkError> {
    let (mut payload, mut bytes, mut begun) = (Vec::new(), 0, None);
    loop {
        match link.receive(Patience::Idle, &|| false, &mut payload) {
            Ok(_) if begun.is_none() => begun = Some(Instant::now()),
            Ok(_) => bytes += payload.len(),
            Err(LinkError::Closed) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes as f64 / begun.map_or(f64::INFINITY, |begun| begun.elapsed().as_secs_f64()))
}
