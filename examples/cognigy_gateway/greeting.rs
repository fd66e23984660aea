//! What the gateway says when it has started.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
};

use portcullis::signature::{Scheme, Secret, Signer};

use crate::{logging::NOTICE, routes, simulator};

/// Tells people where to go on. Whoever reads stdout may have gone, which is no reason to stop.
pub(crate) fn greet(address: SocketAddr, generated: Option<&str>, simulator: Option<SocketAddr>, page: bool) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "listening on http://{address}");
    if let Some(secret) = generated {
        tracing::warn!(
            target: NOTICE,
            "COGNIGY_WEBHOOK_SECRET is not set: a secret was generated for this run, which the commands on stdout use"
        );
        for command in commands(address, secret).into_iter().flatten() {
            let _ = writeln!(stdout, "{command}");
        }
    }
    if let Some(simulator) = simulator {
        tracing::info!(
            target: NOTICE,
            "DOWNSTREAM_URL is not set: a downstream is simulated, which is {} after: curl -X PUT http://{simulator}/simulate/failing",
            simulator::moods()
        );
        if page {
            tracing::info!(target: NOTICE, "http://{}/ shows it, and has buttons for it", reachable(address));
        }
    }
}

/// An address to talk to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// A signed `curl` command for each style of webhook.
fn commands(address: SocketAddr, secret: &str) -> Option<[String; 2]> {
    let address = reachable(address);
    let command = |route: &str, body: &str| -> Option<String> {
        let mut headers = http::HeaderMap::new();
        Signer::new(Scheme::cognigy(), Secret::new(secret).ok()?).sign(&mut headers, body.as_bytes()).ok()?;
        let signature = headers.get("x-cognigy-signature")?.to_str().ok()?;
        Some(format!(
            "curl -sS http://{address}{route} -H 'Content-Type: application/json' -H 'X-Cognigy-Signature: {signature}' -w '\\n' -d '{body}'"
        ))
    };
    let queued = r#"{"conversationId":"demo-1","currentNode":"ask_order","variables":{"customerId":"C-1001"}}"#;
    let proxied = r#"{"customerId":"C-1001"}"#;
    Some([command(routes::QUEUED, queued)?, command(routes::PROXIED, proxied)?])
}
