//! The connection to Redis: one for all commands, made when it is first needed, and anew after it broke.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection};

use super::RedisUrl;
use crate::queue::Unavailable;

/// How long Redis may take to let us in, and to answer one command. A webhook waits for one of each, so a Redis that hangs
/// is a 503 after 2 s.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands that may wait to be written; more of them wait for room here.
const BUFFER: usize = 512;

/// A connection, or the attempt to make one, which all who wait for it share.
type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    current: Mutex<Option<Connecting>>,
    warned: AtomicBool,
    outages: AtomicU64,
}

impl Link {
    pub(super) fn new(url: &RedisUrl) -> Result<Self, String> {
        Ok(Self {
            client: Client::open(url.0.clone()).map_err(|error| reason(&error))?,
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE))
                .set_pipeline_buffer_size(BUFFER),
            current: Mutex::new(None),
            warned: AtomicBool::new(false),
            outages: AtomicU64::new(0),
        })
    }

    /// Runs commands. None is repeated: what failed may have been done all the same, and the caller is told.
    pub(super) async fn run<T, F>(&self, commands: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, Unavailable>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connecting = self.connecting();
        match connecting.clone().await {
            Ok(connection) => commands(connection).await.map_err(|error| {
                if error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY") {
                    self.drop(&connecting);
                }
                self.failed(&error)
            }),
            Err(error) => {
                self.drop(&connecting);
                Err(self.failed(&error))
            }
        }
    }

    /// Takes note that leases could not be extended.
    pub(super) fn outage(&self) {
        self.outages.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was so. A Redis that answers and refuses a write does not count: it may extend leases all the same.
    pub(super) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// The next failure is worth a warning again.
    pub(super) fn warn_again(&self) {
        self.warned.store(false, Ordering::Relaxed);
    }

    fn connecting(&self) -> Connecting {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let connect = || {
            let (client, config) = (self.client.clone(), self.config.clone());
            async move { client.get_multiplexed_async_connection_with_config(&config).await }.boxed().shared()
        };
        current.get_or_insert_with(connect).clone()
    }

    /// Lets the next command make a new connection, unless another has seen to that.
    fn drop(&self, broken: &Connecting) {
        self.outage();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.ptr_eq(broken)) {
            *current = None;
        }
    }

    fn failed(&self, error: &RedisError) -> Unavailable {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason = reason(error), "the queue's Redis is not available");
        }
        Unavailable
    }
}

/// What went wrong. A server that does not know a command repeats its arguments, which may be a password or a job.
fn reason(error: &RedisError) -> String {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Io => text,
        _ if text.contains("with args") => error.code().unwrap_or("an unknown command").to_owned(),
        _ => text,
    }
}
