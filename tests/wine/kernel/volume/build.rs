//! Hands the linker what a WDM driver needs (entry point, subsystem, import libraries).

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_binary_build()
}
