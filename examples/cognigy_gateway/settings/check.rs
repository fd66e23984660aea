//! What no single value shows: settings that make no sense together.

use super::{BaseUrl, Hidden, Settings};

impl Settings {
    /// What no single value shows.
    pub(super) fn check(&self) -> Result<(), String> {
        let secrets = [
            ("COGNIGY_WEBHOOK_SECRET", &self.cognigy_webhook_secret),
            ("COGNIGY_WEBHOOK_SECRET_PREVIOUS", &self.cognigy_webhook_secret_previous),
            ("DOWNSTREAM_BEARER_TOKEN", &self.downstream_bearer_token),
        ];
        if let Some((name, _)) =
            secrets.iter().find(|(_, secret)| secret.as_ref().is_some_and(|s| s.expose().is_empty()))
        {
            return Err(format!("{name}: is set, but empty"));
        }
        if self.downstream_bearer_token.as_ref().is_some_and(|token| token.bearer().is_none()) {
            return Err("DOWNSTREAM_BEARER_TOKEN: holds what no HTTP header can".into());
        }
        if self.downstream_ca_file.is_some() && !self.downstream_url.as_ref().is_some_and(BaseUrl::is_https) {
            return Err("DOWNSTREAM_CA_FILE: makes no sense unless DOWNSTREAM_URL begins with https://".into());
        }
        self.check_oauth()?;
        if self.probe_successes() > self.breaker_probes {
            return Err("BREAKER_PROBE_SUCCESSES: more than BREAKER_PROBES can never be reached".into());
        }
        Ok(())
    }

    /// All of the client or nothing of it.
    fn check_oauth(&self) -> Result<(), String> {
        let secret = self.oauth_client_secret.as_ref().map(Hidden::expose);
        let settings = [
            ("OAUTH_TOKEN_URL", self.oauth_token_url.as_ref().map(|_| "a URL"), true),
            ("OAUTH_CLIENT_ID", self.oauth_client_id.as_deref(), true),
            ("OAUTH_CLIENT_SECRET", secret, true),
            ("OAUTH_SCOPE", self.oauth_scope.as_deref(), false),
        ];
        if let Some((name, ..)) = settings.iter().find(|(_, value, _)| value.is_some_and(str::is_empty)) {
            return Err(format!("{name}: is set, but empty"));
        }
        let given = settings.iter().find(|(_, value, _)| value.is_some());
        let missing = settings.iter().find(|(_, value, needed)| *needed && value.is_none());
        match (given, missing) {
            (Some((given, ..)), Some((missing, ..))) => Err(format!("{missing}: is needed, since {given} is set")),
            _ => Ok(()),
        }
    }

    /// What is no error, and yet hardly what somebody wants.
    pub(crate) fn warn(&self) {
        if self.breaker_slow_call > self.downstream_timeout {
            tracing::warn!(
                "BREAKER_SLOW_CALL is longer than DOWNSTREAM_TIMEOUT, which cuts each call before: no call can be slow"
            );
        }
    }
}
