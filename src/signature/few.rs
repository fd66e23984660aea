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

    /// What `change` makes of each, in order.
    pub(super) fn map<U>(self, mut change: impl FnMut(T) -> U) -> Few<U> {
        match self {
            Self::One([one]) => Few::one(change(one)),
            Self::Many(many) => Few::Many(many.into_iter().map(change).collect()),
        }
    }

    /// The one at `place`, and no other any more.
    pub(super) fn into_nth(self, place: usize) -> Option<T> {
        match self {
            Self::One([one]) => (place == 0).then_some(one),
            Self::Many(many) => many.into_iter().nth(place),
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        match (items.next(), items.size_hint().0) {
            (Some(only), 0) => {
                let mut few = Self::one(only);
                items.for_each(|item| few.push(item));
                few
            }
            (first, _) => Self::Many(first.into_iter().chain(items).collect()),
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
            assert_eq!(few.as_slice(), (0..length).collect::<Vec<_>>());
            assert_eq!((0..length).collect::<Few<_>>().as_slice(), few.as_mut_slice());
            assert_eq!(few.map(|item| item + 1).as_slice(), (1..=length).collect::<Vec<_>>());
            few = (0..length).collect();
            few.push(length);
        }
    }

    #[test]
    fn one_is_taken_out_by_its_place() {
        for length in 0..4 {
            for place in 0..5 {
                let few: Few<_> = (0..length).collect();
                assert_eq!(few.into_nth(place), (0..length).nth(place), "{place} of {length}");
            }
        }
    }
}
