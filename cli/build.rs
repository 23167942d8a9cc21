//! Gives `snapless.exe` its version resource.

fn main() {
    snapless_version_info::program("snapless.exe", "Snapless command line");
}
