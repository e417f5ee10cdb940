//! Where a bucket is: by scheme, host, port and name, however its address is written.

use std::net::IpAddr;

use http::Uri;

use super::Bucket;

/// A server and a bucket of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    server: Server,
    bucket: String,
}

/// A storage server by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    host: String,
    /// None: the port that its scheme has by default. A server behind both ports is one.
    port: Option<u16>,
}

impl Server {
    /// Of an endpoint; none: that of AWS for a region.
    fn of(endpoint: Option<&str>, region: &str) -> Option<Self> {
        let Some(endpoint) = endpoint else {
            let host = partition(region).to_owned();
            return Some(Self { host, port: None });
        };
        let uri: Uri = endpoint.trim().parse().ok()?;
        let port = uri.port_u16().filter(|port| !matches!(port, 80 | 443));
        Some(Self {
            host: canonical_host(uri.host()?),
            port,
        })
    }
}

/// AWS's name space of buckets to which a region belongs.
fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "amazonaws.com.cn",
        _ => "amazonaws.com",
    }
}

/// One text for all ways in which a host can be written.
fn canonical_host(host: &str) -> String {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bare.unwrap_or(host).trim_end_matches('.');
    let host = host.to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        return match address.is_loopback() {
            true => "localhost".to_owned(),
            false => address.to_string(),
        };
    }
    // All regions and variants of AWS's own endpoint have one name space.
    for partition in ["amazonaws.com", "amazonaws.com.cn"] {
        let before = host
            .strip_suffix(partition)
            .map(|h| h.trim_end_matches('.'));
        let label =
            |before: &str| before == "s3" || before.starts_with("s3.") || before.starts_with("s3-");
        if before.is_some_and(label) {
            return partition.to_owned();
        }
    }
    host
}

