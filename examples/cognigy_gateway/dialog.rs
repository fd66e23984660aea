//! What a queued webhook tells, and what the downstream is asked about it.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::json;

/// An event of a dialog, as Cognigy posts it; its values are passed on as they were written.
pub(crate) struct DialogEvent<'a> {
    conversation_id: &'a RawValue,
    customer_id: Option<&'a RawValue>,
    current_node: Option<&'a RawValue>,
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
        let event = json::parse(body).ok_or(Invalid::Json)?;
        let [conversation_id, variables, current_node] =
            json::members(event, ["conversationId", "variables", "currentNode"]).ok_or(Invalid::ConversationId)?;
        let conversation_id = conversation_id
            .filter(|id| id.get().starts_with('"') && id.get() != "\"\"")
            .ok_or(Invalid::ConversationId)?;
        let customer_id = variables.and_then(|variables| json::members(variables, ["customerId"])).and_then(|[id]| id);
        Ok(Self { conversation_id, customer_id, current_node })
    }

    /// The conversation, for a span.
    pub(crate) fn conversation_id(&self) -> Option<String> {
        json::text(self.conversation_id)
    }

    /// The node that the dialog stands at, for a span. One that is no name is left out: logs hold no bodies.
    pub(crate) fn current_node(&self) -> Option<String> {
        json::text(self.current_node?)
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
        let Self { conversation_id, customer_id, current_node } = *self;
        let lookup = Lookup { conversation_id, external_id: customer_id, context: current_node };
        serde_json::to_vec(&lookup).expect("raw values can be written").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_conversation_id_is_a_string_that_is_not_empty() {
        for body in
            ["[]", "1", "{}", r#"{"conversationId":""}"#, r#"{"conversationId":7}"#, r#"{"conversationId":null}"#]
        {
            assert_eq!(lookup(body), Err(Invalid::ConversationId), "{body}");
        }
        assert_eq!(lookup("{"), Err(Invalid::Json));
    }
}
