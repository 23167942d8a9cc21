//! Gives `snapless-server.exe` its version resource.

fn main() {
    snapless_version_info::program("snapless-server.exe", "Snapless server");
}
