//! The only time there is: milliseconds that arrive in inputs.

/// A point on the persisted, monotone axis, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl Span {
    /// Whole seconds.
    pub const fn secs(seconds: u64) -> Span {
        Span(seconds * 1_000)
    }
}

impl At {
    /// This point moved later; saturates at the end of time.
    #[must_use]
    pub const fn plus(self, span: Span) -> At {
        At(self.0.saturating_add(span.0))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub const fn since(self, earlier: At) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}
