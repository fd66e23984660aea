use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_559_559_600); // 2019-06-03T11:00:00Z

fn parse(text: &str) -> Option<u64> {
    http_date(text.as_bytes(), NOW).map(|date| date.since_epoch().as_secs())
}

#[test]
fn the_three_forms_of_the_rfc_name_one_moment() {
    for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
        assert_eq!(parse(text), Some(784_111_777), "{text}");
    }
}

#[test]
fn asctime_pads_its_day_with_a_space_or_has_two_digits() {
    assert_eq!(parse("Wed Nov 16 08:49:37 1994"), Some(784_111_777 + 10 * 86_400));
    assert_eq!(parse("Sun Nov 06 08:49:37 1994"), Some(784_111_777));
    assert_eq!(parse("Sun Nov 6 08:49:37 1994"), None);
}

#[test]
fn a_year_of_two_digits_is_at_most_fifty_years_ahead() {
    let at = |text: &str| parse(text).unwrap();
    assert_eq!(at("Monday, 03-Jun-69 11:00:00 GMT"), at("Mon, 03 Jun 2069 11:00:00 GMT"));
    assert_eq!(at("Monday, 03-Jun-69 11:00:01 GMT"), 0); // 1969
    assert_eq!(at("Monday, 03-Jun-70 11:00:00 GMT"), at("Mon, 03 Jun 1970 11:00:00 GMT"));
    let late = UnixTime::from_secs(at("Mon, 03 Jun 2095 11:00:00 GMT"));
    let next_century = http_date(b"Monday, 03-Jun-05 11:00:00 GMT", late).unwrap();
    assert_eq!(next_century.since_epoch().as_secs(), at("Mon, 03 Jun 2105 11:00:00 GMT"));
}

