//! Secrets from files, as container platforms hand them out: `NAME_FILE` in place of `NAME`.
//!
//! They are read once, at the start. What is wrong with one does not show what is in it, nor the name of the file: who mixes
//! the two settings up has written the secret there.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{ArgMatches, Args, parser::ValueSource};

use super::{Hidden, Settings, endpoint};

/// No secret is longer.
const MAX_BYTES: u64 = 64 * 1024;

/// Where the secrets are that are not in settings themselves.
#[derive(Debug, Default, Args)]
pub(super) struct SecretFiles {
    /// File that holds COGNIGY_WEBHOOK_SECRET
    #[arg(long, env)]
    cognigy_webhook_secret_file: Option<PathBuf>,
    /// File that holds COGNIGY_WEBHOOK_SECRET_PREVIOUS
    #[arg(long, env)]
    cognigy_webhook_secret_previous_file: Option<PathBuf>,
    /// File that holds DOWNSTREAM_BEARER_TOKEN
    #[arg(long, env)]
    downstream_bearer_token_file: Option<PathBuf>,
    /// File that holds OAUTH_CLIENT_SECRET
    #[arg(long, env)]
    oauth_client_secret_file: Option<PathBuf>,
    /// File that holds QUEUE_URL, which may hold a password
    #[arg(long, env)]
    queue_url_file: Option<PathBuf>,
    /// File that holds COGNIGY_INJECT_URL, which may hold a token
    #[arg(long, env)]
    cognigy_inject_url_file: Option<PathBuf>,
}

/// Puts what the files hold into the settings, or says on one line which of them is wrong.
pub(super) fn read(settings: &mut Settings, matches: &ArgMatches) -> Result<(), String> {
    let files = std::mem::take(&mut settings.secret_files);
    let read = |name: &'static str, file| Named { name, file, matches };
    let secret = read("COGNIGY_WEBHOOK_SECRET", files.cognigy_webhook_secret_file);
    secret.into(&mut settings.cognigy_webhook_secret, hidden)?;
    let previous = read("COGNIGY_WEBHOOK_SECRET_PREVIOUS", files.cognigy_webhook_secret_previous_file);
    previous.into(&mut settings.cognigy_webhook_secret_previous, hidden)?;
    let token = read("DOWNSTREAM_BEARER_TOKEN", files.downstream_bearer_token_file);
    token.into(&mut settings.downstream_bearer_token, hidden)?;
    let client = read("OAUTH_CLIENT_SECRET", files.oauth_client_secret_file);
    client.into(&mut settings.oauth_client_secret, hidden)?;
    read("QUEUE_URL", files.queue_url_file).into(&mut settings.queue_url, FromStr::from_str)?;
    let inject = read("COGNIGY_INJECT_URL", files.cognigy_inject_url_file);
    inject.into(&mut settings.cognigy_inject_url, |text| endpoint(text).map(Some))
}

fn hidden(text: &str) -> Result<Option<Hidden>, String> {
    text.parse().map(Some).map_err(|error| match error {})
}

/// A setting that may be in a file.
struct Named<'m> {
    name: &'static str,
    file: Option<PathBuf>,
    matches: &'m ArgMatches,
}

impl Named<'_> {
    /// Reads it into its slot, if it is in a file.
    fn into<T>(self, slot: &mut T, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<(), String> {
        let Self { name, file, matches } = self;
        let Some(file) = file else { return Ok(()) };
        let source = matches.value_source(&name.to_lowercase());
        if matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            return Err(format!("{name}_FILE: {name} is set too, and only one of them can count"));
        }
        *slot = text(&file).and_then(|text| parse(&text)).map_err(|why| format!("{name}_FILE: {why}"))?;
        Ok(())
    }
}

/// What a file holds, without the newline that editors put at the end.
fn text(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    let length = read.map_err(|error| format!("the file cannot be read: {error}"))?;
    if length as u64 > MAX_BYTES {
        return Err(format!("the file is longer than {MAX_BYTES} bytes"));
    }
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() { Err("the file is empty".into()) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Result<String, String> {
        let file = std::env::temp_dir().join(format!("portcullis-{:032x}", rand::random::<u128>()));
        std::fs::write(&file, content).unwrap();
        let text = text(&file);
        std::fs::remove_file(file).unwrap();
        text
    }

    #[test]
    fn one_newline_at_the_end_does_not_count() {
        for (content, secret) in
            [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n"), (" s ", " s "), ("s\r", "s\r")]
        {
            assert_eq!(read(content.as_bytes()).as_deref(), Ok(secret), "{content:?}");
        }
    }

    #[test]
    fn what_holds_no_secret_is_refused_without_being_shown() {
        for content in [&b""[..], b"\n", b"\r\n", b"s3cret\xff", &[b's'; 65 * 1024]] {
            let error = read(content).unwrap_err();
            assert!(error.starts_with("the file") && !error.contains("s3cret"), "{error}");
        }
        assert!(text(Path::new("/s3cret")).is_err_and(|error| !error.contains("s3cret")));
        assert!(text(Path::new("/dev/zero")).is_err());
    }
}
