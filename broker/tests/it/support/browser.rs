//! A browser without a screen: HTTP/1.1 over TLS, and cookies.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{House, connect_tls};

/// What a server answered.
pub(crate) struct Answer {
    pub status: u16,
    pub location: String,
    /// As they were set, in full.
    pub set_cookies: Vec<String>,
}

/// One browser: its cookies are its own.
#[derive(Default)]
pub(crate) struct Browser {
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Asks the broker for an address, by this name.
    pub(crate) async fn get(&mut self, house: &House, host: &str, path: &str) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let cookies = cookies.join("; ");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = connect_tls(house).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.ok();
        let text = String::from_utf8_lossy(&text);
        let head = text.split("\r\n\r\n").next().unwrap();
        let all = |wanted: &str| {
            let headers = head.lines().filter_map(|line| line.split_once(": "));
            let found = headers.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
        };
        let set_cookies = all("set-cookie");
        for cookie in &set_cookies {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            location: all("location").pop().unwrap_or_default(),
            set_cookies,
        }
    }
}
