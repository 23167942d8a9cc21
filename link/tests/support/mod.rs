//! A server's trust, machines that have enrolled, and the two ends of a link on the loopback.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::missing_panics_doc, unreachable_pub, reason = "test code")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits};
use snapless_link::server::ServerLink;
use snapless_link::tls::server::Arrival;
use snapless_trust::authority::Authority;
use snapless_trust::config::Purpose;
use snapless_trust::identity::{Certified, Identity, MachineId, Role, Validity};
use snapless_trust::keystore::{Applicant, Credentials};
use snapless_trust::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use snapless_trust::rustls::{ClientConfig, RootCertStore, version};
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT, Token};

pub const DAY: Duration = Duration::from_hours(24);

pub fn never() -> bool {
    false
}

/// A server's trust.
pub struct Site {
    pub trust: Arc<ServerTrust>,
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trust = ServerTrust::create(&dir.path().join("trust"), SystemTime::now()).unwrap();
        Self { trust: Arc::new(trust), dir }
    }

    pub fn token(&self) -> Token {
        let grant = Grant { role: Role::Client, name: None, machine: None };
        self.trust.make_token(&grant, LIFETIME_DEFAULT, SystemTime::now()).unwrap()
    }

    /// A machine that has enrolled.
    pub fn machine(&self) -> Credentials {
        let applicant = Applicant::new(&self.token(), "machine", "here:1").unwrap();
        let answer = self.trust.answer(&applicant.request, None, "here", SystemTime::now());
        applicant.accept(answer).unwrap()
    }

    /// A server that takes one connection.
    pub fn serve_one(&self) -> Serving {
        let trust = Arc::clone(&self.trust);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (stream, peer) = listener.accept().unwrap();
            ServerLink::accept_tls(stream, peer, &trust, &never)
        });
        Serving { address, thread }
    }

    /// Both ends of a link of an enrolled machine.
    pub fn pair(&self) -> (Link, ServerLink, Certified) {
        let config = self.machine().config(Purpose::Link).unwrap();
        let serving = self.serve_one();
        let client = connect(serving.address, &config).unwrap();
        let (server, holder) = serving.link();
        (client, server, holder)
    }
}

/// A server that takes one connection.
pub struct Serving {
    pub address: SocketAddr,
    thread: JoinHandle<Result<Arrival, LinkError>>,
}

impl Serving {
    pub fn end(self) -> Result<Arrival, LinkError> {
        self.thread.join().unwrap()
    }

    pub fn link(self) -> (ServerLink, Certified) {
        match self.end().unwrap() {
            Arrival::Link { link, holder } => (link, holder),
            Arrival::Answered => panic!("no link"),
        }
    }

    /// Why it refused.
    pub fn refusal(self) -> String {
        self.end().unwrap_err().to_string()
    }
}

pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Link, LinkError> {
    Link::connect_tls(&address.to_string(), &LinkLimits::default(), config, &never)
}

/// What a machine is told that the server refuses, at its handshake or at its first receive.
pub fn told(address: SocketAddr, config: &Arc<ClientConfig>) -> String {
    let error = connect(address, config).and_then(|mut link| link.receiver.receive()).unwrap_err();
    error.to_string()
}

/// A key and a certificate that the authority issued for this time.
pub fn issued(
    authority: &Authority,
    validity: Validity,
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let machine = MachineId::random().unwrap();
    let identity = Identity { machine, role: Role::Client, name: "x".into() };
    let (certificate, _) = authority.issue_for(&identity, request.der(), validity).unwrap();
    (certificate, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

pub fn valid_now() -> Validity {
    let now = SystemTime::now();
    Validity { from: now - DAY, to: now + DAY }
}

/// Settings of a machine that trusts this authority and shows this certificate.
pub fn config_of(
    trusted: &Authority,
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    protocol: &[u8],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.certificate().clone()).unwrap();
    let provider = snapless_trust::rustls::crypto::aws_lc_rs::default_provider();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// A connected pair of plain sockets.
pub fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}
