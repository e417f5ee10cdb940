//! Limits of open connections, in total and by peer. At the limit a new connection replaces the
//! oldest idle connection of the peer that has most. So a peer with many connections does not keep
//! out others, such as probes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections may be open.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Of all peers.
    pub total: usize,
    /// Of one peer: an IPv4 address, or the first 64 bits of an IPv6 address. Behind a proxy all
    /// connections are of one peer.
    pub per_peer: usize,
}

/// Limits the connections of a listener.
#[derive(Debug)]
pub struct ConnectionLimiter {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
    evicted: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    count: usize,
    /// By peer, in the order of their start.
    peers: HashMap<IpAddr, Vec<OpenConnection>>,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    active: Arc<ActiveCalls>,
    evict: CancellationToken,
}

/// The number of active calls of a connection.
#[derive(Debug, Default)]
struct ActiveCalls(AtomicUsize);

/// Permits a connection to be open, until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    peer: IpAddr,
    id: u64,
    active: Arc<ActiveCalls>,
    /// Cancelled when another connection replaces this one.
    pub evict: CancellationToken,
}

/// The connection of a request, in the extensions of the request.
#[derive(Clone, Debug)]
pub struct Connection(Arc<ActiveCalls>);

/// Marks a connection as active until it is dropped, so that it is not replaced. A handler puts it
/// into the extensions of its response, and it is dropped with the body.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "it lives for its Drop")]
pub struct ActiveCall(Arc<ActiveCallGuard>);

#[derive(Debug)]
struct ActiveCallGuard(Arc<ActiveCalls>);

impl Connection {
    /// Begins a call of an authenticated caller.
    #[must_use]
    pub fn begin_call(&self) -> ActiveCall {
        self.0.0.fetch_add(1, Relaxed);
        ActiveCall(Arc::new(ActiveCallGuard(Arc::clone(&self.0))))
    }
}

impl Drop for ActiveCallGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl ConnectionPermit {
    /// The value for the extensions of requests.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.active))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.lock();
        open.remove(self.peer, self.id);
    }
}

impl OpenConnections {
    fn count_of(&self, peer: IpAddr) -> usize {
        self.peers.get(&peer).map_or(0, Vec::len)
    }

    fn remove(&mut self, peer: IpAddr, id: u64) -> Option<OpenConnection> {
        let connections = self.peers.get_mut(&peer)?;
        let at = connections.iter().position(|h| h.id == id)?;
        let removed = connections.remove(at);
        self.count -= 1;
        if connections.is_empty() {
            self.peers.remove(&peer);
        }
        Some(removed)
    }

    /// The oldest idle connection of a peer.
    fn oldest_idle(&self, peer: IpAddr) -> Option<u64> {
        let connections = self.peers.get(&peer)?;
        let idle = connections.iter().find(|h| h.active.0.load(Relaxed) == 0);
        idle.map(|h| h.id)
    }

    /// Ends the oldest idle connection of a peer. False when there is none.
    fn evict_idle(&mut self, peer: IpAddr) -> bool {
        let Some(id) = self.oldest_idle(peer) else {
            return false;
        };
        if let Some(connection) = self.remove(peer, id) {
            connection.evict.cancel();
        }
        true
    }

    /// The peers, by descending number of connections.
    fn by_connections(&self) -> Vec<IpAddr> {
        let mut peers: Vec<(usize, IpAddr)> = self
            .peers
            .iter()
            .map(|(peer, connections)| (connections.len(), *peer))
            .collect();
        peers.sort_unstable_by(|a, b| b.cmp(a));
        peers.into_iter().map(|(_, peer)| peer).collect()
    }
}

impl ConnectionLimiter {
    /// A limiter without connections.
    #[must_use]
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
            evicted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit for a connection from an address. None when all others are active.
    pub fn acquire(self: &Arc<Self>, from: IpAddr) -> Option<ConnectionPermit> {
        let peer = peer(from);
        let mut open = self.lock();
        let evicted = if open.count_of(peer) >= self.limits.per_peer {
            Some(open.evict_idle(peer))
        } else if open.count >= self.limits.total {
            let peers = open.by_connections();
            Some(peers.into_iter().any(|other| open.evict_idle(other)))
        } else {
            None
        };
        match evicted {
            Some(false) => {
                self.refused.fetch_add(1, Relaxed);
                return None;
            }
            Some(true) => {
                self.evicted.fetch_add(1, Relaxed);
            }
            None => {}
        }
        let (id, active, evict) = (
            open.next,
            Arc::<ActiveCalls>::default(),
            CancellationToken::new(),
        );
        open.next += 1;
        open.count += 1;
        open.peers.entry(peer).or_default().push(OpenConnection {
            id,
            active: Arc::clone(&active),
            evict: evict.clone(),
        });
        Some(ConnectionPermit {
            limiter: Arc::clone(self),
            peer,
            id,
            active,
            evict,
        })
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.lock().count
    }

    /// The number of idle connections that were replaced.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// The number of connections that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// The peer of an address.
fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(total: usize, per_peer: usize) -> Arc<ConnectionLimiter> {
        ConnectionLimiter::new(ConnectionLimits { total, per_peer })
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_idle_one_of_whoever_has_most() {
        let limiter = limiter(4, 3);
        let greedy: Vec<ConnectionPermit> = (0..3).filter_map(|_| limiter.acquire(at(1))).collect();
        let other = limiter.acquire(at(2)).unwrap();
        assert_eq!(limiter.open(), 4);
        let probe = limiter.acquire(at(3)).unwrap();
        assert_eq!(limiter.open(), 4);
        let ended = |p: &ConnectionPermit| p.evict.is_cancelled();
        assert_eq!(
            greedy.iter().map(ended).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(!ended(&other) && !ended(&probe));
        assert_eq!((limiter.evicted(), limiter.refused()), (1, 0));
        drop((greedy, other, probe));
        assert_eq!(limiter.open(), 0, "what was displaced is not counted twice");
    }

    #[test]
    fn a_peer_beyond_its_bound_displaces_its_own() {
        let limiter = limiter(10, 2);
        let first: Vec<ConnectionPermit> = (0..4).filter_map(|_| limiter.acquire(at(1))).collect();
        let ended = |p: &ConnectionPermit| p.evict.is_cancelled();
        assert_eq!(
            first.iter().map(ended).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert_eq!((limiter.open(), limiter.evicted()), (2, 2));
    }

    #[test]
    fn who_works_is_not_displaced_until_the_answer_is_gone() {
        let limiter = limiter(2, 2);
        let (one, two) = (
            limiter.acquire(at(1)).unwrap(),
            limiter.acquire(at(1)).unwrap(),
        );
        let (call, more) = (one.connection().begin_call(), two.connection().begin_call());
        assert!(limiter.acquire(at(2)).is_none());
        assert!(limiter.acquire(at(1)).is_none());
        assert_eq!(limiter.refused(), 2);
        let body = more.clone();
        drop(more);
        assert!(limiter.acquire(at(2)).is_none());
        drop(body);
        assert!(limiter.acquire(at(2)).is_some());
        assert!(two.evict.is_cancelled() && !one.evict.is_cancelled());
        drop(call);
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        for (a, b, same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let peer = |text: &str| super::peer(text.parse().unwrap());
            assert_eq!(peer(a) == peer(b), same, "{a} {b}");
        }
    }
}
