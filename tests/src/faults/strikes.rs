//! What can be done to a cluster, and how it is made good.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use super::{
    clocks,
    cluster::Cluster,
    links,
    schedule::{Fault, How, Link, Node, isolation},
};

/// What is wrong now, by how many faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Harm {
    down: BTreeMap<Node, usize>,
    paused: BTreeMap<Node, usize>,
    /// Seconds.
    clocks: BTreeMap<Node, i64>,
    cuts: Vec<(Link, How)>,
}

// === impl Cluster ===

impl Cluster {
    /// A fault begins.
    ///
    /// # Errors
    /// It cannot be brought about.
    pub async fn strike(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(node) => self.take_down(*node).await?,
            Fault::Power(host) => {
                self.take_down(Node::Host(*host)).await?;
                self.host(*host)?.lose_power().await?;
            }
            Fault::End(Node::Host(host)) => self.host(*host)?.upgrade().await?,
            Fault::End(node) => {
                if let Some(kept) = self.process(*node) {
                    kept.signal(Signal::SIGTERM);
                }
            }
            Fault::Pause(node) => {
                let by = self.harm.paused.entry(*node).or_default();
                *by += 1;
                if *by == 1 {
                    self.pause(*node, true).await?;
                }
            }
            Fault::Cut(links, how) => self.cut(links, *how)?,
            Fault::Clock(node, by_s) => self.turn(*node, *by_s)?,
        }
        Ok(())
    }

    /// A fault is made good, unless another wants the same.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn mend(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(node) => self.bring_up(*node).await?,
            Fault::Power(host) => self.bring_up(Node::Host(*host)).await?,
            Fault::End(_) => {}
            Fault::Pause(node) => {
                let by = self.harm.paused.entry(*node).or_default();
                *by = by.saturating_sub(1);
                if *by == 0 {
                    self.pause(*node, false).await?;
                }
            }
            Fault::Cut(links, how) => self.heal(links, *how)?,
            Fault::Clock(node, by_s) => self.turn(*node, -by_s)?,
        }
        Ok(())
    }

    /// Whether nothing is wrong that somebody brought about.
    pub fn is_whole(&self) -> bool {
        let Harm { down, paused, clocks, cuts } = &self.harm;
        let none = |by: &BTreeMap<Node, usize>| by.values().all(|by| *by == 0);
        none(down) && none(paused) && clocks.values().all(|by_s| *by_s == 0) && cuts.is_empty()
    }

    async fn take_down(&mut self, node: Node) -> anyhow::Result<()> {
        *self.harm.down.entry(node).or_default() += 1;
        if let Node::Host(host) = node {
            return self.host(host)?.kill().await;
        }
        if let Some(kept) = self.process(node) {
            kept.kill().await;
        }
        Ok(())
    }

    async fn bring_up(&mut self, node: Node) -> anyhow::Result<()> {
        let by = self.harm.down.entry(node).or_default();
        *by = by.saturating_sub(1);
        if *by > 0 {
            return Ok(());
        }
        if let Node::Host(host) = node {
            return self.host(host)?.come_up().await;
        }
        if let Some(kept) = self.process(node) {
            kept.start();
        }
        Ok(())
    }

    async fn pause(&mut self, node: Node, pause: bool) -> anyhow::Result<()> {
        if let Node::Host(host) = node {
            // To brokers a simulated one that is cut off looks the same.
            if !self.settings().hosts.is_real(host) {
                let links = isolation(node);
                let done =
                    if pause { self.cut(&links, How::Drop) } else { self.heal(&links, How::Drop) };
                return done;
            }
            return self.host(host)?.pause(pause).await;
        }
        if let Some(kept) = self.process(node) {
            kept.signal(if pause { Signal::SIGSTOP } else { Signal::SIGCONT });
        }
        Ok(())
    }

    fn cut(&mut self, links: &[Link], how: How) -> anyhow::Result<()> {
        self.harm.cuts.extend(links.iter().map(|link| (*link, how)));
        links::cut(&self.harm.cuts)
    }

    fn heal(&mut self, links: &[Link], how: How) -> anyhow::Result<()> {
        for link in links {
            if let Some(place) = self.harm.cuts.iter().position(|cut| *cut == (*link, how)) {
                self.harm.cuts.remove(place);
            }
        }
        links::cut(&self.harm.cuts)
    }

    /// Turns a clock on, or back.
    fn turn(&mut self, node: Node, by_s: i64) -> anyhow::Result<()> {
        let wrong_s = self.harm.clocks.entry(node).or_default();
        *wrong_s += by_s;
        let wrong_s = *wrong_s;
        match node {
            Node::Broker(broker) => clocks::set(&self.settings().broker_clock(broker), wrong_s),
            Node::Host(host) => self.host(host)?.set_clock(wrong_s),
            // Its programs do not ask the library that lies.
            Node::Member(_) => Ok(()),
        }
    }
}
