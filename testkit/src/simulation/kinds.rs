//! Enumerations whose variants have a name and a description.

/// Defines an enumeration: each variant has a name for tables and the command line, and its
/// documentation is its description in tables.
macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[doc = $meaning])+ $variant,)* }

        impl $kind {
            /// All variants.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name in tables and on the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The description, a sentence or two.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii(),)* }
            }
        }

        impl std::str::FromStr for $kind {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
                let names = || Self::ALL.map(Self::as_str).join(", ");
                found.ok_or_else(|| format!("{name} is none of {}", names()))
            }
        }
    };
}

pub(crate) use kinds;
