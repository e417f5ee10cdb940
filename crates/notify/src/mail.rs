//! Mail. Each address gets a mail of its own: a server that refuses one of three
//! refuses that one alone, and nobody sees who else was told.

use std::time::Duration;

use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::channel::{ChannelError, Secret};
use super::delivery::{Failure, NotificationFailure};
use super::message::Message;
use trevor_config::notifications::{Channel as Settings, Smtp, Tls as Protection};
use trevor_net::tls::{self, authorities};

/// For each command, and a bit more for all of them.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mail server that can be used.
pub struct Mail {
    /// As configured.
    pub config: Smtp,
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("host", &self.config.host)
            .finish_non_exhaustive()
    }
}

impl Mail {
    /// Sets it up.
    ///
    /// # Errors
    /// When its password is missing or TLS cannot be set up.
    pub fn new(
        channel: &Settings,
        config: &Smtp,
        password: Option<&Secret>,
    ) -> Result<Self, ChannelError> {
        let settings = |problem: String| ChannelError::Settings {
            channel: channel.name.clone(),
            problem,
        };
        let from = config
            .from
            .parse()
            .map_err(|_| settings("smtp.from is not an address".to_owned()))?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .timeout(Some(PATIENCE))
            .tls(protection(channel, config)?);
        if let Some(username) = &config.username {
            let password = password.ok_or_else(|| ChannelError::Secret {
                channel: channel.name.clone(),
                variable: channel.variable("PASSWORD"),
                problem: "is not set, and smtp.username is",
            })?;
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            transport = transport.credentials(credentials);
        }
        Ok(Self {
            config: config.clone(),
            from,
            transport: transport.build(),
        })
    }

    /// Sends one message to one address, once.
    ///
    /// # Errors
    /// When it was not taken.
    pub async fn send(&self, message: &Message<'_>, to: &str) -> Result<(), Failure> {
        let mail = self
            .write(message, to)
            .ok_or(Failure::lasting(NotificationFailure::Malformed))?;
        match tokio::time::timeout(PATIENCE * 2, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::passing(NotificationFailure::TimedOut)),
        }
    }

    /// Greets the server, with TLS and a log-in where configured, and sends nothing.
    ///
    /// # Errors
    /// When it does not answer well.
    pub async fn reach(&self) -> Result<(), Failure> {
        let unreachable = || Failure::passing(NotificationFailure::Unreachable);
        match tokio::time::timeout(PATIENCE * 2, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(unreachable()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::passing(NotificationFailure::TimedOut)),
        }
    }

    fn write(&self, message: &Message<'_>, to: &str) -> Option<lettre::Message> {
        let to: Address = to.parse().ok()?;
        let id = format!("<{}@{}>", message.notice.id(), self.from.email.domain());
        lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(message.subject())
            .message_id(Some(id))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(
                message.text(),
                message.html(),
            ))
            .ok()
    }
}

/// `Auto-Submitted` (RFC 3834): nobody's holiday answers it.
#[derive(Clone, Copy)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

fn protection(channel: &Settings, config: &Smtp) -> Result<Tls, ChannelError> {
    if config.tls == Protection::None {
        return Ok(Tls::None);
    }
    let failed = |problem: String| ChannelError::Tls {
        channel: channel.name.clone(),
        problem,
    };
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_bundle {
        let pem = authorities::of_file(path).map_err(failed)?;
        let certificate = Certificate::from_pem(&pem).map_err(|e| failed(e.to_string()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters.build().map_err(|e| failed(e.to_string()))?;
    Ok(match config.tls {
        Protection::StartTls => Tls::Required(parameters),
        Protection::Tls | Protection::None => Tls::Wrapper(parameters),
    })
}

/// What the server said is not kept: it may repeat what was sent.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let code = error.status().map(u16::from);
    let reason = if code.is_some() {
        NotificationFailure::Refused
    } else if error.is_timeout() {
        NotificationFailure::TimedOut
    } else if error.is_tls() || tls::untrusted(error).is_some() {
        NotificationFailure::TlsFailed
    } else {
        NotificationFailure::Unreachable
    };
    Failure {
        reason,
        code,
        // A password that is refused is mended without the message being wrong.
        permanent: error.is_permanent() && !matches!(code, Some(530..=538)),
    }
}
