//! What is wrong with a run, and which property says so.
//!
//! The name of the property is what two findings are compared by: their texts tell of the world they were found in.

use std::fmt;

macro_rules! properties {
    ($($(#[$doc:meta])* $property:ident = $name:literal;)*) => {
        /// What a run is judged by.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Property { $($(#[$doc])* $property,)* }

        impl Property {
            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$property => $name,)* }
            }
        }
    };
}

properties! {
    /// See `property::linearizable`.
    Linearizable = "linearizable";
    /// See `property::durable`.
    Durable = "durable";
    /// See `property::lag`.
    Lag = "lag";
    /// See `property::replicas_equal`.
    ReplicasEqual = "replicas_equal";
    /// See `property::difference_covered`.
    DifferenceCovered = "difference_covered";
    /// See `property::one_history`.
    OneHistory = "one_history";
    /// See `property::lease`.
    Lease = "lease";
    /// See `property::answered_once`.
    AnsweredOnce = "answered_once";
    /// See `property::liveness`.
    Liveness = "liveness";
    /// See `property::size`.
    Size = "size";
    /// See `property::small_state_equal`.
    SmallStateEqual = "small_state_equal";
    /// See `property::whole`.
    Whole = "whole";
    /// See `survivor`: a node that is left alone for good answers everything.
    Survivor = "survivor";
    /// See `property::metadata`.
    Metadata = "metadata";
    /// What the nodes assert, and the parts of the world that they use.
    Assertion = "assertion";
    /// See `property::repeatable`.
    Repeatable = "repeatable";
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Who says so.
    pub property: Property,
    /// What, in words.
    pub text: String,
}

impl Finding {
    /// What that property says.
    #[must_use]
    pub fn new(property: Property, text: impl ToString) -> Self {
        Self { property, text: text.to_string() }
    }

    /// The same, with the volume that it is about.
    #[must_use]
    pub fn of_volume(self, volume: usize) -> Self {
        Self { text: format!("volume {volume}: {}", self.text), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.text)
    }
}
