//! Lists, timestamps and families of headers.

use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use portcullis::{
    signature::{
        Encoding, Names, Scheme, Secret, Segment, SignatureLayer, SignatureVerifier, Signer, Timestamp, Unit, Verified,
    },
    time::{ManualWallClock, UnixTime},
};

use crate::support::{Script, answer, secret};

const CONTENT: &[u8] = b"{}";

fn request(headers: HeaderMap) -> Request<Script> {
    let mut request = Request::new(Script::frames(CONTENT, 1));
    *request.headers_mut() = headers;
    request
}

fn clock(seconds: u64) -> ManualWallClock {
    ManualWallClock::new(UnixTime::from_secs(seconds))
}

#[tokio::test]
async fn a_signature_of_the_old_secret_counts_beside_one_of_the_new() {
    let clock = clock(1_700_000_000);
    let value = |secret: &str| {
        let mut headers = HeaderMap::new();
        let signer = Signer::new(Scheme::stripe(), Secret::new(secret).unwrap()).wall_clock(clock.clock());
        signer.sign(&mut headers, CONTENT).unwrap();
        headers["stripe-signature"].to_str().unwrap().split_once(',').unwrap().1.to_owned()
    };
    let (known, unknown) = (value("the secret of this year"), value("a secret of someone else"));
    let layer = SignatureLayer::new(Scheme::stripe(), Secret::new("the secret of this year").unwrap())
        .wall_clock(clock.clock());
    for (listed, status) in [
        (vec![&known, &unknown], StatusCode::OK),
        (vec![&unknown, &known], StatusCode::OK),
        (vec![&unknown; 16], StatusCode::UNAUTHORIZED),
        ([vec![&unknown; 15], vec![&known]].concat(), StatusCode::OK),
        // One more than is computed.
        ([vec![&unknown; 16], vec![&known]].concat(), StatusCode::UNAUTHORIZED),
    ] {
        let listed: Vec<_> = listed.into_iter().map(String::as_str).collect();
        let value = format!("t=1700000000,{}", listed.join(","));
        let headers =
            HeaderMap::from_iter([("stripe-signature".parse().unwrap(), HeaderValue::try_from(value).unwrap())]);
        assert_eq!(answer(&layer, request(headers)).await.status(), status, "{} listed", listed.len());
    }
}

#[tokio::test]
async fn a_timestamp_counts_both_ways_with_its_edge_and_is_reported() {
    let sent = clock(1_700_000_000);
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::stripe(), secret()).wall_clock(sent.clock()).sign(&mut headers, CONTENT).unwrap();
    let now = clock(0);
    let layer = SignatureLayer::new(Scheme::stripe(), secret()).wall_clock(now.clock());
    for (seconds, good) in [
        (1_700_000_000, true),
        (1_700_000_300, true),
        (1_700_000_301, false),
        (1_699_999_700, true),
        (1_699_999_699, false),
        (0, false),
    ] {
        now.set(UnixTime::from_secs(seconds));
        let request = request(headers.clone());
        let polls = request.body().polls();
        let response = answer(&layer, request).await;
        assert_eq!(response.status() == StatusCode::OK, good, "at {seconds}");
        assert_eq!(polls.load(Relaxed) > 0, good, "a stale request is not read");
        let time = response.extensions().get::<Verified>().and_then(Verified::timestamp);
        assert_eq!(time, good.then_some(sent.now()));
    }
}

#[tokio::test]
async fn a_profiles_tolerance_can_be_another() {
    let now = clock(1_700_000_000);
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::paddle(), secret()).wall_clock(now.clock()).sign(&mut headers, CONTENT).unwrap();
    now.set(UnixTime::from_secs(1_700_000_006));
    let patient = Scheme::paddle().tolerance(std::time::Duration::from_secs(6));
    for (scheme, status) in [(Scheme::paddle(), StatusCode::UNAUTHORIZED), (patient, StatusCode::OK)] {
        let layer = SignatureLayer::new(scheme, secret()).wall_clock(now.clock());
        assert_eq!(answer(&layer, request(headers.clone())).await.status(), status);
    }
}

#[tokio::test]
async fn a_timestamp_of_minus_two_to_the_63_does_not_overflow() {
    let layer = SignatureLayer::new(Scheme::stripe(), secret());
    for time in ["-9223372036854775808", "9223372036854775807", "18446744073709551615", "18446744073709551616", "٣", ""]
    {
        let value = format!("t={time},v1={}", "0".repeat(64));
        let headers = HeaderMap::from_iter([(
            "stripe-signature".parse().unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )]);
        assert_eq!(answer(&layer, request(headers)).await.status(), StatusCode::UNAUTHORIZED, "{time}");
    }
}

