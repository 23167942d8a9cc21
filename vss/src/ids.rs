//! The identities of the provider, which Windows knows it by. They never change.

use std::fmt;

/// A GUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(pub u128);

/// The provider, to VSS.
pub const PROVIDER: Id = Id(0xa1b5_c7e0_53d2_4f0e_9a63_7a4d_e2d7_b8c4);
/// Its version, to VSS: another one with each release that changes what it does.
pub const PROVIDER_VERSION: Id = Id(0xd0f7_c7b6_0d4a_4f7a_8f43_2b7f_1f0a_9e11);
/// Its COM class.
pub const CLASS: Id = Id(0x5e0a_7c2d_5b0c_4a0f_b8a6_3b1f_86cf_0d52);
/// The COM application of the class, which is the service.
pub const APPLICATION: Id = Id(0x9c2d_6f18_0e5b_4b0e_8d4c_6f8a_3c1e_7b20);
/// What VSS and COM call it.
pub const NAME: &str = "Snapless VSS provider";
/// Where VSS keeps what is registered with it, below `HKEY_LOCAL_MACHINE`.
pub const PROVIDERS_KEY: &str = r"SYSTEM\CurrentControlSet\Services\VSS\Providers";

/// As the registry has it: in braces.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
        let parts = parts.map(|part| digits.get(part).unwrap_or_default());
        write!(f, "{{{}}}", parts.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printed_as_the_registry_has_it() {
        assert_eq!(PROVIDER.to_string(), "{a1b5c7e0-53d2-4f0e-9a63-7a4de2d7b8c4}");
        assert_eq!(Id(1).to_string(), "{00000000-0000-0000-0000-000000000001}");
    }
}
