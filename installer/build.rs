//! Gives `snapless-setup.exe` its version resource.

fn main() {
    snapless_version_info::program("snapless-setup.exe", "Snapless setup");
}
