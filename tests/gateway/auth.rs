//! Who may call: the signature on both routes, and the secret in the forms that Cognigy's HTTP Request node sends.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{Answer, Downstream, Message, Request, SECRET, Setup, sign, start};

const BODY: &str = r#"{"conversationId":"c-1"}"#;

fn basic(user: &str, password: &str) -> String {
    STANDARD.encode(format!("{user}:{password}"))
}

/// The answer without what changes from one to the next.
fn comparable(mut response: Message) -> Message {
    response.headers.retain(|(name, _)| name != "date");
    response
}

#[track_caller]
fn assert_refused(response: &Message, why: &str) {
    assert_eq!(response.answer(), (401, json!({ "error": "invalid_signature" })), "{why}");
}

#[tokio::test]
async fn a_signature_in_either_case_is_accepted_on_both_routes() {
    let (downstream, gateway) = start().await;
    let signature = sign(SECRET, BODY.as_bytes());
    for signature in [signature.to_lowercase(), signature.to_uppercase()] {
        let queued = Request::queued(BODY).header("X-Cognigy-Signature", &signature);
        assert_eq!(gateway.send(queued).await.status(), 200);
        let proxied = Request::proxied(BODY).header("x-cognigy-signature", &signature);
        assert_eq!(gateway.send(proxied).await.status(), 200);
    }
    downstream.called(4).await;
}

