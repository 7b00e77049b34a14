//! Named places on the way of an event at which a test can end the process. In programs they are nothing.

/// A place, in the order in which a batch passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The batch is made and nothing of it is written.
    BeforeWrite,
    /// Written to the file and not synced.
    #[cfg(test)]
    BeforeSync,
    /// Durable, and no ticket has resolved.
    AfterSync,
    /// The tickets have resolved, and no reply has left.
    BeforeRelease,
}

/// Ends the process if a test wants it to end here.
#[cfg(not(test))]
pub(crate) const fn pass(_: Place) {}

#[cfg(test)]
pub(crate) use armed::{is_due, pass};

#[cfg(test)]
pub(crate) mod armed {
    //! Reads from the environment of a child process where it is to end.

    use super::Place;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// `PLACE:NUMBER`: the process ends when it passes the place for the given time.
    pub(crate) const VARIABLE: &str = "TAFFRAIL_TEST_END_AT";

    static PASSED: AtomicU32 = AtomicU32::new(0);

    fn wanted() -> Option<&'static (String, u32)> {
        static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
        let read = || {
            let text = std::env::var_os(VARIABLE)?.into_string().ok()?;
            let (place, number) = text.split_once(':').expect("a place and a number");
            Some((place.to_owned(), number.parse().expect("a number")))
        };
        WANTED.get_or_init(read).as_ref()
    }

    /// Whether the process is to end at this pass.
    pub(crate) fn is_due(place: Place) -> bool {
        let wanted = wanted().filter(|(named, _)| *named == format!("{place:?}"));
        wanted.is_some_and(|(_, number)| PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *number)
    }

    pub(crate) fn pass(place: Place) {
        if is_due(place) {
            std::process::abort();
        }
    }
}
