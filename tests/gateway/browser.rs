//! The page at `/` in a browser: what a newcomer sees and does, on a desk, on a phone and in the dark.

use std::time::Duration;

use serde_json::json;

use crate::support::{Browser, Setup, eventually, start, within};

/// What the page promises a newcomer.
const MINUTE: Duration = Duration::from_secs(60);

/// The least contrast of any text with what is behind it, as WCAG 2 computes it, and where.
const CONTRAST: &str = r"(() => {
    const channels = (color) => color.match(/[\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = channels(color).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (channels(color)[3] !== 0) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    let least = [99, ''];
    for (const element of document.body.querySelectorAll('*:not(script, style, svg *)')) {
        if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;
        const [one, other] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
        const contrast = (one + 0.05) / (other + 0.05);
        if (contrast < least[0]) least = [contrast, element.outerHTML.slice(0, 120)];
    }
    return least;
})()";

async fn readable(browser: &Browser, what: &str) {
    let least = browser.eval(CONTRAST).await;
    assert!(least[0].as_f64().is_some_and(|contrast| contrast >= 4.5), "{what}: {least}");
    let fits = browser.eval("document.documentElement.scrollWidth <= document.documentElement.clientWidth").await;
    assert_eq!(fits, true, "{what}: it is wider than its window");
}

async fn until_state(browser: &Browser, state: &str) {
    let what = format!("the page says {state}");
    within(MINUTE, &what, async || (browser.text("state-name").await == state).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver"]
async fn a_newcomer_sees_the_circuit_open_and_close() {
    let Some(browser) = Browser::open().await else { return };
    let mut gateway = Setup::bare().start().await;
    browser.width(1100, 900, false).await;
    // Contrast is not that of a button which is about to change its colour.
    let still = ("prefers-reduced-motion", "reduce");
    browser.prefers(&[still]).await;
    browser.go(&format!("http://{}/", gateway.address)).await;
    until_state(&browser, "Closed").await;
    browser.picture("closed").await;
    readable(&browser, "closed").await;

    browser.click("#traffic").await;
    eventually("calls are listed", async || {
        (browser.eval("document.querySelectorAll('#calls td.good').length").await.as_u64() >= Some(3)).then_some(())
    })
    .await;
    browser.click("[data-mood=failing]").await;
    until_state(&browser, "Open").await;
    let why = eventually("why", async || Some(browser.text("why").await).filter(|why| !why.is_empty())).await;
    assert_eq!(why, "Opened because of: 5 failures in a row.");
    assert_eq!(browser.eval("document.querySelector('[data-mood=failing]').ariaPressed").await, "true");
    eventually("the chart has a band", async || {
        (browser.eval("document.querySelectorAll('#bands .band-open').length").await == 1).then_some(())
    })
    .await;
    crate::support::pause(3000).await;
    browser.picture("open").await;
    readable(&browser, "open").await;
    browser.prefers(&[still, ("prefers-color-scheme", "dark")]).await;
    browser.picture("open-dark").await;
    readable(&browser, "open in the dark").await;
    browser.width(360, 740, true).await;
    browser.picture("open-phone-dark").await;
    readable(&browser, "open on a phone in the dark").await;
    browser.prefers(&[still, ("prefers-color-scheme", "light")]).await;
    browser.picture("open-phone").await;
    readable(&browser, "open on a phone").await;
    let moves = "getComputedStyle(document.querySelector('button')).transitionDuration";
    assert_eq!(browser.eval(moves).await, "0s");
    browser.prefers(&[]).await;
    assert_ne!(browser.eval(moves).await, "0s");

    browser.click("[data-mood=well]").await;
    until_state(&browser, "Closed").await;
    assert!(browser.text("why").await.starts_with("Last opened at "), "{}", browser.text("why").await);
    browser.width(1100, 900, false).await;
    crate::support::pause(2000).await;
    browser.picture("closed-again").await;
    assert_eq!(browser.complaints().await, [""; 0]);

    gateway.signal("TERM").await;
    assert_eq!(gateway.exit(Duration::from_secs(10)).await, Some(0));
    eventually("the page says that it is alone", async || {
        browser.text("connection").await.starts_with("No connection").then_some(())
    })
    .await;
    browser.picture("no-connection").await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver"]
async fn without_a_simulator_there_is_nothing_to_press() {
    let Some(browser) = Browser::open().await else { return };
    let (_downstream, gateway) = start().await;
    browser.go(&format!("http://{}/", gateway.address)).await;
    until_state(&browser, "Closed").await;
    gateway.call().await;
    eventually("the call is listed", async || {
        (browser.eval("document.querySelectorAll('#calls td.good').length").await == 1).then_some(())
    })
    .await;
    assert_eq!(browser.eval("document.querySelectorAll('button').length").await, json!(0));
    assert_eq!(browser.complaints().await, [""; 0]);
}
