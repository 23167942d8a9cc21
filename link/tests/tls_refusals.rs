//! Who is refused at the door, and what each end is told.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use snapless_link::client::{Link, LinkLimits};
use snapless_link::socket::{Socket, TcpLimits};
use snapless_link::stream::RECEIVE_STEP;
use snapless_link::tls::TlsError;
use snapless_link::tls::enrol::{enrol, renew};
use snapless_link::tls::handshake::{self, Patience};
use snapless_link::tls::server::Arrival;
use snapless_trust::config::LINK;
use snapless_trust::config::Purpose;
use snapless_trust::identity::Validity;
use snapless_trust::keystore::Applicant;
use snapless_trust::revocation::Subject;
use snapless_types::Geometry;
use snapless_wire::frame::Hello;
use snapless_wire::id::{SessionId, VolumeGuid};
use support::{DAY, Site, config_of, connect, issued, never, sockets, told, valid_now};

const TCP: TcpLimits = TcpLimits {
    send: Duration::from_secs(5),
    probe_after: Duration::from_secs(15),
    probe_interval: Duration::from_secs(5),
    probes: None,
};

fn hello() -> Hello {
    let geometry = Geometry::new(1 << 20, 512, 65_536).unwrap();
    Hello::new(VolumeGuid([1; 16]), SessionId([2; 16]), &geometry)
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let (site, other) = (Site::new(), Site::new());
    let serving = other.serve_one();
    let config = site.machine().config(Purpose::Link).unwrap();
    let error = connect(serving.address, &config).unwrap_err().to_string();
    assert!(error.contains("another authority"), "{error}");
    assert!(serving.end().is_err());
}

#[test]
fn a_machine_of_another_authority_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    let foreign = issued(other.trust.authority(), valid_now());
    let serving = site.serve_one();
    let text = told(serving.address, &config_of(site.trust.authority(), Some(foreign), LINK));
    assert!(text.contains("another authority") && text.contains("enroll"), "{text}");
    let why = serving.refusal();
    assert!(why.contains("another authority"), "{why}");
}

#[test]
fn an_expired_certificate_and_one_that_is_not_valid_yet_are_refused() {
    let site = Site::new();
    let now = SystemTime::now();
    for validity in [
        Validity { from: now - DAY * 2, to: now - DAY },
        Validity { from: now + DAY, to: now + DAY * 2 },
    ] {
        let shown = issued(site.trust.authority(), validity);
        let serving = site.serve_one();
        let text = told(serving.address, &config_of(site.trust.authority(), Some(shown), LINK));
        assert!(text.contains("expired or is not valid yet"), "{text}");
        assert!(serving.refusal().contains("expired or is not valid yet"));
    }
}

#[test]
fn a_revoked_machine_is_refused_and_told_what_to_do() {
    let site = Site::new();
    let machine = site.machine();
    let id = machine.certified.identity.machine;
    site.trust.revoke(&Subject::Machine(id), SystemTime::now()).unwrap();
    let serving = site.serve_one();
    let text = told(serving.address, &machine.config(Purpose::Link).unwrap());
    assert!(text.contains("revoked") && text.contains("enroll --force"), "{text}");
    assert!(serving.refusal().contains("revoked"));
}

#[test]
fn a_machine_without_a_certificate_is_refused() {
    let site = Site::new();
    let serving = site.serve_one();
    let text = told(serving.address, &config_of(site.trust.authority(), None, LINK));
    assert!(text.contains("asks for a certificate"), "{text}");
    assert!(serving.refusal().contains("no certificate"));
}

#[test]
fn a_machine_cannot_pose_as_the_server() {
    let site = Site::new();
    let (certificate, key) = issued(site.trust.authority(), valid_now());
    let provider = snapless_trust::rustls::crypto::aws_lc_rs::default_provider();
    let config = snapless_trust::rustls::ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&snapless_trust::rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (near, mut far) = sockets();
    let impostor = thread::spawn(move || {
        let mut connection = snapless_trust::rustls::ServerConnection::new(config.into()).unwrap();
        while connection.complete_io(&mut far).is_ok() && connection.is_handshaking() {}
    });
    let near = Socket::new(near, &TCP).unwrap();
    let config = site.machine().config(Purpose::Link).unwrap();
    let refused = Link::secure(near, &config, &never).unwrap_err().to_string();
    assert!(refused.contains("cannot be taken"), "{refused}");
    impostor.join().unwrap();
}

#[test]
fn a_service_without_tls_is_told_in_words() {
    let site = Site::new();
    let serving = site.serve_one();
    let limits = LinkLimits::default();
    let mut link = Link::connect(&serving.address.to_string(), &limits, &|| false).unwrap();
    let text = link.greet(&hello(), &limits, &|| false).unwrap_err().to_string();
    assert!(text.contains("TLS only") && text.contains("snapless enroll"), "{text}");
    assert!(serving.refusal().contains("does not speak TLS"));
}

#[test]
fn a_server_without_tls_is_named() {
    let site = Site::new();
    let (near, mut far) = sockets();
    far.write_all(b"SLFR\x01\0\x05\0\0\0\0\0\0\0\0\0").unwrap();
    let near = Socket::new(near, &TCP).unwrap();
    let config = site.machine().config(Purpose::Link).unwrap();
    let text = Link::secure(near, &config, &never).unwrap_err().to_string();
    assert!(text.contains("does not speak TLS") && text.contains("--insecure"), "{text}");
}

