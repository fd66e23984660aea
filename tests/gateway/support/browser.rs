//! Chromium without a window, driven by `chromedriver`: WebDriver over plain HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::Request;

/// One window; it closes when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Opens a window, or says that it cannot.
    pub(crate) async fn open() -> Option<Self> {
        let Ok(mut driver) = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn() else {
            eprintln!("skipped: chromedriver is not installed");
            return None;
        };
        let output = BufReader::new(driver.stdout.take().expect("a pipe"));
        let (said, port) = channel();
        thread::spawn(move || {
            // To the end, so that the driver never waits for a reader.
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    let _ = said.send(port.trim_end_matches('.').parse::<u16>().expect("a port"));
                }
            }
        });
        let port = port.recv_timeout(Duration::from_secs(20)).expect("the driver takes connections");
        let mut browser = Self { driver, address: SocketAddr::from(([127, 0, 0, 1], port)), session: String::new() };
        // It shows nothing but the gateway's own page; its sandbox would need rights that a container does not have.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let chromium = json!({ "args": arguments });
        let wishes = json!({ "goog:chromeOptions": chromium, "goog:loggingPrefs": { "browser": "ALL" } });
        let opened = browser.ask("POST", "/session", json!({ "capabilities": { "alwaysMatch": wishes } })).await;
        browser.session = format!("/session/{}", opened["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let request = Request::of("localhost", method, &format!("{}{path}", self.session));
        let request = request.header("Content-Type", "application/json");
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = request.send(self.address).await.expect("an answer from chromedriver");
        assert_eq!(answer.status(), 200, "{method} {path}: {}", answer.text());
        answer.json()["value"].take()
    }

    pub(crate) async fn go(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    /// What an expression of the page's language is.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.ask("POST", "/execute/sync", json!({ "script": format!("return {expression};"), "args": [] })).await
    }

    /// The text of an element.
    pub(crate) async fn text(&self, id: &str) -> String {
        let text = self.eval(&format!("document.getElementById('{id}').textContent")).await;
        text.as_str().unwrap_or_else(|| panic!("no #{id}")).to_owned()
    }

    /// Clicks where the element is seen, as a person does.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.ask("POST", "/element", json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|found| found.values().next()?.as_str()).expect("an element");
        self.ask("POST", &format!("/element/{id}/click"), json!({})).await;
    }

    /// A command of Chromium's own protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await
    }

    pub(crate) async fn width(&self, width: u32, height: u32, phone: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone });
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub(crate) async fn prefers(&self, features: &[(&str, &str)]) {
        let features: Vec<_> = features.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// What the page had to complain of since this was last asked: errors of scripts, and what the policy forbade.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({ "type": "browser" })).await;
        let entries = log.as_array().expect("a log").iter();
        entries.filter(|entry| entry["level"] != "INFO").map(Value::to_string).collect()
    }

    /// Writes a picture of the whole page into the directory that `GATEWAY_SCREENSHOTS` names, if it names one.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(directory) = std::env::var_os("GATEWAY_SCREENSHOTS") else { return };
        let picture = self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let picture = STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64");
        let path = std::path::Path::new(&directory).join(format!("{name}.png"));
        std::fs::write(path, picture).expect("a directory for pictures");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes its browser when it is asked to, and not when it is killed.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let request = Request::of("localhost", "DELETE", &self.session).header("Connection", "close");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(&request.into_bytes());
            let _ = stream.read(&mut [0; 1024]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