#[tokio::test]
async fn two_families_of_headers_are_not_mixed() {
    let layer = SignatureLayer::new(Scheme::svix(), secret());
    let mut headers = HeaderMap::from_iter([("svix-id".parse().unwrap(), HeaderValue::from_static("msg_1"))]);
    Signer::new(Scheme::svix(), secret()).sign(&mut headers, CONTENT).unwrap();
    assert_eq!(answer(&layer, request(headers.clone())).await.status(), StatusCode::OK);

    let renamed = |names: &[&str]| {
        let mut headers = headers.clone();
        for name in names {
            let value = headers.remove(format!("svix-{name}")).unwrap();
            headers.insert(HeaderName::try_from(format!("webhook-{name}")).unwrap(), value);
        }
        headers
    };
    assert_eq!(answer(&layer, request(renamed(&["id", "timestamp", "signature"]))).await.status(), StatusCode::OK);
    for mixed in [&["id"][..], &["timestamp"], &["signature"], &["id", "signature"]] {
        assert_eq!(answer(&layer, request(renamed(mixed))).await.status(), StatusCode::UNAUTHORIZED, "{mixed:?}");
    }
    let mut both = headers.clone();
    both.extend(renamed(&["id", "timestamp", "signature"]));
    assert_eq!(answer(&layer, request(both)).await.status(), StatusCode::UNAUTHORIZED, "both families");
}

#[tokio::test]
async fn the_names_of_headers_may_come_from_configuration() {
    let scheme = |names: Names| Scheme::builder("custom").header(names).signed([Segment::Body]).build();
    let owned = |names: &[&str]| Names::from(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for (written, read, counts) in [
        (Names::from("x-signature"), Names::from(String::from("X-Signature")), &["x-signature"][..]),
        (Names::from("x-signature"), owned(&["x-signature"]), &["x-signature"]),
        (Names::from(["x-new", "x-old"]), owned(&["x-new", "x-old"]), &["x-new", "x-old"]),
    ] {
        let mut headers = HeaderMap::new();
        Signer::new(scheme(written).unwrap(), secret()).sign(&mut headers, CONTENT).unwrap();
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), counts[..1], "the first of aliases");
        let layer = SignatureLayer::new(scheme(read).unwrap(), secret());
        let value = headers[counts[0]].clone();
        for name in ["x-signature", "x-new", "x-old"] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
            let good = answer(&layer, request(headers)).await.status() == StatusCode::OK;
            assert_eq!(good, counts.contains(&name), "{name} of {counts:?}");
        }
    }
    for names in [owned(&[]), owned(&["no header"]), owned(&["x-old", "X-OLD"]), String::new().into()] {
        let text = format!("{names:?}");
        assert_eq!(scheme(names).expect_err(&text).setting(), "header", "{text}");
    }
}

#[tokio::test]
async fn a_stale_signature_costs_no_byte_of_the_body_and_is_answered_as_a_wrong_one() {
    let now = clock(1_700_000_000);
    let layer = SignatureLayer::new(Scheme::stripe(), secret()).wall_clock(now.clock());
    let mut headers = HeaderMap::new();
    Signer::new(Scheme::stripe(), secret()).wall_clock(now.clock()).sign(&mut headers, CONTENT).unwrap();
    let mut wrong = request(headers.clone());
    *wrong.body_mut() = Script::frames(b"[]", 1);
    let wrong = format!("{:?}", answer(&layer, wrong).await);
    assert!(wrong.contains("401"));
    for seconds in [1_700_000_301, 1_699_999_699] {
        now.set(UnixTime::from_secs(seconds));
        let request = request(headers.clone());
        let polls = request.body().polls();
        assert_eq!(format!("{:?}", answer(&layer, request).await), wrong);
        assert_eq!(polls.load(Relaxed), 0);
    }
}

/// `msg.1` with body `{}` and `msg` with body `{}` would otherwise share what is signed: `msg.1.….{}`.
#[tokio::test]
async fn a_signed_id_cannot_take_over_what_follows_it() {
    let now = clock(1_700_000_000);
    let layer = SignatureLayer::new(Scheme::svix(), secret()).wall_clock(now.clock());
    let mut headers = HeaderMap::from_iter([("svix-id".parse().unwrap(), HeaderValue::from_static("msg"))]);
    let signer = Signer::new(Scheme::svix(), secret()).wall_clock(now.clock());
    signer.sign(&mut headers, b"1700000000.{}").unwrap();
    headers.insert("svix-id", HeaderValue::from_static("msg.1700000000"));
    assert_eq!(answer(&layer, request(headers.clone())).await.status(), StatusCode::UNAUTHORIZED);
    assert!(signer.sign(&mut headers, CONTENT).is_err());
}

/// Nothing would then keep apart what is signed with it and without it.
#[tokio::test]
async fn a_signed_header_that_is_empty_is_refused_although_its_signature_is_good() {
    let now = clock(1_700_000_000);
    let headless = Scheme::builder("headless")
        .header("webhook-signature")
        .versioned("v1")
        .encoding(Encoding::Base64)
        .timestamp(Timestamp::header("webhook-timestamp"))
        .signed([Segment::literal("."), Segment::Timestamp, Segment::literal("."), Segment::Body])
        .build()
        .unwrap();
    let mut headers = HeaderMap::new();
    Signer::new(headless.clone(), secret()).wall_clock(now.clock()).sign(&mut headers, CONTENT).unwrap();
    headers.insert("webhook-id", HeaderValue::from_static(""));
    for (scheme, status) in [(headless, StatusCode::OK), (Scheme::standard_webhooks(), StatusCode::UNAUTHORIZED)] {
        let layer = SignatureLayer::new(scheme, secret()).wall_clock(now.clock());
        let request = request(headers.clone());
        let polls = request.body().polls();
        assert_eq!(answer(&layer, request).await.status(), status);
        assert_eq!(polls.load(Relaxed) > 0, status == StatusCode::OK);
    }
}

