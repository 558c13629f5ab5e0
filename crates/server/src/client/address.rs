//! Connection strings: `mongodb://HOST:PORT[,HOST:PORT…][/database][?options]`. Of the options only `replicaSet` means
//! something here; the others are for drivers and are passed over.

const PORT_DEFAULT: u16 = 27017;

/// Where a cluster may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    /// `HOST:PORT` of each seed.
    pub hosts: Vec<String>,
    /// The database named in the path.
    pub database: Option<String>,
    /// The replica-set name, when given.
    pub replica_set: Option<String>,
}

/// Why a connection string cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionStringError {
    #[error("{0:?} is not a connection string; write mongodb://HOST:PORT[,HOST:PORT]")]
    Scheme(String),
    #[error(
        "mongodb+srv:// is not supported here; name the hosts: mongodb://HOST:PORT[,HOST:PORT]"
    )]
    Srv,
    #[error(
        "user names and passwords are not supported: this server does not authenticate clients yet"
    )]
    Credentials,
    #[error("{0:?} is not HOST:PORT")]
    Host(String),
}

impl std::str::FromStr for ConnectionString {
    type Err = ConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("mongodb+srv://") {
            return Err(ConnectionStringError::Srv);
        }
        let rest = text
            .strip_prefix("mongodb://")
            .ok_or_else(|| ConnectionStringError::Scheme(text.to_owned()))?;
        let (before_options, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = before_options
            .split_once('/')
            .unwrap_or((before_options, ""));
        if hosts.contains('@') {
            return Err(ConnectionStringError::Credentials);
        }
        let replica_set = options
            .split('&')
            .find_map(|option| option.strip_prefix("replicaSet="))
            .map(str::to_owned);
        Ok(ConnectionString {
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            database: (!database.is_empty()).then(|| database.to_owned()),
            replica_set,
        })
    }
}

fn host(text: &str) -> Result<String, ConnectionStringError> {
    let wrong = || ConnectionStringError::Host(text.to_owned());
    let without_port = text.ends_with(']') || !text.contains(':');
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !without_port => (name, port.parse().map_err(|_| wrong())?),
        _ => (text, PORT_DEFAULT),
    };
    if name.is_empty() || port == 0 || name.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok(format!("{name}:{port}"))
}
