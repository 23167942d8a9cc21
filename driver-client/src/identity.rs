//! Making identities, and carrying them through JSON as the text that people see.
//!
//! Rule: a session's identity is random and never reused; a volume that Windows gave no GUID gets
//! the same one for its device name every time.

use snapless_wire::id::{AreaId, SessionId, VolumeGuid};
use uuid::Uuid;

/// Namespace of the GUIDs that stand for volumes known by a device name only. Fixed for ever:
/// another value would make the server take every such volume for a new one.
const DEVICE_NAMESPACE: Uuid = Uuid::from_u128(0x5b0e_6d53_7c0f_4a53_9d5a_6f2b_0c1e_84a7);

/// A fresh random session identity.
pub fn random_session() -> SessionId {
    SessionId(Uuid::new_v4().to_bytes_le())
}

/// A fresh random identity of a state area.
pub fn random_area() -> AreaId {
    AreaId(Uuid::new_v4().to_bytes_le())
}

/// A fresh random number, from the same source.
pub fn random_number() -> u64 {
    // The upper bits say that it is random.
    let (_, low) = Uuid::new_v4().as_u64_pair();
    low & (u64::MAX >> 2)
}

/// The GUID that stands for a volume without one: a name-based UUID of its device name, in lower
/// case as the object manager compares device names without case.
pub fn volume_of_device(device: &str) -> VolumeGuid {
    let name = device.to_ascii_lowercase();
    VolumeGuid(Uuid::new_v5(&DEVICE_NAMESPACE, name.as_bytes()).to_bytes_le())
}

/// Implements (de)serialization of an identity as its text form, for `#[serde(with = …)]`.
macro_rules! text_form {
    ($(#[$doc:meta])* $module:ident, $name:ident) => {
        $(#[$doc])*
        pub mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};
            use snapless_wire::id::$name;

            /// Writes the text form.
            pub fn serialize<S: Serializer>(id: &$name, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(id)
            }

            /// Reads the text form.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let text = String::deserialize(from)?;
                $name::parse(&text)
                    .ok_or_else(|| D::Error::custom(format!("`{text}` is not a GUID")))
            }
        }
    };
}

text_form! {
    /// Text form of a [`VolumeGuid`].
    volume_text, VolumeGuid
}
text_form! {
    /// Text form of a [`SessionId`].
    session_text, SessionId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_never_nil_and_never_the_same() {
        let (a, b) = (random_session(), random_session());
        assert!(!a.is_nil() && !b.is_nil());
        assert_ne!(a, b);
    }

    #[test]
    fn a_device_stands_for_the_same_volume_every_time() {
        let guid = volume_of_device(r"\Device\SnaplessTest0");
        assert_eq!(guid, volume_of_device(r"\DEVICE\snaplesstest0"));
        assert_ne!(guid, volume_of_device(r"\Device\SnaplessTest1"));
        // Pinned: servers know volumes by it.
        assert_eq!(guid.to_string(), PINNED_GUID);
    }

    const PINNED_GUID: &str = "ecd999e6-5779-5cbc-88a7-74d0cf921451";
}
