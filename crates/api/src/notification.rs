//! What became of a notification, channel by channel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One notification on its way by one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The channel, as the configuration names it.
    #[schemars(length(max = 63))]
    pub channel: String,
    /// To whom, where the channel is mail: a recipient of the request, or which one of
    /// the channel's own addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub target: Option<String>,
    /// The notification's id: that of the CloudEvent, and the first half of the Message-ID.
    #[schemars(length(max = 200))]
    pub id: String,
    /// How far it is.
    pub state: NotificationState,
    /// How often it was tried.
    pub attempts: i64,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<NotificationError>,
    /// When this was so.
    pub time: Time,
}

/// How far a notification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationState {
    /// It is tried again.
    Pending,
    /// It was taken.
    Delivered,
    /// It was given up.
    Failed,
    /// It was not sent: what it tells of is no longer so.
    Superseded,
}

/// Why a try failed: one word and a status code, and nothing that a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationError {
    /// One word.
    pub reason: NotificationFailure,
    /// Status code of HTTP or SMTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
}

/// Why a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationFailure {
    /// The configuration has no such channel.
    UnknownChannel,
    /// There is nobody to write to.
    NoAddress,
    /// The host's name does not resolve.
    NotResolved,
    /// The host is at a private address that is not listed.
    AddressNotAllowed,
    /// There is no connection, or it broke.
    Unreachable,
    /// It took too long.
    TimedOut,
    /// TLS failed.
    TlsFailed,
    /// The server sends elsewhere, and is not followed.
    Redirected,
    /// The server refuses.
    Refused,
    /// The message cannot be written.
    Malformed,
}