#[test]
fn tls_1_2_is_refused() {
    let site = Site::new();
    let serving = site.serve_one();
    let mut socket = TcpStream::connect(serving.address).unwrap();
    // A ClientHello of TLS 1.2: one suite, ECDHE-ECDSA-AES128-GCM-SHA256, and the extensions
    // `supported_groups`, `signature_algorithms` and ALPN.
    let extensions: Vec<u8> = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 16, 0, 13, 0, 11, 10],
        LINK,
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(&extensions);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    let record = u16::try_from(message.len()).unwrap().to_be_bytes();
    socket.write_all(&[&[0x16, 3, 1], &record[..], &message].concat()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70], "an alert: protocol version");
    let why = serving.refusal();
    assert!(why.contains("TLS 1.3"), "{why}");
}

#[test]
fn another_protocol_over_tls_is_refused() {
    let site = Site::new();
    let shown = || Some(issued(site.trust.authority(), valid_now()));
    let serving = site.serve_one();
    let text = told(serving.address, &config_of(site.trust.authority(), shown(), b"h2"));
    assert!(text.contains("not Snapless' protocol"), "{text}");
    assert!(serving.refusal().contains("not Snapless' protocol"));
}

/// How long a server that allows 300 ms keeps a connection on which `client` does this.
fn kept(client: impl FnOnce(TcpStream) + Send + 'static) -> (Duration, TlsError) {
    let site = Site::new();
    let (near, far) = sockets();
    let far = Socket::new(far, &TCP).unwrap();
    let client = thread::spawn(move || client(near));
    let begun = Instant::now();
    let patience = Patience { limit: Duration::from_millis(300), cancelled: &never };
    let error = handshake::accept(far, &site.trust, &patience).unwrap_err();
    let elapsed = begun.elapsed();
    client.join().unwrap();
    (elapsed, error)
}

#[test]
fn a_half_open_and_a_dripping_handshake_end_within_the_limit() {
    let (elapsed, error) = kept(|mut near| {
        near.read_exact(&mut [0]).unwrap_err();
    });
    assert!(matches!(error, TlsError::Slow(_)), "{error}");
    // The limit, a step, and the time in which the other end may take the reason.
    let most = Duration::from_millis(300) + RECEIVE_STEP + Duration::from_millis(1500);
    assert!(elapsed < most, "{elapsed:?}");

    let (elapsed, error) = kept(|mut near| {
        // The head of a handshake message that never ends, a byte at a time.
        near.write_all(&[0x16, 3, 1, 0x10, 0, 1, 0, 0x0f]).unwrap();
        while near.write_all(&[1]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(matches!(error, TlsError::Slow(_)), "{error}");
    assert!(elapsed < most, "{elapsed:?}");
}

#[test]
fn a_connection_that_closes_at_once_is_a_cut() {
    let (_, error) = kept(drop);
    assert!(matches!(error, TlsError::Cut | TlsError::Lost(_)), "{error}");
}

#[test]
fn a_machine_enrols_over_the_network_sends_and_renews() {
    let site = Site::new();
    let limits = LinkLimits::default();
    let serving = site.serve_one();
    let address = serving.address.to_string();
    let applicant = Applicant::new(&site.token(), "web-1", &address).unwrap();
    let machine = enrol(applicant, &address, &limits).unwrap();
    assert!(matches!(serving.end().unwrap(), Arrival::Answered));

    let serving = site.serve_one();
    let renewed = renew(&machine, &serving.address.to_string(), &limits, &never).unwrap();
    assert!(matches!(serving.end().unwrap(), Arrival::Answered));
    assert_eq!(renewed.certified.identity, machine.certified.identity);

    for credentials in [machine, renewed] {
        let serving = site.serve_one();
        let _link = connect(serving.address, &credentials.config(Purpose::Link).unwrap()).unwrap();
        assert_eq!(serving.link().1, credentials.certified);
    }
}

#[test]
fn a_replayed_token_is_refused_in_words() {
    let site = Site::new();
    let token = site.token();
    let mut outcomes = (0..2).map(|_| {
        let serving = site.serve_one();
        let address = serving.address.to_string();
        let applicant = Applicant::new(&token, "a", &address).unwrap();
        enrol(applicant, &address, &LinkLimits::default())
    });
    assert!(outcomes.next().unwrap().is_ok());
    let text = outcomes.next().unwrap().unwrap_err().to_string();
    assert!(text.contains("used before"), "{text}");
}

#[test]
fn a_token_is_not_sent_to_another_server_than_its_own() {
    let (site, impostor) = (Site::new(), Site::new());
    let token = site.token();
    let serving = impostor.serve_one();
    let address = serving.address.to_string();
    let applicant = Applicant::new(&token, "a", &address).unwrap();
    let text = enrol(applicant, &address, &LinkLimits::default()).unwrap_err().to_string();
    assert!(text.contains("another authority"), "{text}");
    // The handshake failed: no byte of the request arrived.
    assert!(serving.end().is_err());
}

#[test]
fn a_revoked_machine_cannot_renew() {
    let site = Site::new();
    let machine = site.machine();
    let subject = Subject::Machine(machine.certified.identity.machine);
    site.trust.revoke(&subject, SystemTime::now()).unwrap();
    let serving = site.serve_one();
    let address = serving.address.to_string();
    let error = renew(&machine, &address, &LinkLimits::default(), &never).unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");
}