#[test]
fn the_calendar_is_kept() {
    assert_eq!(parse("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!(parse("Mon, 01 Jan 0000 00:00:00 GMT"), Some(0));
    assert_eq!(parse("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    assert_eq!(parse("Tue, 29 Feb 2000 00:00:00 GMT"), Some(951_782_400));
    assert_eq!(parse("Fri, 31 Dec 9999 23:59:59 GMT"), Some(253_402_300_799));
    assert_eq!(parse("Mon, 03 Jun 2019 10:59:60 GMT"), Some(NOW.since_epoch().as_secs()));
}

#[test]
fn what_the_grammar_does_not_have_is_no_date() {
    for text in [
        "Thu, 29 Feb 2100 00:00:00 GMT",
        "Fri, 29 Feb 2019 00:00:00 GMT",
        "Fri, 31 Jun 2019 00:00:00 GMT",
        "Fri, 00 Jun 2019 00:00:00 GMT",
        "Fri, 01 Jun 2019 24:00:00 GMT",
        "Fri, 01 Jun 2019 00:60:00 GMT",
        "Fri, 01 Jun 2019 00:00:61 GMT",
        "fri, 01 Jun 2019 00:00:00 GMT",
        "Fri, 01 jun 2019 00:00:00 GMT",
        "Fri, 01 Jun 2019 00:00:00 gmt",
        "Fri, 1 Jun 2019 00:00:00 GMT",
        "Fri, 01 Jun 2019 00:00:00 UTC",
        "Fri, 01 Jun 2019 00:00:00 +0000",
        "Fri,  1 Jun 2019 00:00:00 GMT",
        "Fri, 01 Jun 2019 00:00:00 GMT ",
        "Friday, 01 Jun 2019 00:00:00 GMT",
        "Fri, 01-Jun-19 00:00:00 GMT",
        "Xyz, 01 Jun 2019 00:00:00 GMT",
        "Fri Jun  1 00:00:00 2019 GMT",
        "2019-06-03T11:00:00Z",
        "",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

/// The calendar, one day after the other.
fn naive(days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut month, mut day) = (1970, 0, 1);
    for _ in 0..days {
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        day += 1;
        if day > lengths[month] {
            (day, month) = (1, month + 1);
        }
        if month == 12 {
            (month, year) = (0, year + 1);
        }
    }
    (year, month, day)
}

/// What another implementation makes of it.
fn reference(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// `seconds` in one of the three forms, by another implementation's calendar.
fn written(seconds: u64, form: usize) -> String {
    let fixed = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let (weekday, rest) = fixed.split_once(", ").unwrap();
    let [day, month, year, time, _] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{fixed}") };
    match form {
        0 => fixed,
        1 => {
            let long = WEEKDAYS.iter().find(|day| day.starts_with(weekday)).unwrap();
            format!("{long}, {day}-{month}-{} {time} GMT", &year[2..])
        }
        _ => format!(
            "{weekday} {month} {} {time} {year}",
            day.strip_prefix('0').map_or(day.into(), |day| format!(" {day}"))
        ),
    }
}

/// The parts of a date, apart from its weekday and the century, which two digits do not name.
fn parts(seconds: u64) -> [String; 4] {
    let fixed = written(seconds, 0);
    [&fixed[5..7], &fixed[8..11], &fixed[14..16], &fixed[17..25]].map(str::to_owned)
}

/// A date with a few of its bytes replaced, taken out or doubled.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let change = (0_usize..40, 0_usize..3, prop_oneof![any::<u8>(), b'0'..=b'9', Just(b' '), Just(b'-')]);
    let changes = prop::collection::vec(change, 0..3);
    (0_u64..253_402_300_800, 0_usize..3, changes).prop_map(|(seconds, form, changes)| {
        let mut text = written(seconds, form).into_bytes();
        for (at, how, byte) in changes {
            let at = at % text.len();
            match how {
                0 => text[at] = byte,
                1 => drop(text.remove(at)),
                _ => text.insert(at, byte),
            }
        }
        text
    })
}

/// The latest year of these two digits in which the date is not more than fifty years after `now`, by trying all.
fn by_trying(seconds: u64, now: u64) -> Option<u64> {
    let text = written(seconds, 0);
    let in_year = |year: u64| reference(&weekday(&format!("{}{year:04}{}", &text[..12], &text[16..])));
    let now = written(now, 0);
    let limit = now[12..16].parse::<u64>().unwrap() + 50;
    let year = seconds_year(&text) % 100;
    let last = (0..=99)
        .map(|century| century * 100 + year)
        .filter(|&candidate| candidate < limit || (candidate == limit && later_in_year(&text) <= later_in_year(&now)));
    in_year(last.max()?)
}

fn seconds_year(fixed: &str) -> u64 {
    fixed[12..16].parse().unwrap()
}

/// Month, day and time, which can be compared.
fn later_in_year(fixed: &str) -> (usize, String, String) {
    let month = MONTHS.iter().position(|name| name.as_slice() == &fixed.as_bytes()[8..11]).unwrap();
    (month, fixed[5..7].to_owned(), fixed[17..25].to_owned())
}

/// The same date with the weekday that it has, since the other implementation asks for it.
fn weekday(fixed: &str) -> String {
    let names = WEEKDAYS.iter().map(|day| format!("{}{}", &day[..3], &fixed[3..]));
    names.into_iter().find(|text| reference(text).is_some()).unwrap_or_else(|| fixed.to_owned())
}

proptest! {
    #[test]
    fn every_date_is_read_as_another_implementation_reads_it(seconds in 0_u64..253_402_300_800, form in prop_oneof![Just(0_usize), Just(2)]) {
        let text = written(seconds, form);
        prop_assert_eq!(parse(&text), Some(seconds), "{}", text);
        prop_assert_eq!(reference(&text), Some(seconds), "{}", text);
    }

    #[test]
    fn two_digits_are_the_year_that_trying_all_years_finds(
        seconds in 0_u64..253_402_300_800,
        now in 0_u64..250_000_000_000,
        nanos in 0_u32..1_000_000_000,
    ) {
        let now_precisely = UnixTime::new(Duration::new(now, nanos));
        let read = http_date(written(seconds, 1).as_bytes(), now_precisely).map(|date| date.since_epoch().as_secs());
        // What is before 1970 is 1970 to us, and nothing to the other.
        prop_assert_eq!(read.filter(|&read| read > 0), by_trying(seconds, now).filter(|&read| read > 0));
    }

    #[test]
    fn what_is_nearly_a_date_is_read_as_it_is_written_or_not_at_all(text in nearly(), now in 0_u64..253_402_300_800) {
        let now = UnixTime::from_secs(now);
        let read = http_date(&text, now).map(|date| date.since_epoch().as_secs());
        if let Ok(text) = std::str::from_utf8(&text) {
            // The other one reads two digits of a year by a rule of its own, and takes space around a date.
            let differs = text.contains('-') || text.trim() != text;
            if let Some(expected) = reference(text).filter(|_| !differs) {
                prop_assert_eq!(read, Some(expected), "{}", text);
            }
            if let Some(read) = read.filter(|&read| read > 0 && !text.contains(":60")) {
                for part in parts(read) {
                    let part = part.strip_prefix('0').unwrap_or(&part);
                    prop_assert!(text.contains(part), "{text}: {part}");
                }
            }
        } else {
            prop_assert_eq!(read, None);
        }
    }

    #[test]
    fn every_day_is_where_a_naive_calendar_has_it(days in 0_u64..60_000, second in 0_u64..86_400) {
        let (year, month, day) = naive(days);
        let month = std::str::from_utf8(MONTHS[month]).unwrap();
        let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let expected = Some(days * 86_400 + second);
        let fixed = format!("Mon, {day:02} {month} {year} {time} GMT");
        let asctime = format!("Mon {month} {day:2} {time} {year}");
        prop_assert_eq!(parse(&fixed), expected);
        prop_assert_eq!(parse(&asctime), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(text: Vec<u8>, now: Duration) {
        let _ = http_date(&text, UnixTime::new(now));
    }

    #[test]
    fn nothing_that_looks_like_a_date_makes_it_panic(
        text in "(Mon|Monday)[, ]{1,2}[0-9A-Za-z]{2,3}[ -][0-9A-Z][a-z0-9]{2}[ -][0-9: ]{2,13} (GMT|[0-9]{4})",
        now: Duration,
    ) {
        let _ = http_date(text.as_bytes(), UnixTime::new(now));
    }
}
