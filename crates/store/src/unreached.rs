//! Why a call got no answer: names, connections, TLS, time and credentials are told
//! apart, since each is somebody else's to mend.

use std::error::Error;
use std::io::ErrorKind;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::SdkError;

use trevor_core::server_words::harmless;
use trevor_net::tls;

/// In one line, with what to do.
pub(super) fn why<E>(error: &SdkError<E>) -> String {
    match error {
        SdkError::TimeoutError(_) => timed_out(),
        SdkError::ResponseError(_) => "the answer broke off".to_owned(),
        SdkError::DispatchFailure(failure) => {
            let cause = failure.as_connector_error();
            let Some(cause) = cause.map(|e| e as &(dyn Error + 'static)) else {
                return "the request could not be sent".to_owned();
            };
            let told = of_causes(cause);
            match failure.is_timeout() {
                true => told.unwrap_or_else(timed_out),
                false => told.unwrap_or_else(|| {
                    format!("the server cannot be reached ({})", innermost(cause))
                }),
            }
        }
        SdkError::ConstructionFailure(failure) => {
            let cause = format!("{failure:?}");
            format!("the request could not be made ({})", harmless(&cause))
        }
        _ => "the request could not be sent".to_owned(),
    }
}

fn timed_out() -> String {
    "timed out; look at storage.<zone>.endpoint, and at firewalls and network policies on the way"
        .to_owned()
}

/// What is wrong with the credentials, in the words of whoever was to give them.
pub(super) fn credentials(error: &(dyn Error + 'static)) -> String {
    format!(
        "there are no credentials ({}); set storage.<zone>.credentials_secret, or give the pod an identity of its own",
        chain(error)
    )
}

fn of_causes(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(problem) = tls::untrusted(error) {
        return Some(format!(
            "the server's certificate is not trusted: {problem}; storage.<zone>.ca_bundle names a file of authorities"
        ));
    }
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(none) = cause.downcast_ref::<CredentialsError>() {
            return Some(credentials(none));
        }
        if let Some(found) = of_one(cause) {
            return Some(found);
        }
        next = tls::cause_of(cause);
    }
    None
}

fn of_one(cause: &(dyn Error + 'static)) -> Option<String> {
    let said = cause.to_string();
    if said == "dns error" || said.starts_with("failed to lookup address") {
        return Some(format!(
            "the server's name is not known ({}); look at storage.<zone>.endpoint, and at DNS",
            innermost(cause)
        ));
    }
    if said.contains("tunnel") || said.contains("proxy") {
        return Some(format!(
            "the proxy does not let us through ({}); look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            chain(cause)
        ));
    }
    match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::InvalidMessage(_)) => {
            return Some("the server does not speak TLS there; look at scheme and port of storage.<zone>.endpoint".to_owned());
        }
        Some(rustls) => {
            return Some(format!(
                "no TLS connection ({})",
                harmless(&rustls.to_string())
            ));
        }
        None => {}
    }
    let kind = cause.downcast_ref::<std::io::Error>()?.kind();
    Some(match kind {
        ErrorKind::ConnectionRefused => {
            "the connection is refused: nothing listens there; look at host and port of storage.<zone>.endpoint, and at whether the server is up".to_owned()
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "there is no way to the server's address; look at storage.<zone>.endpoint, and at network policies".to_owned()
        }
        ErrorKind::TimedOut => timed_out(),
        _ => return None,
    })
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(cause) = tls::cause_of(last) {
        last = cause;
    }
    harmless(&last.to_string())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = harmless(&cause.to_string());
        if !text.is_empty() && said.last() != Some(&text) {
            said.push(text);
        }
        next = tls::cause_of(cause);
    }
    said.join(": ")
}
