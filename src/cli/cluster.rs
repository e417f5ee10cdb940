//! The way to the API server: as kubectl takes it, proxies included.

use std::net::IpAddr;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use trevor_core::proxies::{NoProxyUrl, Proxies, Proxy};

/// Why there is no way to the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No way to the cluster is configured.
    #[error("kubeconfig: {0}; name a file with --kubeconfig or KUBECONFIG, and a context in it")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a pod's account.
    #[error("{0}; give the path of a kubeconfig in KUBECONFIG")]
    Nothing(#[from] kube::config::InferConfigError),
    /// The proxy cannot be used.
    #[error(transparent)]
    Proxy(#[from] NoProxyUrl),
    /// The client cannot be set up.
    #[error("connecting to the API server: {0}")]
    Client(#[from] kube::Error),
}

/// A client by the kubeconfig of the environment, or else by the account of the pod.
///
/// # Errors
/// When there is neither.
pub async fn client() -> Result<Client, ClusterError> {
    // In a pod the API server is near, and no proxy has a way to it.
    let config = match Kubeconfig::read() {
        Ok(kubeconfig) => of_kubeconfig(kubeconfig, None).await?,
        Err(_) => {
            let mut config = Config::infer().await?;
            config.proxy_url = None;
            config
        }
    };
    Ok(Client::try_from(config)?)
}

/// What a kubeconfig says of a context (the current one, unless given).
///
/// # Errors
/// When it cannot be used.
pub async fn of_kubeconfig(
    kubeconfig: Kubeconfig,
    context: Option<&str>,
) -> Result<Config, ClusterError> {
    let named = named_proxy(&kubeconfig, context);
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    let proxy = match named {
        Some(url) => Some(Proxy::parse(&url, "proxy-url of the kubeconfig")?),
        None => of_environment(&config.cluster_url, &trevor_net::proxies::of_environment()?),
    };
    config.proxy_url = proxy.and_then(|proxy| proxy.url().parse().ok());
    Ok(config)
}

/// As Go has it: what listens on this machine is never behind a proxy of the environment.
fn of_environment(url: &http::Uri, proxies: &Proxies) -> Option<Proxy> {
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|a| a.is_loopback());
    if here {
        return None;
    }
    proxies.of_url(url).cloned()
}

/// `proxy-url` of a context's cluster, for which NO_PROXY has no meaning.
fn named_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> Option<String> {
    let name = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|c| c.name == name)?;
    let cluster = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|c| c.name == *cluster)?;
    let url = cluster.cluster.as_ref()?.proxy_url.clone();
    url.filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str, proxy: &str) -> Kubeconfig {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, \
               contexts: [{{name: a, context: {{cluster: c, user: u}}}}, {{name: b, context: {{cluster: d, user: u}}}}], \
               clusters: [{{name: c, cluster: {{server: '{server}'{proxy}}}}}, {{name: d, cluster: {{server: 'https://d.example'}}}}], \
               users: [{{name: u, user: {{token: t}}}}]}}"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[tokio::test]
    async fn a_kubeconfig_names_the_proxy_of_its_cluster() {
        let proxied = kubeconfig("https://127.0.0.1:6443", ", proxy-url: 'http://p:3128'");
        let config = of_kubeconfig(proxied.clone(), None).await.unwrap();
        assert_eq!(config.proxy_url.unwrap(), "http://p:3128/");
        assert_eq!(named_proxy(&proxied, Some("b")), None);
        let wrong = kubeconfig("https://127.0.0.1:6443", ", proxy-url: 'ftp://p:3128'");
        assert!(of_kubeconfig(wrong, None).await.is_err());
    }

    #[test]
    fn a_proxy_of_the_environment_is_for_other_machines_unless_no_proxy_names_them() {
        let proxies = Proxies::of(|name| match name {
            "HTTPS_PROXY" => Some("http://p:3128".to_owned()),
            "NO_PROXY" => Some("10.0.0.0/8,.inside.example".to_owned()),
            _ => None,
        })
        .unwrap();
        for (url, through) in [
            ("https://api.example:6443", true),
            ("https://192.0.2.1:6443", true),
            ("https://10.1.2.3:6443", false),
            ("https://api.inside.example", false),
            ("https://127.0.0.1:6443", false),
            ("https://localhost:6443", false),
            ("https://[::1]:6443", false),
        ] {
            let found = of_environment(&url.parse().unwrap(), &proxies);
            assert_eq!(found.is_some(), through, "{url}");
        }
    }
}
