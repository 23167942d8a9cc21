//! Gives `snapless-service.exe` its version resource.

fn main() {
    snapless_version_info::program("snapless-service.exe", "Snapless service");
}
