//! The names of what is installed.

/// The driver: its service, its entry in lists of filters, and its file without `.sys`.
pub const DRIVER: &str = "snapless";
/// The driver's service while it is tried: it starts on demand and is no filter.
pub const TRIAL: &str = "snapless-trial";
/// The service.
pub const SERVICE: &str = "SnaplessService";
/// The service's display name.
pub const SERVICE_DISPLAY: &str = "Snapless service";
/// The service's program.
pub const SERVICE_PROGRAM: &str = "snapless-service.exe";
/// The command line.
pub const COMMAND_LINE: &str = "snapless.exe";
/// The provider, as the INF names it.
pub const PROVIDER: &str = "Snapless";
/// The driver's INF.
pub const INF: &str = "snapless.inf";
