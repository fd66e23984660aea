//! The name of a circuit, which rejections carry without owning anything shared.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// The longest name, in bytes, that is not a `&'static str`.
const INLINE: usize = 38;

/// The name of a circuit: a `&'static str`, or up to 38 bytes held in place.
///
/// It is `Copy`, so that a rejection names its circuit without an allocation or a reference count.
///
/// ```
/// use portcullis::breaker::Name;
///
/// assert_eq!(Name::from("customer-api").as_str(), "customer-api");
/// assert_eq!(Name::inline(&format!("tenant-{}", 7)).unwrap().as_str(), "tenant-7");
/// assert!(Name::inline(&"x".repeat(39)).is_none());
/// assert_eq!(Name::inline("customer-api"), Some(Name::from("customer-api")));
/// ```
#[derive(Clone, Copy)]
pub struct Name(Text);

#[derive(Clone, Copy)]
enum Text {
    Static(&'static str),
    Inline { len: u8, bytes: [u8; INLINE] },
}

impl Name {
    /// Copies `name`, or returns `None` where it is longer than 38 bytes.
    #[must_use]
    pub fn inline(name: &str) -> Option<Self> {
        let mut bytes = [0; INLINE];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(Text::Inline { len: u8::try_from(name.len()).ok()?, bytes }))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(name) => name,
            Text::Inline { len, bytes } => std::str::from_utf8(&bytes[..usize::from(*len)]).unwrap_or_default(),
        }
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(Text::Static(name))
    }
}

/// By its text, wherever that is held.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_told_apart_by_their_text_alone() {
        let names = ["a", "b", "a"].map(Name::from).into_iter().chain(Name::inline("b"));
        assert_eq!(names.collect::<HashSet<_>>().len(), 2);
    }
}
