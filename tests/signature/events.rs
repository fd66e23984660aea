//! What is told to `tracing`: the reason, and nothing that a request or a secret holds.

use std::{
    io,
    sync::{Arc, Mutex},
};

use http::{HeaderValue, Request, StatusCode};
use portcullis::signature::{KeyEncoding, Secret};
use tracing::Level;

use crate::support::{SECRET, Script, answer, layer, signed};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refusal_tells_its_reason_and_nothing_else() {
    let log = Log::default();
    let _listening = log.listen();
    let layer = layer().accept_credentials();

    let mut wrong = signed(b"{}", Script::frames(b"[]", 1));
    let signature = wrong.headers()["x-cognigy-signature"].to_str().unwrap().to_owned();
    wrong.headers_mut().insert("x-api-key", HeaderValue::from_static(SECRET));
    assert_eq!(answer(&layer, wrong).await.status(), StatusCode::UNAUTHORIZED);
    let told = log.take();
    assert!(told.contains("DEBUG") && told.contains("mismatch"), "{told}");
    assert!(!told.contains(&signature) && !told.contains(SECRET), "{told}");

    let mut malformed = Request::new(Script::default());
    malformed.headers_mut().insert("authorization", HeaderValue::from_static("Basic hunter2!"));
    assert_eq!(answer(&layer, malformed).await.status(), StatusCode::UNAUTHORIZED);
    let told = log.take();
    assert!(told.contains("malformed") && !told.contains("hunter2"), "{told}");

    assert_eq!(answer(&layer, signed(b"{}", Script::frames(b"{}", 1))).await.status(), StatusCode::OK);
    assert_eq!(log.take(), "");
}

#[test]
fn a_secret_with_white_space_around_it_or_a_short_one_is_warned_of_without_being_shown() {
    let log = Log::default();
    let _listening = log.listen();
    for (secret, warnings) in [(SECRET, 0), ("an example of a secret\n", 1), ("hunter2", 1), (" hunter2", 2)] {
        assert!(Secret::new(secret).is_ok());
        let told = log.take();
        assert_eq!(told.matches("WARN").count(), warnings, "{told}");
        assert!(!told.contains("hunter2") && !told.contains("an example"), "{told}");
    }
    assert!(Secret::decode("hunter2", KeyEncoding::Hex).is_err());
    assert_eq!(log.take(), "");
}
