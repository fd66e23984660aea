//! Every provider's profile, by its name.

use portcullis::signature::Scheme;

/// All of them.
pub(crate) fn profiles() -> Vec<Scheme> {
    vec![
        Scheme::cognigy(),
        Scheme::dropbox(),
        Scheme::genesys(),
        Scheme::github(),
        Scheme::jambonz(),
        Scheme::linear(),
        Scheme::meta(),
        Scheme::paddle(),
        Scheme::shopify(),
        Scheme::slack(),
        Scheme::square(),
        Scheme::standard_webhooks(),
        Scheme::stripe(),
        Scheme::svix(),
        Scheme::twitch(),
        Scheme::zoom(),
    ]
}

/// The one of this name.
pub(crate) fn profile(name: &str) -> Option<Scheme> {
    profiles().into_iter().find(|scheme| scheme.name() == name)
}
