//! Enumerations with a number on the wire and a name for people.

/// Declares an enumeration: each variant with its number and its text.
///
/// Generates `ALL`, `from_wire`, `to_wire`, `name` and `Display`, which writes the name.
///
/// ```
/// snapless_types::numbered_enum! {
///     /// A direction.
///     pub enum Direction: u16 {
///         /// Towards the disk.
///         Down = 1 => "down",
///         /// Away from it.
///         Up = 2 => "up",
///     }
/// }
/// assert_eq!(Direction::from_wire(2), Some(Direction::Up));
/// assert_eq!(Direction::from_wire(3), None);
/// assert_eq!((Direction::Down.to_wire(), Direction::Down.name()), (1, "down"));
/// ```
#[macro_export]
macro_rules! numbered_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: $repr:ident {
            $($(#[$doc:meta])* $variant:ident = $number:literal => $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr($repr)]
        $vis enum $name {
            $($(#[$doc])* $variant = $number,)*
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value with this number; `None` if there is none.
            pub const fn from_wire(number: $repr) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The value's number.
            pub const fn to_wire(self) -> $repr {
                self as $repr
            }

            /// The value's text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
