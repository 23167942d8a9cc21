//! The manifest of the service's performance counters. The setup brings it along, puts it beside
//! the programs, and has Windows register what it lists (`lodctr`).

/// The manifest.
pub const MANIFEST: &str = include_str!("../../service/snapless-counters.man");
/// Its file, beside the programs: what is registered is what it says.
pub const MANIFEST_FILE: &str = "snapless-counters.man";
/// The GUID of the provider in it.
pub const PROVIDER: &str = "{6b7572b3-cc9d-406e-bc1a-0b7b9ca85976}";
/// The GUIDs of its sets.
pub const SETS: [&str; 2] =
    ["{a2fe422f-8c63-4c10-a3d2-15385a78834d}", "{0ab08725-5c9a-4ba7-b6dc-911d7823591a}"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::SERVICE_PROGRAM;

    #[test]
    fn the_manifest_is_of_this_provider_these_sets_and_the_services_program() {
        let values = |name: &str| {
            let attribute = format!(" {name}=\"");
            let behind = MANIFEST.split(&attribute).skip(1);
            behind.filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>()
        };
        assert_eq!(values("providerGuid"), [PROVIDER]);
        assert_eq!(values("guid"), SETS);
        assert_eq!(values("applicationIdentity"), [SERVICE_PROGRAM]);
    }
}
