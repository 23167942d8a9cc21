//! Links `snapless.sys` as the WDK links a KMDF driver, from `package.metadata.wdk` in
//! `Cargo.toml`.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()
}
