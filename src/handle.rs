//! A handle to what its clones share.

use std::{ops::Deref, sync::Arc};

/// What clones of a handle share, for as long as one of them is there; or, leaked, for as long as the program runs, and then
/// nobody counts them.
pub(crate) enum Handle<T: 'static> {
    Counted(Arc<T>),
    Leaked(&'static T),
}

impl<T> Handle<T> {
    pub(crate) fn new(shared: T) -> Self {
        Self::Counted(Arc::new(shared))
    }

    pub(crate) fn leak(self) -> Self {
        match self {
            Self::Counted(shared) => {
                let leaked: &'static Arc<T> = Box::leak(Box::new(shared));
                Self::Leaked(leaked)
            }
            leaked @ Self::Leaked(_) => leaked,
        }
    }
}

impl<T> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Counted(shared) => Self::Counted(Arc::clone(shared)),
            Self::Leaked(shared) => Self::Leaked(shared),
        }
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Counted(shared) => shared,
            Self::Leaked(shared) => shared,
        }
    }
}
