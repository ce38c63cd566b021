//! A simulated host that is enrolled, and does as it is told by the test.

use std::{net::SocketAddr, path::Path, sync::Arc};

use rolltop_broker::config::Config;
use rolltop_sim::{Host, Keys};
use tokio::net::TcpListener;

pub(crate) use rolltop_sim::Behaviour;

pub(crate) struct Agent {
    pub script: Arc<Host>,
    agent: rolltop_sim::Agent,
}

impl Agent {
    /// Enrols the host and starts its agent.
    pub(crate) async fn new(config: &Config, dir: &Path, name: &str) -> Self {
        let address: SocketAddr =
            TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let credentials = dir.join(format!("{name}-credentials"));
        let endpoint = format!("https://{address}");
        let out = credentials.to_str().unwrap();
        let words = [
            "rolltop-broker",
            "host",
            "add",
            name,
            "--endpoint",
            &endpoint,
            "--credentials-out",
            out,
        ];
        super::offline(config, &words, "").await;
        let script = Host::new(name);
        let agent = rolltop_sim::Agent::new(Arc::clone(&script), Keys::new(credentials), address);
        let mut agent = Self { script, agent };
        agent.come_up();
        agent
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.agent.address())
    }

    pub(crate) fn keys(&self) -> Keys {
        self.agent.keys().clone()
    }

    pub(crate) fn credential(&self, name: &str) -> String {
        self.agent.keys().read(name).unwrap()
    }

    /// Cuts all connections; what the host has stays.
    pub(crate) fn vanish(&mut self) {
        self.agent.vanish();
    }

    pub(crate) fn come_up(&mut self) {
        self.agent.come_up().unwrap();
    }
}
