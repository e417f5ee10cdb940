//! Who has a connection: at most so many in all and of one peer, and when there are no
//! more, a newcomer takes the place of the longest connection that does nothing, of the
//! peer that has most. So whoever opens many keeps nobody else out, probes least of all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// In all.
    pub connections: usize,
    /// Of one peer: an IPv4 address, or the first 64 bits of an IPv6 address. Behind a
    /// proxy all are of one peer.
    pub per_peer: usize,
}

/// The places of a listener.
#[derive(Debug)]
pub struct Places {
    most: Most,
    open: Mutex<Open>,
    displaced: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    count: usize,
    /// By peer, the oldest first.
    peers: HashMap<IpAddr, Vec<Held>>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    work: Arc<Work>,
    end: CancellationToken,
}

/// Calls of a connection that somebody known has under way.
#[derive(Debug, Default)]
struct Work(AtomicUsize);

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    peer: IpAddr,
    id: u64,
    work: Arc<Work>,
    /// Another took the place.
    pub end: CancellationToken,
}

/// The connection that a request came by, in its extensions.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Work>);

/// A call of somebody known is under way, so that its connection keeps its place: while
/// this lives. It goes with the body of the answer, in whose extensions it is put.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "it lives for its Drop")]
pub struct Busy(Arc<Working>);

#[derive(Debug)]
struct Working(Arc<Work>);

impl Connection {
    /// A call begins whose sender is known.
    #[must_use]
    pub fn busy(&self) -> Busy {
        self.0.0.fetch_add(1, Relaxed);
        Busy(Arc::new(Working(Arc::clone(&self.0))))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Place {
    /// For the extensions of its requests.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.work))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        open.take_out(self.peer, self.id);
    }
}

impl Open {
    fn of(&self, peer: IpAddr) -> usize {
        self.peers.get(&peer).map_or(0, Vec::len)
    }

    fn take_out(&mut self, peer: IpAddr, id: u64) -> Option<Held> {
        let held = self.peers.get_mut(&peer)?;
        let at = held.iter().position(|h| h.id == id)?;
        let out = held.remove(at);
        self.count -= 1;
        if held.is_empty() {
            self.peers.remove(&peer);
        }
        Some(out)
    }

    /// The oldest of a peer that does nothing.
    fn idle_of(&self, peer: IpAddr) -> Option<u64> {
        let held = self.peers.get(&peer)?;
        let idle = held.iter().find(|h| h.work.0.load(Relaxed) == 0);
        idle.map(|h| h.id)
    }

    /// Ends the oldest idle connection of a peer.
    fn displace(&mut self, peer: IpAddr) -> bool {
        let Some(id) = self.idle_of(peer) else {
            return false;
        };
        if let Some(held) = self.take_out(peer, id) {
            held.end.cancel();
        }
        true
    }

    /// The peers, those that have most first.
    fn by_number(&self) -> Vec<IpAddr> {
        let mut peers: Vec<(usize, IpAddr)> = self
            .peers
            .iter()
            .map(|(peer, held)| (held.len(), *peer))
            .collect();
        peers.sort_unstable_by(|a, b| b.cmp(a));
        peers.into_iter().map(|(_, peer)| peer).collect()
    }
}

impl Places {
    /// None taken yet.
    #[must_use]
    pub fn new(most: Most) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
            displaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from an address; none when all are at work.
    pub fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let peer = peer(from);
        let mut open = self.lock();
        let displaced = if open.of(peer) >= self.most.per_peer {
            Some(open.displace(peer))
        } else if open.count >= self.most.connections {
            let peers = open.by_number();
            Some(peers.into_iter().any(|other| open.displace(other)))
        } else {
            None
        };
        match displaced {
            Some(false) => {
                self.refused.fetch_add(1, Relaxed);
                return None;
            }
            Some(true) => {
                self.displaced.fetch_add(1, Relaxed);
            }
            None => {}
        }
        let (id, work, end) = (open.next, Arc::<Work>::default(), CancellationToken::new());
        open.next += 1;
        open.count += 1;
        open.peers.entry(peer).or_default().push(Held {
            id,
            work: Arc::clone(&work),
            end: end.clone(),
        });
        Some(Place {
            places: Arc::clone(self),
            peer,
            id,
            work,
            end,
        })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.lock().count
    }

    /// Idle connections that were ended to make room.
    pub fn displaced(&self) -> u64 {
        self.displaced.load(Relaxed)
    }

    /// Connections that were closed at once.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// Whom an address counts as.
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

    fn places(connections: usize, per_peer: usize) -> Arc<Places> {
        Places::new(Most {
            connections,
            per_peer,
        })
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_idle_one_of_whoever_has_most() {
        let places = places(4, 3);
        let greedy: Vec<Place> = (0..3).filter_map(|_| places.take(at(1))).collect();
        let other = places.take(at(2)).unwrap();
        assert_eq!(places.open(), 4);
        let probe = places.take(at(3)).unwrap();
        assert_eq!(places.open(), 4);
        let ended = |p: &Place| p.end.is_cancelled();
        assert_eq!(
            greedy.iter().map(ended).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(!ended(&other) && !ended(&probe));
        assert_eq!((places.displaced(), places.refused()), (1, 0));
        drop((greedy, other, probe));
        assert_eq!(places.open(), 0, "what was displaced is not counted twice");
    }

    #[test]
    fn a_peer_beyond_its_bound_displaces_its_own() {
        let places = places(10, 2);
        let first: Vec<Place> = (0..4).filter_map(|_| places.take(at(1))).collect();
        let ended = |p: &Place| p.end.is_cancelled();
        assert_eq!(
            first.iter().map(ended).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert_eq!((places.open(), places.displaced()), (2, 2));
    }

    #[test]
    fn who_works_is_not_displaced_until_the_answer_is_gone() {
        let places = places(2, 2);
        let (one, two) = (places.take(at(1)).unwrap(), places.take(at(1)).unwrap());
        let (work, more) = (one.connection().busy(), two.connection().busy());
        assert!(places.take(at(2)).is_none());
        assert!(places.take(at(1)).is_none());
        assert_eq!(places.refused(), 2);
        let body = more.clone();
        drop(more);
        assert!(places.take(at(2)).is_none());
        drop(body);
        assert!(places.take(at(2)).is_some());
        assert!(two.end.is_cancelled() && !one.end.is_cancelled());
        drop(work);
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
