//! Gives the DLL its version resource.

fn main() {
    snapless_version_info::library("snapless-msi-action.dll", "Snapless setup for MSI");
}
