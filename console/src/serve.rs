//! Connections and TLS: HTTP/1.1 over TLS and nothing else.
//!
//! A connection must complete its handshake and send each request's head in time, and there are so
//! many at once, in all and of one address.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::api::{self, Console, Parts};
use crate::counts::{Counts, Limits};
use crate::estate::Estate;
use crate::fault::Fault;
use crate::guard::{Peer, address};
use crate::notify::Notifier;
use crate::settings::Settings;

/// Connections at once, and of one address.
const CONNECTIONS_MAX: Limits = Limits { all: 512, of_one: 64 };
/// The longest handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The longest time until a request's head is there, also for the next one of a connection.
const HEAD_LIMIT: Duration = Duration::from_secs(20);
/// The longest head.
const HEAD_MAX: usize = 32 << 10;
/// Threads of requests.
const THREADS: usize = 2;
/// Threads that wait for the estate, for downloads and for mail.
const BLOCKING_THREADS: usize = 24;
/// Pause after the system failed to accept a connection.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// Answers that are under way when the console is stopped get so long.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// What a console serves, and where.
pub struct Options {
    /// What it shows.
    pub estate: Arc<dyn Estate>,
    /// The folder of accounts, [`crate::accounts::ACCOUNTS_DIR`].
    pub folder: PathBuf,
    /// The settings.
    pub settings: Settings,
    /// Certificate and key.
    pub tls: Arc<ServerConfig>,
    /// This machine's name.
    pub machine: String,
    /// The release of the server.
    pub version: String,
}

/// A console that listens.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    console: Arc<Console>,
    thread: Option<JoinHandle<()>>,
}

/// Listens on `address` and serves on threads of its own.
///
/// # Errors
/// The address cannot be listened on, or a thread cannot be started.
pub fn start(address: SocketAddr, options: Options) -> io::Result<Running> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("console")
        .enable_all()
        .build()?;
    let (stop, stopped) = watch::channel(false);
    let Options { estate, folder, settings, tls, machine, version } = options;
    let notifier = {
        let _within = runtime.enter();
        Notifier::start(&settings, &machine)
    };
    let parts = Parts {
        estate,
        folder: &folder,
        settings,
        machine: &machine,
        version,
        stopped: stopped.clone(),
    };
    let console = Arc::new(Console::new(parts).map_err(io::Error::other)?);
    runtime.spawn(Arc::clone(&console).run_watch(notifier));
    let router = api::router(Arc::clone(&console));
    let thread = thread::Builder::new().name("console listener".to_owned()).spawn(move || {
        runtime.block_on(listen(listener, tls, router, stopped));
        runtime.shutdown_timeout(STOP_LIMIT);
    })?;
    Ok(Running { address, stop, console, thread: Some(thread) })
}

impl Running {
    /// The address that it listens on; if port 0 was asked for, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True if nobody can sign in yet.
    ///
    /// # Errors
    /// The accounts cannot be read.
    pub fn has_no_users(&self) -> Result<bool, Fault> {
        self.console.accounts().is_empty()
    }
}

impl Drop for Running {
    /// Stops the jobs, the streams and the listener, and waits for them.
    fn drop(&mut self) {
        self.console.jobs().stop_all();
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn listen(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            log::error!("the console does not listen: {error}");
            return;
        }
    };
    let acceptor = TlsAcceptor::from(tls);
    let counts = Counts::new(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // A connection that is one too many is closed at once.
                if let Some(counted) = counts.add(address(peer.ip())) {
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    tokio::spawn(async move {
                        let _counted = counted;
                        serve(stream, peer, acceptor, router).await;
                    });
                }
            }
            Err(error) => {
                log::warn!("the console cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, router: Router) {
    // Without it each small event may wait for the one before.
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("console: {peer}: {error}");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            log::debug!("console: {peer}: no TLS: {error}");
            return;
        }
        Err(_) => {
            log::debug!("console: {peer}: the handshake took too long");
            return;
        }
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("console: {peer}: {error}");
    }
}
