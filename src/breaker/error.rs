//! What a caller is told when a circuit does not let it through.

/// A call that was not let through.
#[derive(Clone, Copy, Debug)]
pub struct Rejected(());

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("circuit open")
    }
}

impl std::error::Error for Rejected {}