#[tokio::test]
async fn no_byte_wanders_between_a_signed_header_and_the_body() {
    let scheme = || {
        Scheme::builder("seams")
            .header("x-signature")
            .signed([Segment::header("x-id"), Segment::literal("::"), Segment::Body])
            .build()
            .unwrap()
    };
    let layer = SignatureLayer::new(scheme(), secret());
    let sign = |id: &'static str, content: &[u8]| {
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static("x-id"), HeaderValue::from_static(id))]);
        Signer::new(scheme(), secret()).sign(&mut headers, content).map(|()| headers)
    };
    let status = async |mut headers: HeaderMap, id, content: &[u8]| {
        headers.insert("x-id", HeaderValue::from_static(id));
        let mut request = Request::new(Script::frames(content, 1));
        *request.headers_mut() = headers;
        answer(&layer, request).await.status()
    };
    let good = sign("a", b":X").unwrap();
    assert_eq!(status(good.clone(), "a", b":X").await, StatusCode::OK);
    assert_eq!(status(good, "a:", b"X").await, StatusCode::UNAUTHORIZED, "the same bytes, cut elsewhere");
    for id in ["a:", "a::", "::", ":"] {
        assert!(sign(id, b"X").is_err(), "{id}");
    }
}

/// Twitch signs the id, the date and the body with nothing between them, and bodies hold dates too.
#[test]
fn of_all_ways_to_cut_what_is_signed_into_an_id_a_date_and_a_body_one_is_good() {
    let now = clock(1_573_899_072).clock();
    let signer = Signer::new(Scheme::twitch(), secret()).wall_clock(now.clone());
    let verifier = SignatureVerifier::new(Scheme::twitch(), secret()).wall_clock(now);
    let [id, time, signature] = ["id", "timestamp", "signature"]
        .map(|name| HeaderName::try_from(format!("twitch-eventsub-message-{name}")).unwrap());
    let named = |text: &'static str| HeaderMap::from_iter([(id.clone(), HeaderValue::from_static(text))]);
    for body in [r#"{"followed_at":"2019-11-16T10:11:13Z"}"#, "2019-11-16t10:11:12Z2019-11-16T10:11:12+00:00", ""] {
        for text in ["e76c6bd4", "2", "-11-16T10:11:12Z"] {
            let mut headers = named(text);
            signer.sign(&mut headers, body.as_bytes()).unwrap();
            let all = [text, headers[&time].to_str().unwrap(), body].concat();
            let good = (0..=all.len()).flat_map(|to| (0..=to).map(move |from| (from, to))).filter(|(from, to)| {
                let (head, rest) = all.split_at(*to);
                let (id_cut, time_cut) = head.split_at(*from);
                let headers = HeaderMap::from_iter([
                    (id.clone(), id_cut.parse().unwrap()),
                    (time.clone(), time_cut.parse().unwrap()),
                    (signature.clone(), headers[&signature].clone()),
                ]);
                verifier.verify(&headers, rest.as_bytes()).is_ok()
            });
            assert_eq!(good.collect::<Vec<_>>(), [(text.len(), all.len() - body.len())], "{all}");
        }
    }
    // The last of these goes on in the date, which begins with a 2, and what is shorter does not.
    for dated in ["2019-11-16T10:11:12Z", "a 2019-11-16t10:11:12 b", "2019-11-16T10:11:1"] {
        assert!(signer.sign(&mut named(dated), b"{}").is_err(), "{dated}");
    }
    assert!(signer.sign(&mut named("2019-11-16T10:11"), b"{}").is_ok());
}

#[test]
fn what_is_signed_falls_into_its_pieces_in_one_way_only() {
    let build = |signed: Vec<Segment>, unit| {
        let timestamp = signed.iter().any(|segment| matches!(segment, Segment::Timestamp));
        let scheme = Scheme::builder("seams").header("x-signature").signed(signed);
        let scheme = if timestamp { scheme.timestamp(Timestamp::header("x-time").unit(unit)) } else { scheme };
        scheme.build()
    };
    let id = || Segment::header("x-id");
    for signed in [
        vec![id(), Segment::Body],
        vec![id(), Segment::literal(""), Segment::Body],
        vec![id(), id(), Segment::literal("."), Segment::Body],
        vec![id(), Segment::Context, Segment::Body],
        vec![id(), Segment::Timestamp, Segment::literal("."), Segment::Body],
        vec![Segment::Timestamp, Segment::Body],
    ] {
        let text = format!("{signed:?}");
        assert_eq!(build(signed, Unit::Seconds).expect_err(&text).setting(), "signed");
    }
    assert!(build(vec![id(), Segment::Timestamp, Segment::Body], Unit::Rfc3339).is_ok());
}
