//! Hosts become known as real ones do: a token from an operator, a key made on
//! the host, a certificate for it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use rolltop_proto::v1::{
    EnrolRequest, MakeEnrolTokenRequest, enrolment_client::EnrolmentClient,
    hosts_client::HostsClient,
};
use rolltop_sim::{Agent, Host, Keys, new_key};
use tokio::{sync::Semaphore, task::JoinSet};

use super::house::Size;
use crate::faults::clients::Caller;

const FIRST_PORT: u16 = 25_000;
/// So many at a time.
const AT_ONCE: usize = 16;

/// All hosts, each enrolled at the first broker and up, with their credentials in
/// `dir`.
pub(super) async fn enrol(operator: &Caller, size: Size, dir: &Path) -> anyhow::Result<Vec<Agent>> {
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut enrolling = JoinSet::new();
    for place in 0..size.hosts {
        let (gate, operator, dir) = (Arc::clone(&gate), operator.clone(), dir.to_path_buf());
        enrolling.spawn(async move {
            let _turn = gate.acquire().await?;
            let name = format!("sim-{}", place + 1);
            let host = one(&operator, size, place, &name, &dir).await;
            host.with_context(|| format!("{name} cannot be enrolled"))
        });
    }
    let mut hosts = Vec::new();
    while let Some(host) = enrolling.join_next().await {
        hosts.push(host??);
    }
    hosts.sort_by_key(|(place, _)| *place);
    Ok(hosts.into_iter().map(|(_, agent)| agent).collect())
}

async fn one(
    operator: &Caller,
    size: Size,
    place: u16,
    name: &str,
    dir: &Path,
) -> anyhow::Result<(u16, Agent)> {
    let port = FIRST_PORT.checked_add(place).context("no port is left for a host")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let channel = operator.channel(0).context("there is no broker")?;
    let wanted = MakeEnrolTokenRequest { name: name.to_owned(), life: None };
    let token = HostsClient::new(channel.clone()).make_enrol_token(operator.ask(wanted)?).await?;
    let (key, request_pem) = new_key()?;
    let request = EnrolRequest {
        token: token.into_inner().token,
        name: name.to_owned(),
        request_pem,
        endpoint: format!("https://{address}"),
        port: 0,
    };
    let signed = EnrolmentClient::new(channel).enrol(request).await?.into_inner();
    let credentials: PathBuf = dir.join(name);
    fs::create_dir(&credentials)?;
    fs::write(credentials.join("ca.pem"), signed.ca_pem)?;
    let keys = Keys::new(credentials);
    keys.put(&signed.certificate_pem, &key)?;

    let host = Host::new(name);
    if let Ok(mut facts) = host.facts.lock() {
        // Never what bounds it: not even if all desktops come to one host.
        let all = i64::try_from(size.people * size.pools)?.max(1);
        facts.max_desktops = all;
        facts.cpus = all;
        facts.memory_bytes = all << 32;
        facts.memory_available_bytes = facts.memory_bytes;
        facts.overlay_free_bytes = facts.memory_bytes;
        facts.network = "10.64.0.0/10".into();
    }
    let mut agent = Agent::new(host, keys, address);
    agent.come_up()?;
    Ok((place, agent))
}
