//! Links `snapless.sys` as the WDK links a KMDF driver, from `package.metadata.wdk` in
//! `Cargo.toml`, with a version resource.

fn main() -> Result<(), wdk_build::ConfigError> {
    snapless_version_info::driver("snapless.sys", "Snapless volume filter");
    wdk_build::configure_wdk_binary_build()
}
