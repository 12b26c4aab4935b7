//! A RabbitMQ cluster of three nodes.

use std::time::Duration;

use serde_json::Value;

use crate::dedicated::DedicatedServer;
use crate::docker::{self, docker, image};

/// How many nodes: the fewest of which one can be lost.
const NODES: usize = 3;

/// A cluster on its own network. It is removed when this is dropped.
pub struct ServerCluster {
    nodes: Vec<DedicatedServer>,
    network: Network,
}

/// Declared after its nodes, so that it is removed after them.
struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        docker::remove(&[], &[&self.0]);
    }
}

/// Works with both families of images: their entry points give the cookie to the user that runs
/// this.
const START: &str = r#"
set -eu
cookie=/var/lib/rabbitmq/.erlang.cookie
if [ ! -e "$cookie" ]; then
  (umask 077 && printf '%s' "$CLUSTER_COOKIE" >"$cookie")
  chmod 400 "$cookie"
fi
printf '%s\n' "$CLUSTER_CONF" >/etc/rabbitmq/conf.d/90-cluster.conf
entry=/usr/local/bin/docker-entrypoint.sh
if [ -x "$entry" ]; then exec "$entry" rabbitmq-server; else exec /bin/sh "$entry" rabbitmq-server; fi
"#;

impl ServerCluster {
    /// Starts the nodes with the image in the variable, and waits until each knows the others.
    ///
    /// # Panics
    /// If they do not form a cluster.
    pub async fn start(image_variable: &str) -> Self {
        let network = Network(docker::name_of("cluster"));
        docker(&["network", "create", &network.0]).await;
        let image = image(image_variable);
        let cookie = format!("CLUSTER_COOKIE={}", uuid::Uuid::new_v4().simple());
        let conf = format!("CLUSTER_CONF={}", conf());
        let start = |number| start_node(&image, &network.0, number, &cookie, &conf);
        let nodes = futures::future::join_all((0..NODES).map(start)).await;
        let cluster = Self { nodes, network };
        for node in &cluster.nodes {
            node.wait_until_it_answers().await;
        }
        let all = NODES.to_string();
        cluster.nodes[0]
            .exec(&["rabbitmqctl", "await_online_nodes", &all, "--timeout", "60"])
            .await;
        cluster
    }

    /// The URL of each node from this machine.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(DedicatedServer::url).collect()
    }

    /// A node, from 0.
    pub fn node(&self, number: usize) -> &DedicatedServer {
        &self.nodes[number]
    }

    /// The network between the nodes.
    pub fn network(&self) -> &str {
        &self.network.0
    }

    /// The node that leads a queue, as another node reports it. None if there is none.
    ///
    /// # Panics
    /// If that node does not answer.
    pub async fn leader_of(&self, queue: &str, asked: usize) -> Option<usize> {
        let list = ["rabbitmqctl", "--silent", "--formatter", "json"];
        let list = [&list, ["list_queues", "name", "leader"].as_slice()].concat();
        let queues = self.nodes[asked].exec(&list).await;
        let queues: Vec<Value> = serde_json::from_str(&queues).expect("queues in JSON");
        let leader = queues.iter().find(|found| found["name"] == queue)?["leader"].as_str()?;
        (0..NODES).find(|number| leader == erlang_name(*number))
    }

    /// Takes the node that leads a queue out of service, as for an upgrade: it closes its
    /// connections and gives up its leads. Returns the node.
    ///
    /// # Panics
    /// If no node leads it.
    pub async fn drain_leader_of(&self, queue: &str) -> usize {
        let leader = self.leader_of(queue, 0).await.expect("a leader");
        self.nodes[leader].exec(&["rabbitmq-upgrade", "drain"]).await;
        leader
    }

    /// Puts a node that was drained back into service.
    ///
    /// # Panics
    /// If it was not.
    pub async fn revive(&self, node: usize) {
        self.nodes[node].exec(&["rabbitmq-upgrade", "revive"]).await;
    }

    /// Kills the node that leads a queue, and returns it.
    ///
    /// # Panics
    /// If no node leads it.
    pub async fn kill_leader_of(&self, queue: &str) -> usize {
        let leader = self.leader_of(queue, 0).await.expect("a leader");
        self.nodes[leader].kill().await;
        leader
    }

    /// Waits until a node other than `former` leads a queue, and returns it.
    ///
    /// # Panics
    /// If none does within a minute.
    pub async fn new_leader_of(&self, queue: &str, former: usize) -> usize {
        let asked = (former + 1) % NODES;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            match self.leader_of(queue, asked).await {
                Some(leader) if leader != former => return leader,
                _ => assert!(tokio::time::Instant::now() < deadline, "nobody leads {queue}"),
            }
        }
    }
}

fn host(number: usize) -> String {
    format!("rabbit{number}")
}

fn erlang_name(number: usize) -> String {
    format!("rabbit@{}", host(number))
}

fn conf() -> String {
    let mut conf = "cluster_formation.peer_discovery_backend = classic_config".to_owned();
    for number in 0..NODES {
        let node = format!("\ncluster_formation.classic_config.nodes.{number} = ");
        conf.push_str(&(node + &erlang_name(number)));
    }
    conf
}

async fn start_node(
    image: &str,
    network: &str,
    number: usize,
    cookie: &str,
    conf: &str,
) -> DedicatedServer {
    let (host, name) = (host(number), format!("RABBITMQ_NODENAME={}", erlang_name(number)));
    let options = ["--network", network, "--hostname", &host, "--network-alias", &host];
    let variables = ["--env", &name, "--env", cookie, "--env", conf, "--entrypoint", "/bin/sh"];
    DedicatedServer::node(image, &[options.as_slice(), &variables].concat(), &["-c", START]).await
}
