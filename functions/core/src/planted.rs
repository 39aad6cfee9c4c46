//! Defects that are put in on purpose, so that tests can show that they would be found.
//!
//! Each stands behind a cargo feature of its own and is besides switched on at run time, one at a time, so that one build
//! serves for all. Without the feature the switch is a constant and the defect is not in the program. A build without
//! debug assertions, which every release is, refuses all of them.

pub(crate) mod slip;

#[cfg(all(feature = "switched", not(debug_assertions)))]
compile_error!("a release build takes no planted defects");

/// Whether a planted defect is in this build and switched on.
#[macro_export]
macro_rules! planted {
    ($name:tt) => {
        cfg!(feature = $name) && $crate::planted::is_on($name)
    };
}

#[cfg(feature = "switched")]
mod switch {
    use std::cell::Cell;
    use std::sync::{PoisonError, RwLock};

    thread_local! {
        static HERE: Cell<Option<&'static str>> = const { Cell::new(None) };
    }
    static EVERYWHERE: RwLock<Option<&'static str>> = RwLock::new(None);

    /// Whether the defect is switched on, in this thread or everywhere.
    #[must_use]
    pub fn is_on(name: &str) -> bool {
        let everywhere = || *EVERYWHERE.read().unwrap_or_else(PoisonError::into_inner) == Some(name);
        HERE.get() == Some(name) || everywhere()
    }

    /// Switches one defect on in this thread alone, and every other off.
    pub fn set_here(name: Option<&'static str>) {
        HERE.set(name);
    }

    /// Switches one defect on in every thread, and every other off.
    pub fn set_everywhere(name: Option<&'static str>) {
        *EVERYWHERE.write().unwrap_or_else(PoisonError::into_inner) = name;
    }
}

#[cfg(feature = "switched")]
pub use switch::{is_on, set_everywhere, set_here};

/// Nothing is planted in this build.
#[cfg(not(feature = "switched"))]
#[must_use]
pub const fn is_on(_: &str) -> bool {
    false
}
