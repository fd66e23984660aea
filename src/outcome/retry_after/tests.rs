use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_559_559_600); // 2019-06-03T11:00:00Z

/// What the lines, in this order, ask for in milliseconds.
fn read(lines: &[(&'static str, &str)]) -> Option<u128> {
    let mut headers = HeaderMap::new();
    for &(name, value) in lines {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    retry_after(&headers, NOW).map(|wait| wait.as_millis())
}

/// What a table of the forms that are in use comes to, in milliseconds.
#[test]
fn every_form_there_is() {
    const UNTIL: &str = "Mon, 03 Jun 2019 11:00:07 GMT";
    type Case = (&'static [(&'static str, &'static str)], Option<u128>);
    let cases: [Case; 23] = [
        (&[("retry-after", "120")], Some(120_000)),
        (&[("retry-after", "0")], Some(0)),
        (&[("retry-after", "007")], Some(7000)),
        (&[("retry-after", "2.0")], Some(2000)),
        (&[("retry-after", UNTIL)], Some(7000)),
        (&[("retry-after", "Monday, 03-Jun-19 11:00:07 GMT")], Some(7000)),
        (&[("retry-after", "Mon Jun  3 11:00:07 2019")], Some(7000)),
        (&[("retry-after", "Mon, 03 Jun 2019 10:59:59 GMT")], Some(0)),
        (&[("retry-after", "Mon, 03 Jun 2019 11:00:60 GMT")], Some(60_000)),
        (&[("retry-after", "Monday, 03-Jun-70 11:00:07 GMT")], Some(0)),
        (&[("retry-after", "Thursday, 03-Jun-21 11:00:00 GMT")], Some(731 * 86_400_000)),
        (&[("retry-after-ms", "1500")], Some(1500)),
        (&[("retry-after-ms", "0.25")], Some(1)),
        (&[("x-ms-retry-after-ms", "1500")], Some(1500)),
        (&[("x-ms-retry-after-ms", "soon"), ("retry-after-ms", "20"), ("retry-after", "9")], Some(20)),
        (&[("retry-after", ""), ("retry-after", "9")], None),
        (&[("retry-after", "+5")], None),
        (&[("retry-after", "-5")], None),
        (&[("retry-after", "5 s")], None),
        (&[("retry-after", "5, 9")], None),
        (&[("retry-after", "0x10")], None),
        (&[("retry-after", "NaN")], None),
        (&[("retry-after", "\u{665}")], None),
    ];
    for (lines, millis) in cases {
        assert_eq!(read(lines), millis, "{lines:?}");
    }
}

#[test]
fn fractions_round_up_to_the_millisecond() {
    for (text, millis) in [
        ("2.5", 2500),
        ("2.0", 2000),
        ("0.5", 500),
        ("0.0001", 1),
        ("1.0009", 1001),
        ("1.0010000", 1001),
        ("1.00100001", 1002),
        ("0.000", 0),
    ] {
        assert_eq!(read(&[("retry-after", text)]), Some(millis), "{text}");
    }
    for text in [".5", "5.", ".", "1.2.3", "1.-2", "1. 2", "1,5", "1e3", "-1.5"] {
        assert_eq!(read(&[("retry-after", text)]), None, "{text}");
    }
}

#[test]
fn numbers_beyond_measure_saturate() {
    let most = Some(u128::from(u64::MAX));
    for text in ["18446744073709551615", "18446744073709551616", "99999999999999999999999999999999.9999"] {
        assert_eq!(read(&[("retry-after", text)]), most, "{text}");
        assert_eq!(read(&[("retry-after-ms", text)]), most, "{text}");
    }
}

#[test]
fn milliseconds_come_before_seconds_and_garbage_is_passed_over() {
    assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "1500")]), Some(1500));
    assert_eq!(read(&[("retry-after-ms", "1500"), ("x-ms-retry-after-ms", "1400")]), Some(1400));
    assert_eq!(read(&[("retry-after-ms", "1.5")]), Some(2));
    assert_eq!(read(&[("retry-after", "2"), ("retry-after-ms", "-1")]), Some(2000));
    assert_eq!(read(&[("retry-after", "soon"), ("retry-after-ms", "Mon, 03 Jun 2019 11:00:02 GMT")]), None);
}

#[test]
fn of_several_lines_the_first_counts() {
    assert_eq!(read(&[("retry-after", "3"), ("retry-after", "120")]), Some(3000));
    assert_eq!(read(&[("retry-after", "soon"), ("retry-after", "120")]), None);
}

#[test]
fn space_around_a_value_is_no_part_of_it() {
    assert_eq!(read(&[("retry-after", "  7\t")]), Some(7000));
}

#[test]
fn a_date_is_compared_with_the_servers_own() {
    let until = ("retry-after", "Mon, 03 Jun 2019 12:00:10 GMT");
    assert_eq!(read(&[until, ("date", "Mon, 03 Jun 2019 12:00:03 GMT")]), Some(7000));
    assert_eq!(read(&[until, ("date", "Mon Jun  3 12:00:03 2019")]), Some(7000));
    assert_eq!(read(&[until, ("date", "Mon, 03 Jun 2019 12:00:11 GMT")]), Some(0));
    assert_eq!(read(&[until, ("date", "today")]), Some(3_610_000));
    assert_eq!(read(&[("retry-after", "5"), ("date", "Mon, 03 Jun 2019 12:00:11 GMT")]), Some(5000));
}

#[test]
fn a_fraction_of_a_second_does_not_make_the_wait_short() {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Mon, 03 Jun 2019 11:00:07 GMT"));
    let now = UnixTime::new(NOW.since_epoch() + Duration::from_nanos(999_999_999));
    assert_eq!(retry_after(&headers, now), Some(Duration::from_nanos(6_000_000_001)));
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(value: Vec<u8>, date: Vec<u8>, name in 0_usize..3, now: Duration) {
        let names = ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"];
        let mut headers = HeaderMap::new();
        if let (Ok(value), Ok(date)) = (HeaderValue::from_bytes(&value), HeaderValue::from_bytes(&date)) {
            headers.insert(names[name], value);
            headers.insert(header::DATE, date);
        }
        let _ = retry_after(&headers, UnixTime::new(now));
    }

    #[test]
    fn seconds_are_seconds(seconds in 0..u64::MAX / 1000, zeros in 0_usize..5) {
        let text = format!("{}{seconds}", "0".repeat(zeros));
        prop_assert_eq!(read(&[("retry-after", &text)]), Some(u128::from(seconds) * 1000));
    }

    #[test]
    fn a_fraction_never_shortens(whole in 0_u64..1_000_000, fraction in "[0-9]{1,12}") {
        let asked: f64 = format!("{whole}.{fraction}").parse().unwrap();
        let read = read(&[("retry-after", &format!("{whole}.{fraction}"))]).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "at most a billion")]
        let read = read as f64 / 1000.0;
        prop_assert!(read >= asked - 1e-9 && read < asked + 0.001 + 1e-9);
    }
}
