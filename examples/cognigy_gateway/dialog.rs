//! What a queued webhook tells, and what the downstream is asked about it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tracing::{Span, info_span};

use crate::{json, telemetry::SPANS};

/// The characters of a name that a span holds.
const MAX_NAME: usize = 256;

/// An event of a dialog, as Cognigy posts it; its values are passed on as they were written.
pub(crate) struct DialogEvent<'a> {
    conversation_id: &'a RawValue,
    variables: Option<&'a RawValue>,
    current_node: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    session_id: Option<&'a RawValue>,
}

/// Why a webhook is not a dialog event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    Json,
    ConversationId,
}

impl Invalid {
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Json => "invalid_json",
            Self::ConversationId => "missing_conversation_id",
        }
    }
}

impl<'a> DialogEvent<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Invalid> {
        let names = ["conversationId", "variables", "currentNode", "userId", "sessionId"];
        // Read once more only if it is no object.
        let [conversation_id, variables, current_node, user_id, session_id] = json::members(body, names)
            .ok_or_else(|| json::parse(body).map_or(Invalid::Json, |_| Invalid::ConversationId))?;
        let conversation_id = conversation_id
            .filter(|id| id.get().starts_with('"') && id.get() != "\"\"")
            .ok_or(Invalid::ConversationId)?;
        Ok(Self { conversation_id, variables, current_node, user_id, session_id })
    }

    /// The conversation, for a span.
    pub(crate) fn conversation_id(&self) -> Option<String> {
        json::text(self.conversation_id).map(shortened)
    }

    /// The node that the dialog stands at, for a span. One that is no name is left out: logs hold no bodies.
    pub(crate) fn current_node(&self) -> Option<String> {
        json::text(self.current_node?).map(shortened)
    }

    /// The body of the customer lookup.
    pub(crate) fn lookup(&self) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Lookup<'a> {
            conversation_id: &'a RawValue,
            external_id: Option<&'a RawValue>,
            context: Option<&'a RawValue>,
        }
        let customer_id = self
            .variables
            .and_then(|variables| json::members(variables.get().as_bytes(), ["customerId"]))
            .and_then(|[id]| id);
        let Self { conversation_id, current_node, .. } = *self;
        let lookup = Lookup { conversation_id, external_id: customer_id, context: current_node };
        serde_json::to_vec(&lookup).expect("raw values can be written").into()
    }

    /// What Cognigy's inject API is told about `result`, which is JSON. Where the event names no user or no session, the
    /// conversation stands for it.
    pub(crate) fn injection(&self, result: &str) -> String {
        let id = |id: Option<&'a RawValue>| {
            id.filter(|id| !matches!(id.get(), "null" | "\"\"")).unwrap_or(self.conversation_id).get()
        };
        let (user, session) = (id(self.user_id), id(self.session_id));
        format!(r#"{{"userId":{user},"sessionId":{session},"text":"","data":{result}}}"#)
    }
}

/// The span of a webhook that is passed on. What is no event goes on all the same, as long as it is JSON.
pub(crate) fn span(body: &[u8]) -> Result<Span, Invalid> {
    let event = match DialogEvent::parse(body) {
        Err(Invalid::Json) => return Err(Invalid::Json),
        event => event.ok(),
    };
    Ok(info_span!(
        target: SPANS,
        "process_dialog_event",
        cognigy.conversation_id = event.as_ref().and_then(DialogEvent::conversation_id),
        cognigy.current_node = event.as_ref().and_then(DialogEvent::current_node),
    ))
}

/// Spans wait in memory, so none may be as large as a body.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_NAME) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_hold_a_name_as_far_as_it_is_one() {
        let body = format!(r#"{{"conversationId":"{}","currentNode":{{"id":1}}}}"#, "ü".repeat(1000));
        let event = DialogEvent::parse(body.as_bytes()).unwrap();
        assert_eq!(event.conversation_id(), Some("ü".repeat(256)));
        assert_eq!(event.current_node(), None);
    }

    fn lookup(body: &str) -> Result<String, Invalid> {
        DialogEvent::parse(body.as_bytes()).map(|event| String::from_utf8(event.lookup().to_vec()).unwrap())
    }

    #[test]
    fn values_reach_the_downstream_as_they_were_written() {
        assert_eq!(
            lookup(
                r#"{ "conversationId": "c\u0031", "variables": {"customerId": 12345678901234567890.10}, "currentNode": "n" }"#
            ),
            Ok(r#"{"conversationId":"c\u0031","externalId":12345678901234567890.10,"context":"n"}"#.into())
        );
    }

    #[test]
    fn what_is_not_told_is_null() {
        let bare = Ok(r#"{"conversationId":"c","externalId":null,"context":null}"#.into());
        for body in [
            r#"{"conversationId":"c"}"#,
            r#"{"conversationId":"c","variables":null,"currentNode":null}"#,
            r#"{"conversationId":"c","variables":[1]}"#,
            r#"{"conversationId":"x","conversationId":"c","variables":{}}"#,
        ] {
            assert_eq!(lookup(body), bare, "{body}");
        }
    }

    #[test]
    fn an_injection_goes_to_the_user_and_session_of_the_event() {
        let injection =
            |body: &str| DialogEvent::parse(body.as_bytes()).map(|event| event.injection(r#"{"n":1.0}"#)).unwrap();
        assert_eq!(
            injection(r#"{"conversationId":"c","userId":"u","sessionId":"\u0073"}"#),
            r#"{"userId":"u","sessionId":"\u0073","text":"","data":{"n":1.0}}"#
        );
        for body in [
            r#"{"conversationId":"c"}"#,
            r#"{"conversationId":"c","userId":null,"sessionId":""}"#,
            r#"{"conversationId":"c","userId":"","sessionId":"c"}"#,
        ] {
            assert_eq!(injection(body), r#"{"userId":"c","sessionId":"c","text":"","data":{"n":1.0}}"#, "{body}");
        }
    }

    #[test]
    fn a_conversation_id_is_a_string_that_is_not_empty() {
        for body in
            ["[]", "1", "{}", r#"{"conversationId":""}"#, r#"{"conversationId":7}"#, r#"{"conversationId":null}"#]
        {
            assert_eq!(lookup(body), Err(Invalid::ConversationId), "{body}");
        }
        assert_eq!(lookup("{"), Err(Invalid::Json));
    }
}