impl Bucket {
    /// Whether one server has both.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        let of = |bucket: &Self| Server::of(bucket.endpoint.as_deref(), &bucket.region);
        of(self) == of(other) && self.region == other.region
    }

    /// Whether both are one bucket, as far as their addresses say.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.places(), other.places());
        ours.iter().any(|(place, plain)| {
            theirs
                .iter()
                .any(|(other, other_plain)| (*plain || *other_plain) && place == other)
        })
    }

    /// Every place that the addresses of this bucket can mean, and whether it is meant
    /// plainly: a host that begins with a bucket's name may be that bucket itself.
    fn places(&self) -> Vec<(Place, bool)> {
        let mut places = Vec::new();
        let endpoints = [
            Some(self.endpoint.as_deref()),
            self.public_endpoint.as_deref().map(Some),
        ];
        for endpoint in endpoints.into_iter().flatten() {
            let Some(server) = Server::of(endpoint, &self.region) else {
                continue;
            };
            if let Some((bucket, host)) = server.host.split_once('.') {
                let host = canonical_host(host);
                let bucket = bucket.to_owned();
                let server = Server {
                    host,
                    ..server.clone()
                };
                places.push((Place { server, bucket }, false));
            }
            let bucket = self.bucket.clone();
            places.push((Place { server, bucket }, true));
        }
        places
    }

    /// The URL of the server that calls go to, for `endpoint` (or the bucket's own).
    #[must_use]
    pub fn called_at(&self, endpoint: Option<&str>) -> Option<Uri> {
        let base: Uri = match endpoint.or(self.endpoint.as_deref()) {
            Some(endpoint) => endpoint.parse().ok()?,
            None => {
                let host = format!("https://s3.{}.{}", self.region, partition(&self.region));
                host.parse().ok()?
            }
        };
        if self.path_style {
            return Some(base);
        }
        let mut parts = base.into_parts();
        let authority = parts.authority.as_ref()?;
        parts.authority = Some(format!("{}.{authority}", self.bucket).parse().ok()?);
        parts.path_and_query = Some("/".parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str, endpoint: &str) -> Bucket {
        let endpoint = match endpoint {
            "" => String::new(),
            endpoint => format!(", endpoint: '{endpoint}'"),
        };
        serde_yaml::from_str(&format!("{{bucket: {name}{endpoint}}}")).unwrap()
    }

    #[test]
    fn a_bucket_is_the_same_however_its_address_is_written() {
        let ours = bucket("data", "https://s3.example");
        for same in [
            "https://s3.example",
            "https://s3.example/",
            "https://s3.example:443",
            "https://S3.EXAMPLE",
            "HTTPS://s3.example",
            "https://s3.example.",
            "https://s3.example.:443/",
            "http://s3.example",
            "http://s3.example:80",
            "https://data.s3.example",
            "https://DATA.s3.example:443/",
        ] {
            let theirs = bucket("data", same);
            assert!(
                ours.same_place(&theirs) && theirs.same_place(&ours),
                "{same}"
            );
        }
        for other in [
            "https://t3.example",
            "https://s3.example:8443",
            "https://s3.example.org",
            "",
        ] {
            let theirs = bucket("data", other);
            assert!(
                !ours.same_place(&theirs) && !theirs.same_place(&ours),
                "{other}"
            );
        }
        assert!(!ours.same_place(&bucket("other", "https://s3.example")));
        // An address of a bucket's own, whatever the configuration calls the bucket.
        assert!(ours.same_place(&bucket("other", "https://data.s3.example")));
        assert!(bucket("other", "https://data.s3.example").same_place(&ours));
        assert!(!ours.same_place(&bucket("other", "https://s3.example:443/")));
    }

    #[test]
    fn ports_addresses_and_regions_are_told_apart_only_where_they_differ() {
        for (one, two, same) in [
            ("https://s3.example:9000", "http://s3.example:9000", true),
            ("https://127.0.0.1:9000", "https://localhost:9000", true),
            ("https://[::1]:9000", "https://127.0.0.1:9000", true),
            ("https://[::ffff:10.0.0.1]", "https://10.0.0.1", true),
            ("https://10.0.0.1:9000", "https://10.0.0.1:9001", false),
            ("", "https://s3.amazonaws.com", true),
            ("", "https://s3.eu-west-2.amazonaws.com", true),
            (
                "https://s3.dualstack.eu-west-2.amazonaws.com",
                "https://s3-eu-west-2.amazonaws.com",
                true,
            ),
            ("", "https://s3.cn-north-1.amazonaws.com.cn", false),
            ("", "https://data.s3.eu-west-2.amazonaws.com", true),
        ] {
            let (one, two) = (bucket("data", one), bucket("data", two));
            assert_eq!(one.same_place(&two), same, "{one:?} {two:?}");
            assert_eq!(two.same_place(&one), same, "{one:?} {two:?}");
        }
    }

    #[test]
    fn a_public_address_counts_too() {
        let ours = bucket("data", "https://s3.example");
        let mut theirs = bucket("data", "https://inside.example");
        assert!(!ours.same_place(&theirs));
        theirs.public_endpoint = Some("https://S3.example:443/".to_owned());
        assert!(ours.same_place(&theirs) && theirs.same_place(&ours));
    }

    #[test]
    fn calls_go_to_the_endpoint_or_to_aws() {
        let mut one = bucket("data", "https://s3.example:9000");
        assert_eq!(one.called_at(None).unwrap(), "https://s3.example:9000/");
        let public = one.called_at(Some("https://out.example")).unwrap();
        assert_eq!(public.host(), Some("out.example"));
        one.path_style = false;
        let at = one.called_at(None).unwrap();
        assert_eq!(
            (at.host(), at.port_u16()),
            (Some("data.s3.example"), Some(9000))
        );
        let mut aws = bucket("data", "");
        aws.region = "eu-west-2".to_owned();
        assert_eq!(
            aws.called_at(None).unwrap().host(),
            Some("s3.eu-west-2.amazonaws.com")
        );
    }
}
