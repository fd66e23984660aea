//! How the gateway ends: it stops accepting, lets running work finish, and breaks off what does not.
#![expect(clippy::disallowed_methods, reason = "a program may wait; the library's timers are its own")]

use std::{io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Nothing new is begun.
    Draining,
    /// What still runs is broken off.
    Cut,
}

/// Learns how far the end has come.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    pub(crate) fn new() -> (watch::Sender<Phase>, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (sender, Self(receiver))
    }

    /// Resolves once `phase` is reached, or nobody is left to say so.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        drop(self.0.wait_for(|now| *now >= phase).await);
    }
}

/// Resolves at SIGTERM or SIGINT. The handlers are there once this has returned.
pub(crate) fn signalled() -> io::Result<impl Future<Output = &'static str>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}

/// Waits.
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
