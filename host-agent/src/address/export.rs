//! The address plan as others want to read it: reservations for DHCP servers,
//! `/etc/hosts`, JSON.

use std::{net::IpAddr, ops::RangeInclusive};

use serde_json::{Value, json};

use super::{AddressError, AddressPlan, Addresses, Number, Subnet};

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `dhcp-host=` lines of dnsmasq.
    Dnsmasq,
    /// `host` declarations of ISC dhcpd.
    Dhcpd,
    /// Reservations of Kea, by subnet.
    Kea,
    /// Lines for `/etc/hosts`.
    Hosts,
    /// For any program.
    Json,
}

/// One desktop, with the name it goes by there.
struct Entry {
    number: u32,
    name: String,
    addresses: Addresses,
}

/// The addresses of desktops `numbers`, each called `prefix` and its number.
/// The number whose address is the gateway's is left out.
///
/// # Errors
/// A number without an address.
pub fn export(
    plan: &AddressPlan,
    numbers: RangeInclusive<u32>,
    prefix: &str,
    format: Format,
) -> Result<String, AddressError> {
    let mut entries = Vec::new();
    for number in numbers.filter_map(Number::new) {
        match plan.addresses(number) {
            Ok(addresses) => {
                let (number, name) = (number.get(), format!("{prefix}{number}"));
                entries.push(Entry { number, name, addresses });
            }
            Err(AddressError::NumberIsGateway { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let lines = |line: fn(&Entry) -> String| entries.iter().map(line).collect();
    Ok(match format {
        Format::Dnsmasq => lines(dnsmasq),
        Format::Dhcpd => lines(dhcpd),
        Format::Hosts => lines(hosts),
        Format::Kea => pretty(&kea(plan, &entries)),
        Format::Json => pretty(&entries.iter().map(entry).collect()),
    })
}

fn dnsmasq(entry: &Entry) -> String {
    let ips: String = entry
        .addresses
        .ips()
        .iter()
        .map(|ip| if ip.is_ipv6() { format!(",[{ip}]") } else { format!(",{ip}") })
        .collect();
    format!("dhcp-host={}{ips},{}\n", entry.addresses.mac, entry.name)
}

fn dhcpd(entry: &Entry) -> String {
    let ips: String = entry
        .addresses
        .ips()
        .iter()
        .map(|ip| {
            let key = if ip.is_ipv6() { "fixed-address6" } else { "fixed-address" };
            format!(" {key} {ip};")
        })
        .collect();
    format!("host {} {{ hardware ethernet {};{ips} }}\n", entry.name, entry.addresses.mac)
}

fn hosts(entry: &Entry) -> String {
    entry.addresses.ips().iter().map(|ip| format!("{ip} {}\n", entry.name)).collect()
}

fn entry(entry: &Entry) -> Value {
    json!({
        "number": entry.number,
        "name": entry.name,
        "mac": entry.addresses.mac.to_string(),
        "addresses": entry.addresses.ips(),
    })
}

fn kea(plan: &AddressPlan, entries: &[Entry]) -> Value {
    let servers = plan.ranges().iter().map(|range| {
        let network = range.network();
        let (server, subnets) =
            if network.is_ipv6() { ("Dhcp6", "subnet6") } else { ("Dhcp4", "subnet4") };
        let reservations: Vec<Value> =
            entries.iter().map(|entry| reservation(entry, network)).collect();
        let subnet =
            json!({ "id": 1, "subnet": network.to_string(), "reservations": reservations });
        (server.to_owned(), json!({ subnets: [subnet] }))
    });
    Value::Object(servers.collect())
}

fn reservation(entry: &Entry, network: Subnet) -> Value {
    let ips: Vec<IpAddr> =
        entry.addresses.ips().into_iter().filter(|ip| ip.is_ipv6() == network.is_ipv6()).collect();
    let mut reservation =
        json!({ "hw-address": entry.addresses.mac.to_string(), "hostname": entry.name });
    if network.is_ipv6() {
        reservation["ip-addresses"] = json!(ips);
    } else {
        reservation["ip-address"] = json!(ips.first());
    }
    reservation
}

fn pretty(value: &Value) -> String {
    // As `to_string_pretty`, which cannot fail for a value.
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Range;

    fn plan(networks: &[&str]) -> AddressPlan {
        let ranges = networks.iter().map(|network| Range::whole(network.parse().unwrap()));
        AddressPlan::new(ranges.collect(), 65_536)
    }

    fn lines(networks: &[&str], format: Format) -> String {
        export(&plan(networks), 5..=6, "desktop-", format).unwrap()
    }

    #[test]
    fn lines_are_as_each_server_reads_them() {
        let (one, both) = (["10.0.0.0/29"], ["10.0.0.0/28", "fd77::/64"]);
        // Number 6 has the gateway's address.
        let only = "dhcp-host=54:52:00:00:00:05,10.0.0.5,desktop-5\n";
        assert_eq!(lines(&one, Format::Dnsmasq), only);
        assert_eq!(
            lines(&both, Format::Dnsmasq).lines().last().unwrap(),
            "dhcp-host=54:52:00:00:00:06,10.0.0.6,[fd77::6],desktop-6"
        );
        assert_eq!(
            lines(&one, Format::Dhcpd),
            "host desktop-5 { hardware ethernet 54:52:00:00:00:05; fixed-address 10.0.0.5; }\n"
        );
        assert_eq!(
            lines(&both, Format::Hosts),
            "10.0.0.5 desktop-5\nfd77::5 desktop-5\n10.0.0.6 desktop-6\nfd77::6 desktop-6\n"
        );
    }

    #[test]
    fn programs_read_json() {
        let both = ["10.0.0.0/28", "fd77::/64"];
        let kea: Value = serde_json::from_str(&lines(&both, Format::Kea)).unwrap();
        assert_eq!(kea["Dhcp4"]["subnet4"][0]["subnet"], "10.0.0.0/28");
        assert_eq!(
            kea["Dhcp4"]["subnet4"][0]["reservations"][1],
            json!({ "hw-address": "54:52:00:00:00:06", "ip-address": "10.0.0.6", "hostname": "desktop-6" })
        );
        assert_eq!(
            kea["Dhcp6"]["subnet6"][0]["reservations"][0]["ip-addresses"],
            json!(["fd77::5"])
        );
        let all: Value = serde_json::from_str(&lines(&both, Format::Json)).unwrap();
        assert_eq!(
            all[0],
            json!({ "number": 5, "name": "desktop-5", "mac": "54:52:00:00:00:05", "addresses": ["10.0.0.5", "fd77::5"] })
        );
    }

    #[test]
    fn a_number_without_an_address_is_told() {
        let told = export(&plan(&["10.0.0.0/29"]), 5..=9, "d", Format::Hosts).unwrap_err();
        assert!(told.to_string().starts_with("number 7 is out of range"), "{told}");
    }
}
