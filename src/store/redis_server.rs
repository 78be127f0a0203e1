//! Where Redis is: one server, or the master that Sentinels name.

use std::collections::HashMap;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisResult, Value,
};
use tokio::task::JoinSet;

use crate::InvalidValue;

/// Not connected yet. Has no `Debug`, as it contains passwords.
#[derive(Clone)]
pub(crate) struct RedisServer {
    /// Of the server. Of a master only the address is missing.
    information: ConnectionInfo,
    sentinels: Option<Sentinels>,
}

#[derive(Clone)]
struct Sentinels {
    each: Arc<[ConnectionInfo]>,
    master: Arc<str>,
}

impl RedisServer {
    /// Parses a URL. The error does not repeat it, as it may contain a password.
    pub(crate) fn parse(url: &str) -> Result<Self, InvalidValue> {
        let (scheme, rest) = url.split_once("://").ok_or(INVALID)?;
        match scheme.strip_suffix("+sentinel") {
            Some(scheme) => by_sentinels(scheme, rest),
            None => Ok(Self { information: parse(url)?.0, sentinels: None }),
        }
    }

    /// The same server, which is to speak RESP3.
    pub(crate) fn with_resp3(mut self) -> Self {
        let settings = self.information.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        self.information = self.information.set_redis_settings(settings);
        self
    }

    /// Connects; to the master, if there are Sentinels. Has no time limit of its own.
    pub(crate) async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        #[cfg(feature = "tls")]
        if matches!(self.information.addr(), ConnectionAddr::TcpTls { .. }) {
            tls::provide_cryptography();
        }
        let information = match &self.sentinels {
            None => self.information.clone(),
            Some(sentinels) => sentinels.find_master(&self.information).await?,
        };
        Client::open(information)?.get_multiplexed_async_connection_with_config(config).await
    }
}

impl Sentinels {
    /// Asks all at once, as the machine that has failed may have run one of them. The first that names a server which
    /// takes itself for the master wins. (`SentinelClient` of the crate redis would wait for the one listed first.)
    async fn find_master(&self, master: &ConnectionInfo) -> RedisResult<ConnectionInfo> {
        let mut answers = JoinSet::new();
        for sentinel in &*self.each {
            answers.spawn(master_by(sentinel.clone(), self.master.clone(), master.clone()));
        }
        let mut error = (ErrorKind::Io, "no Sentinel answers").into();
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Ok(master)) => return Ok(master),
                Ok(Err(failed)) => error = failed,
                Err(_) => {}
            }
        }
        Err(error)
    }
}

async fn master_by(
    sentinel: ConnectionInfo,
    name: Arc<str>,
    master: ConnectionInfo,
) -> RedisResult<ConnectionInfo> {
    let mut connection = Client::open(sentinel)?.get_multiplexed_async_connection().await?;
    let mut ask = redis::cmd("SENTINEL");
    let ask = ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&*name);
    let address: Option<(String, u16)> = ask.query_async(&mut connection).await?;
    let (host, port) = address.ok_or((ErrorKind::Client, "the Sentinels do not know this master"))?;
    let address = match master.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    let master = master.set_addr(address);
    let mut connection = Client::open(master.clone())?.get_multiplexed_async_connection().await?;
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(master),
        _ => Err((ErrorKind::Client, "the Sentinels name a server that is not a master").into()),
    }
}

/// `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/database]`. User and password are the master's.
fn by_sentinels(scheme: &str, rest: &str) -> Result<RedisServer, InvalidValue> {
    let (authority, rest) = rest.split_once('/').ok_or(INVALID_SENTINELS)?;
    let (credentials, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(INVALID_SENTINELS);
    }
    let mut servers = Vec::new();
    for host in hosts.split(',') {
        let has_port = host.rfind(':') > host.rfind(']');
        let port = if has_port { "" } else { ":26379" };
        servers.push(parse(&format!("{scheme}://{credentials}{host}{port}/{database}?{query}"))?);
    }
    let information = servers[0].0.clone();
    let each = servers.into_iter().map(|(server, query)| {
        let mut settings = RedisConnectionInfo::default();
        if let Some(user) = query.get("sentinel_username") {
            settings = settings.set_username(user);
        }
        if let Some(password) = query.get("sentinel_password") {
            settings = settings.set_password(password);
        }
        server.set_redis_settings(settings)
    });
    let sentinels = Sentinels { each: each.collect(), master: name.into() };
    Ok(RedisServer { information, sentinels: Some(sentinels) })
}

type Query = HashMap<String, String>;

/// The URL of one server, and its query.
fn parse(url: &str) -> Result<(ConnectionInfo, Query), InvalidValue> {
    let url = redis::parse_redis_url(url).ok_or(INVALID)?;
    let is_encrypted = matches!(url.scheme(), "rediss" | "valkeys");
    if is_encrypted && !cfg!(feature = "tls") {
        return Err(NEEDS_TLS);
    }
    let query: Query = url.query_pairs().into_owned().collect();
    if !is_encrypted && ["sslrootcert", "sslcert", "sslkey"].iter().any(|name| query.contains_key(*name)) {
        return Err(NOT_ENCRYPTED);
    }
    let information = url.into_connection_info().map_err(|_| INVALID)?;
    if matches!(information.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(INSECURE);
    }
    #[cfg(feature = "tls")]
    let information = tls::with_certificates(information, &query)?;
    Ok((information, query))
}

#[cfg(feature = "tls")]
mod tls {
    use std::fs;

    use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::Query;
    use crate::InvalidValue;

