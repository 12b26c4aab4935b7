//! Limits the number of connections, and chooses which one to close for another.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::HttpLimits;

/// All connections of a server.
pub(super) struct Connections {
    table: Arc<Mutex<Table>>,
}

struct Table {
    connections_max: usize,
    connections_per_address_max: usize,
    next_id: u64,
    connections: HashMap<u64, Entry>,
}

struct Entry {
    network: IpAddr,
    /// Since when it has waited for its peer; None while a request is being answered.
    waiting_since: Option<Instant>,
    makes_room: CancellationToken,
}

/// One connection. It counts until this is dropped.
pub(super) struct Connection {
    table: Arc<Mutex<Table>>,
    id: u64,
    makes_room: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: &HttpLimits) -> Self {
        let table = Table {
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
            next_id: 0,
            connections: HashMap::new(),
        };
        Self { table: Arc::new(Mutex::new(table)) }
    }

    /// Admits a connection. If there are too many, from this address or in all, the one of them
    /// that has waited longest is closed. None if none of them waits.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Arc<Connection>> {
        let network = network_of(address);
        let mut table = lock(&self.table);
        if !table.make_room(network) {
            return None;
        }
        let (id, makes_room) = (table.next_id, CancellationToken::new());
        table.next_id += 1;
        let entry =
            Entry { network, waiting_since: Some(Instant::now()), makes_room: makes_room.clone() };
        table.connections.insert(id, entry);
        Some(Arc::new(Connection { table: Arc::clone(&self.table), id, makes_room }))
    }
}

impl Table {
    fn make_room(&mut self, network: IpAddr) -> bool {
        let of_network = |entry: &Entry| entry.network == network;
        let count = self.connections.values().filter(|entry| of_network(entry)).count();
        if count >= self.connections_per_address_max {
            return self.close_longest_waiting(of_network);
        }
        self.connections.len() < self.connections_max || self.close_longest_waiting(|_| true)
    }

    fn close_longest_waiting(&mut self, among: impl Fn(&Entry) -> bool) -> bool {
        let waiting = self.connections.iter().filter(|(_, entry)| among(entry));
        let waiting = waiting.filter_map(|(id, entry)| Some((entry.waiting_since?, *id)));
        let Some((_, longest)) = waiting.min() else { return false };
        if let Some(entry) = self.connections.remove(&longest) {
            entry.makes_room.cancel();
        }
        true
    }
}

impl Connection {
    /// Completes when this connection has to close for another.
    pub(super) async fn makes_room(&self) {
        self.makes_room.cancelled().await;
    }

    /// Notes that a request is being answered.
    pub(super) fn works(&self) {
        self.set_waiting_since(None);
    }

    /// Notes that the connection waits for its peer.
    pub(super) fn waits(&self) {
        self.set_waiting_since(Some(Instant::now()));
    }

    fn set_waiting_since(&self, since: Option<Instant>) {
        if let Some(entry) = lock(&self.table).connections.get_mut(&self.id) {
            entry.waiting_since = since;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.table).connections.remove(&self.id);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The part of an address that one peer controls.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Connections {
        let max = HttpLimits {
            connections_max: 4,
            connections_per_address_max: 2,
            ..HttpLimits::TELEMETRY
        };
        Connections::new(&max)
    }

    fn address(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn is_closed(connection: &Connection) -> bool {
        connection.makes_room.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_waiting_connection_is_closed() {
        let connections = connections();
        let mut all = Vec::new();
        for n in 0..4 {
            all.push(connections.admit(address(n)).unwrap());
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
        }
        all[0].waits();
        let _fifth = connections.admit(address(4)).unwrap();
        assert_eq!(
            all.iter().map(|c| is_closed(c)).collect::<Vec<_>>(),
            [false, true, false, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_over_its_limit_closes_its_own_connections() {
        let connections = connections();
        let other = connections.admit(address(2)).unwrap();
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        let own = [connections.admit(address(1)).unwrap(), connections.admit(address(1)).unwrap()];
        let _third = connections.admit(address(1)).unwrap();
        assert!(!is_closed(&other));
        assert_eq!(own.iter().filter(|c| is_closed(c)).count(), 1);
    }

    #[tokio::test]
    async fn a_connection_with_a_request_under_way_stays() {
        let connections = connections();
        let busy = [connections.admit(address(1)).unwrap(), connections.admit(address(1)).unwrap()];
        busy.iter().for_each(|connection| connection.works());
        assert!(connections.admit(address(1)).is_none());
        busy[1].waits();
        assert!(connections.admit(address(1)).is_some());
        assert!(!is_closed(&busy[0]) && is_closed(&busy[1]));
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_counted() {
        let connections = connections();
        for _ in 0..10 {
            connections.admit(address(1)).unwrap().works();
        }
        assert!(lock(&connections.table).connections.is_empty());
    }

    #[test]
    fn addresses_of_one_peer_are_one() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