#[tokio::test]
async fn every_bad_signature_gets_the_same_answer() {
    let (downstream, gateway) = start().await;
    let good = sign(SECRET, BODY.as_bytes());
    let wrong = sign("another secret", BODY.as_bytes());
    let header = "X-Cognigy-Signature";
    let bad = |request: fn(&'static str) -> Request| {
        let request = || request(BODY);
        vec![
            ("missing", request()),
            ("repeated", request().header(header, &good).header(header, &good)),
            ("good and wrong", request().header(header, &good).header(header, &wrong)),
            ("two in one", request().header(header, &format!("{good},{good}"))),
            ("wrong", request().header(header, &wrong)),
            ("of another body", request().header(header, &sign(SECRET, b"{}"))),
            (
                "one digit off",
                request().header(header, &format!("{}{}", &good[..63], if good.ends_with('0') { 1 } else { 0 })),
            ),
            ("empty", request().header(header, "")),
            ("not hex", request().header(header, &"z".repeat(64))),
            ("too short", request().header(header, &good[..62])),
            ("odd", request().header(header, &good[..63])),
            ("too long", request().header(header, &format!("{good}00"))),
            ("with a prefix", request().header(header, &format!("sha256={good}"))),
            ("not ASCII", request().header(header, "ü")),
            ("the secret itself", request().header(header, SECRET)),
        ]
    };
    let mut answers = Vec::new();
    for (why, request) in bad(Request::queued).into_iter().chain(bad(Request::proxied)) {
        let response = comparable(gateway.send(request).await);
        assert_refused(&response, why);
        answers.push(response);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn the_queued_route_takes_the_signature_alone() {
    let (_downstream, gateway) = start().await;
    let request =
        Request::queued(BODY).header("X-API-Key", SECRET).header("Authorization", &format!("Bearer {SECRET}"));
    assert_refused(&gateway.send(request).await, "credentials are for the proxied route");
}

#[tokio::test]
async fn the_secret_is_accepted_in_each_form() {
    let (downstream, gateway) = start().await;
    let authorizations = [
        format!("Bearer {SECRET}"),
        format!("bearer {SECRET}"),
        format!("BEARER {SECRET}"),
        format!("ApiKey {SECRET}"),
        format!("apikey {SECRET}"),
        format!("Basic {}", basic("cognigy", SECRET)),
        format!("basic {}", basic("", SECRET)),
        format!("BASIC {}", basic("ünï cödé", SECRET)),
    ];
    let forms = authorizations.iter().map(|value| ("Authorization", value.as_str())).chain([("X-API-Key", SECRET)]);
    for (name, value) in forms {
        let response = gateway.send(Request::proxied(BODY).header(name, value)).await;
        assert_eq!(response.status(), 200, "{name}: {value}");
    }
    assert_eq!(downstream.calls(), 9);
}

#[tokio::test]
async fn a_secret_in_any_other_form_is_refused_with_the_same_answer() {
    let (downstream, gateway) = start().await;
    let expected = comparable(gateway.send(Request::proxied(BODY)).await);
    assert_refused(&expected, "no credentials");
    let authorizations = [
        SECRET.to_owned(),
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {SECRET}x"),
        format!("Bearer {}", &SECRET[1..]),
        format!("Bearer {}", SECRET.to_uppercase()),
        format!("Token {SECRET}"),
        format!("Digest {SECRET}"),
        format!("Basic {SECRET}"),
        "Basic !!!".to_owned(),
        format!("Basic {}", basic(SECRET, "")),
        format!("Basic {}", basic("user", "wrong")),
        format!("Basic {}", STANDARD.encode(SECRET.replace(':', "-"))),
        format!("Bearer {}", basic("user", SECRET)),
        format!("ApiKey {}", basic("user", SECRET)),
    ];
    for value in authorizations {
        let response = gateway.send(Request::proxied(BODY).header("Authorization", &value)).await;
        assert_eq!(comparable(response), expected, "{value:?}");
    }
    for value in ["", "wrong", &format!("Bearer {SECRET}")] {
        let response = gateway.send(Request::proxied(BODY).header("X-API-Key", value)).await;
        assert_eq!(comparable(response), expected, "{value:?}");
    }
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn all_headers_that_are_there_must_pass_and_none_twice() {
    let (downstream, gateway) = start().await;
    let bearer = format!("Bearer {SECRET}");
    let signature = sign(SECRET, BODY.as_bytes());
    let good = [("Authorization", bearer.as_str()), ("X-API-Key", SECRET), ("X-Cognigy-Signature", signature.as_str())];
    let bad = [("Authorization", "Bearer wrong"), ("X-API-Key", "wrong"), ("X-Cognigy-Signature", "00")];
    let with = |headers: &[(&str, &str)]| {
        headers.iter().fold(Request::proxied(BODY), |request, (name, value)| request.header(name, value))
    };

    assert_eq!(gateway.send(with(&good)).await.status(), 200);
    for first in 0..3 {
        let twice = [good[first], good[first]];
        assert_refused(&gateway.send(with(&twice)).await, &format!("{} twice", good[first].0));
        for other in (0..3).filter(|other| *other != first) {
            assert_eq!(gateway.send(with(&[good[first], good[other]])).await.status(), 200);
            let mixed = [good[first], bad[other]];
            assert_refused(&gateway.send(with(&mixed)).await, &format!("bad {}", bad[other].0));
        }
    }
    assert_eq!(downstream.calls(), 7);
}

#[tokio::test]
async fn both_secrets_are_accepted_while_one_replaces_the_other() {
    let downstream = Downstream::start(Answer::ok()).await;
    let setup =
        Setup::new(downstream.url()).set("COGNIGY_WEBHOOK_SECRET", "new").set("COGNIGY_WEBHOOK_SECRET_PREVIOUS", "old");
    let gateway = setup.start().await;
    for (secret, status) in [("new", 200), ("old", 200), ("older", 401)] {
        assert_eq!(gateway.send(Request::queued(BODY).signed(secret)).await.status(), status, "{secret}");
        assert_eq!(gateway.send(Request::proxied(BODY).signed(secret)).await.status(), status, "{secret}");
        let basic = format!("Basic {}", basic("user", secret));
        for request in [
            Request::proxied(BODY).header("X-API-Key", secret),
            Request::proxied(BODY).header("Authorization", &format!("Bearer {secret}")),
            Request::proxied(BODY).header("Authorization", &basic),
        ] {
            assert_eq!(gateway.send(request).await.status(), status, "{secret}");
        }
    }
}

#[tokio::test]
async fn a_body_is_judged_as_it_was_sent() {
    let (_downstream, gateway) = start().await;
    for body in [&b"{ \"conversationId\" :\r\n\t\"c\" }  "[..], "{\"conversationId\":\"\u{1f600}\"}".as_bytes()] {
        assert_eq!(gateway.send(Request::queued(body).signed(SECRET)).await.status(), 200);
    }
    // A signature is worth nothing for the same JSON in other words.
    let request =
        Request::queued(r#"{"conversationId": "c-1"}"#).header("X-Cognigy-Signature", &sign(SECRET, BODY.as_bytes()));
    assert_refused(&gateway.send(request).await, "another byte");
}
