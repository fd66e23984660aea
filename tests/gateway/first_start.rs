//! A stranger starts the gateway with nothing configured, and pastes what it prints.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Answer, Downstream, Gateway, SECRET, Setup, eventually};

/// The commands on stdout, with their continued lines.
fn commands(stdout: &str) -> Vec<String> {
    let joined = stdout.replace("\\\n", "\\\u{1}");
    let lines = joined.lines().filter(|line| line.trim_start().starts_with("curl "));
    lines.map(|line| line.replace('\u{1}', "\n")).collect()
}

async fn printed(gateway: &Gateway) -> Vec<String> {
    eventually("two commands", async || {
        let commands = commands(&gateway.stdout());
        // The last line is only whole with its end.
        (commands.len() >= 2 && gateway.stdout().ends_with('\n')).then_some(commands)
    })
    .await
}

async fn shell(command: &str) -> Value {
    let output = Command::new("sh").args(["-c", command]).stderr(Stdio::inherit()).output().await.expect("sh");
    assert!(output.status.success(), "{command}: {}", output.status);
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    // Whatever else curl was told to print, the JSON is in it.
    let json = body.find('{').map_or("", |start| &body[start..=body.rfind('}').unwrap_or(start)]);
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{command}: {error} in {body:?}"))
}

async fn has_curl() -> bool {
    let version = Command::new("curl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    version.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn the_printed_commands_work_as_they_are() {
    let setup = Setup::bare();
    let gateway = setup.start().await;
    let commands = printed(&gateway).await;
    assert_eq!(commands.len(), 2, "{}", gateway.stdout());
    let address = gateway.address.to_string();
    assert!(commands.iter().all(|command| command.contains(&address)), "{commands:?}");
    assert!(commands.iter().any(|command| command.contains("/webhooks/cognigy")), "{commands:?}");
    assert!(gateway.stderr().to_lowercase().contains("secret"), "{}", gateway.stderr());
    assert!(setup.path("cognigy_gateway.db").is_file());
    if !has_curl().await {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let mut kinds = Vec::new();
    for command in &commands {
        let answer = shell(command).await;
        if let Some(task) = answer["taskId"].as_str() {
            assert_eq!(answer["status"], "accepted");
            let result = gateway.result(task).await;
            assert_eq!(result.json()["nextNode"], "continue_dialog", "{}", result.text());
        } else {
            assert_eq!(answer["status"], "forwarded", "{answer}");
        }
        kinds.push(answer["status"].clone());
    }
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, [json!("accepted"), json!("forwarded")]);
}

#[tokio::test]
async fn each_start_makes_a_secret_of_its_own() {
    let (one, other) = (Setup::bare().start().await, Setup::bare().start().await);
    let (mut first, mut second) = (printed(&one).await, printed(&other).await);
    for (gateway, commands) in [(&one, &mut first), (&other, &mut second)] {
        for command in commands.iter_mut() {
            *command = command.replace(&gateway.address.to_string(), "ADDRESS");
        }
    }
    assert_ne!(first, second);
}

#[tokio::test]
async fn with_a_secret_of_ones_own_nothing_more_is_printed() {
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway =
        Setup::bare().set("COGNIGY_WEBHOOK_SECRET", "own").set("DOWNSTREAM_URL", downstream.url()).start().await;
    assert_eq!(gateway.get("/health").await.status(), 200);
    assert_eq!(gateway.stdout(), format!("listening on http://{}\n", gateway.address));
    assert_eq!(downstream.calls(), 0);
}

#[tokio::test]
async fn the_readme_says_how_to_sign_a_body_of_ones_own() {
    let readme = include_str!("../../examples/cognigy_gateway/README.md");
    let mut blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let signing = blocks.find(|block| block.contains("openssl")).expect("commands that sign");
    let openssl = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    if !has_curl().await || openssl.is_err() {
        eprintln!("skipped: there is no curl or no openssl");
        return;
    }
    let downstream = Downstream::start(Answer::ok()).await;
    let gateway = Setup::new(downstream.url()).start().await;
    let signing = signing.replace("127.0.0.1:8000", &gateway.address.to_string());
    assert!(signing.contains(&gateway.address.to_string()), "{signing}");
    let answer = shell(&format!("COGNIGY_WEBHOOK_SECRET='{SECRET}'\n{signing}")).await;
    assert_eq!(answer["status"], "accepted", "{answer}");
    let result = gateway.result(answer["taskId"].as_str().unwrap()).await;
    assert_eq!(result.json()["nextNode"], "continue_dialog");
}