    /// The crate redis takes the provider of the process. If the application has set none and two are compiled in, it would
    /// panic.
    pub(super) fn provide_cryptography() {
        if CryptoProvider::get_default().is_none() {
            // An error means that another thread was faster.
            let _ = ring::default_provider().install_default();
        }
    }

    /// With the certificates that the URL names, as one of PostgreSQL does.
    pub(super) fn with_certificates(
        information: ConnectionInfo,
        query: &Query,
    ) -> Result<ConnectionInfo, InvalidValue> {
        let file = |name| query.get(name).map(fs::read).transpose().map_err(|_| INVALID_FILES);
        let (root_cert, client_cert, client_key) = (file("sslrootcert")?, file("sslcert")?, file("sslkey")?);
        if root_cert.is_none() && client_cert.is_none() && client_key.is_none() {
            return Ok(information);
        }
        // A file without a certificate would be taken, and no server be trusted.
        if root_cert.as_ref().is_some_and(|pem| CertificateDer::from_pem_slice(pem).is_err()) {
            return Err(INVALID_FILES);
        }
        let client_tls = match (client_cert, client_key) {
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            (None, None) => None,
            _ => return Err(INVALID_FILES),
        };
        let client = Client::build_with_tls(information, TlsCertificates { client_tls, root_cert });
        client.map(|client| client.get_connection_info().clone()).map_err(|_| INVALID_FILES)
    }

    pub(super) const INVALID_FILES: InvalidValue = InvalidValue::new(
        "Redis URL",
        "`sslrootcert` names a readable file with certificates in PEM; `sslcert` and `sslkey` name one each, and come together",
    );
}

const INVALID: InvalidValue =
    InvalidValue::new("Redis URL", "not a URL of a Redis server; such as redis://user:password@host:6379/0");
const INVALID_SENTINELS: InvalidValue = InvalidValue::new(
    "Redis URL",
    "not a URL of Sentinels; such as redis+sentinel://user:password@host1:26379,host2:26379/master/0",
);
const NEEDS_TLS: InvalidValue =
    InvalidValue::new("Redis URL", "`rediss://` needs the feature `tls` of the crate tower-api-keys");
const NOT_ENCRYPTED: InvalidValue =
    InvalidValue::new("Redis URL", "`sslrootcert`, `sslcert` and `sslkey` are for `rediss://`");
const INSECURE: InvalidValue =
    InvalidValue::new("Redis URL", "`#insecure` is refused: certificates are always checked");

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> Option<InvalidValue> {
        RedisServer::parse(url).err()
    }

    #[test]
    fn a_url_is_one_of_a_server_or_of_sentinels() {
        for url in [
            "redis://127.0.0.1",
            "valkey://user:password@host:7000/3",
            "redis+sentinel://host/master",
            "redis+sentinel://user:password@one:7000,[::1],[::1]:7000/master/3?sentinel_password=p",
        ] {
            assert_eq!(refusal(url), None, "{url}");
        }
        for (url, refused) in [
            ("", INVALID),
            ("host:6379", INVALID),
            ("http://host", INVALID),
            ("redis://", INVALID),
            ("redis://host/database", INVALID),
            ("redis+sentinel://host", INVALID_SENTINELS),
            ("redis+sentinel://host/", INVALID_SENTINELS),
            ("redis+sentinel://host//3", INVALID_SENTINELS),
            ("redis+sentinel://host,/master", INVALID),
            ("http+sentinel://host/master", INVALID),
            ("redis://host?sslrootcert=ca.pem", NOT_ENCRYPTED),
            ("redis+sentinel://host/master?sslkey=key.pem", NOT_ENCRYPTED),
        ] {
            assert_eq!(refusal(url), Some(refused), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_the_masters_and_sentinels_have_their_own() {
        let url = "redis+sentinel://ada:one%40@a,b:7000/main/3?sentinel_username=bob&sentinel_password=two";
        let server = RedisServer::parse(url).unwrap();
        let sentinels = server.sentinels.unwrap();
        assert_eq!(&*sentinels.master, "main");
        let settings = |information: &ConnectionInfo| {
            let settings = information.redis_settings();
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            (text(settings.username()), text(settings.password()), settings.db())
        };
        assert_eq!(settings(&server.information), ("ada".into(), "one@".into(), 3));
        let addresses =
            [("a", 26379), ("b", 7000)].map(|(host, port)| ConnectionAddr::Tcp(host.into(), port));
        for (sentinel, address) in sentinels.each.iter().zip(&addresses) {
            assert_eq!(settings(sentinel), ("bob".into(), "two".into(), 0));
            assert_eq!(sentinel.addr(), address);
        }
        assert_eq!(sentinels.each.len(), addresses.len());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_needs_the_feature_tls() {
        for url in ["rediss://host", "valkeys://host", "rediss+sentinel://host/master"] {
            assert_eq!(refusal(url), Some(NEEDS_TLS), "{url}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn certificates_are_checked_and_come_from_files_that_are_right() {
        let not_pem = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(refusal("rediss://host"), None);
        assert_eq!(refusal("rediss+sentinel://host/master"), None);
        assert_eq!(refusal("rediss://host/#insecure"), Some(INSECURE));
        for query in
            ["sslrootcert=/nowhere".to_owned(), format!("sslrootcert={not_pem}"), format!("sslkey={not_pem}")]
        {
            for url in ["rediss://host/", "rediss+sentinel://host/master"] {
                assert_eq!(refusal(&format!("{url}?{query}")), Some(tls::INVALID_FILES), "{query}");
            }
        }
    }
}
