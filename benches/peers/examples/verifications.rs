//! Verifies so many messages of one kind, for tools that count what that costs: `verifications KIND N`. Four secrets are accepted, so
//! every message is judged by four MACs, whichever of them is good, and none shows which.
//!
//! - `first` to `fourth`: signed with that secret.
//! - `early`, `late`: signed with the fourth, but for the first or the last digit.
//! - `stranger`: signed with another secret.

use std::{env, hint::black_box};

use http::{HeaderMap, HeaderValue};
use portcullis::signature::{Scheme, Secret, SignatureVerifier, Signer};

const HEADER: &str = "x-cognigy-signature";
const BODY: &[u8] = br#"{"conversationId":"c-1"}"#;

fn secret(name: &str) -> Secret {
    Secret::new(format!("the {name} of the secrets")).expect("it is not empty").label(name)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [kind, messages] = arguments.as_slice() else { panic!("verifications KIND N") };
    let messages: u32 = messages.parse().expect("a number of messages");
    let verifier = ["second", "third", "fourth"]
        .into_iter()
        .fold(SignatureVerifier::new(Scheme::cognigy(), secret("first")), |verifier, name| {
            verifier.also_accept(secret(name))
        });
    let (signer, changed) = match kind.as_str() {
        "early" => ("fourth", Some(0)),
        "late" => ("fourth", Some(63)),
        name => (name, None),
    };
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::cognigy(), secret(signer)).sign(&mut headers, BODY).expect("no header is missing");
    if let Some(place) = changed {
        let mut digits = headers[HEADER].as_bytes().to_vec();
        digits[place] = if digits[place] == b'0' { b'1' } else { b'0' };
        headers.insert(HEADER, HeaderValue::from_bytes(&digits).expect("digits can be a header"));
    }
    let good = changed.is_none() && kind != "stranger";
    for _ in 0..messages {
        assert_eq!(black_box(verifier.verify(black_box(&headers), black_box(BODY))).is_ok(), good);
    }
}
