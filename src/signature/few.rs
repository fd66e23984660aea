//! One of something, mostly, and sometimes more.

/// A list that takes no memory of its own for one.
pub(super) enum Few<T> {
    One([T; 1]),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(super) const fn none() -> Self {
        Self::Many(Vec::new())
    }

    pub(super) const fn one(item: T) -> Self {
        Self::One([item])
    }

    /// What `make` makes of each.
    pub(super) fn of<S>(all: &[S], make: impl Fn(&S) -> T) -> Self {
        match all {
            [only] => Self::one(make(only)),
            all => Self::Many(all.iter().map(make).collect()),
        }
    }

    pub(super) fn push(&mut self, item: T) {
        let many = match std::mem::replace(self, Self::none()) {
            Self::Many(many) if many.is_empty() => {
                *self = Self::one(item);
                return;
            }
            Self::Many(mut many) => {
                many.push(item);
                many
            }
            Self::One([first]) => vec![first, item],
        };
        *self = Self::Many(many);
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_pushed_in_order() {
        let mut few = Few::none();
        for length in 0..5 {
            let all: Vec<_> = (0..length).collect();
            assert_eq!(few.as_slice(), all);
            assert_eq!(Few::of(&all, |item| *item).as_slice(), few.as_mut_slice());
            few.push(length);
        }
    }
}
