//! Signing in by a browser: the portal, where a person signs in however they do, hands
//! this program a code. It comes to a port of this machine that only we listen at, or is
//! carried by hand. Whoever else sees the code lacks what it is redeemed with.

use std::{io, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rolltop_proto::v1::{ListSignInWaysRequest, SignInProgramRequest, SignInResponse};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tonic::Code;

use crate::{
    app::{QUICK, within},
    connect::Ways,
    failure::Failure,
    output::notice,
    server::ServerUrl,
    terminal::{Endings, TerminalError, ask, is_interactive, read_secret_line},
};

/// Signing in may take a telephone with a code on it, and finding that.
const PATIENCE: Duration = Duration::from_secs(600);
/// A browser may connect ahead of asking.
const ASKING: Duration = Duration::from_secs(30);
/// Longest head of a request that is read.
const MAX_HEAD: usize = 8 * 1024;
/// How much of the challenge a person compares, as the portal shows it.
const MARK: usize = 8;

const THANKS: &str = "rolltop has its code. You can close this window, and go on in the terminal.";

/// What this one attempt is known by.
struct Question {
    verifier: String,
    challenge: String,
    state: String,
}

/// Has a person sign in in a browser: one here, or, `by_hand`, anywhere.
pub(crate) async fn sign_in(
    ways: &mut Ways,
    server: &ServerUrl,
    by_hand: bool,
    has_screen: bool,
) -> Result<SignInResponse, Failure> {
    // A broker that knows no browsers is to say so before somebody signs in.
    within(QUICK, ways.list_sign_in_ways(ListSignInWaysRequest {})).await?;
    let question = Question::new();
    let code = if by_hand {
        by_the_person(&question, server).await?
    } else {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| no_port(&error))?;
        let port = listener.local_addr().map_err(|error| no_port(&error))?.port();
        let address = question.address(server, port);
        tell(&question, &address);
        if has_screen {
            open(&address);
        }
        by_the_browser(&question, listener).await?
    };
    let request = SignInProgramRequest { code, verifier: question.verifier };
    within(QUICK, ways.sign_in_program(request)).await
}

fn tell(question: &Question, address: &str) {
    let mark = question.challenge.get(..MARK).unwrap_or_default();
    notice(&format!("Open this in a browser, and say yes if it shows {mark}:\n  {address}"));
}

/// The code, as it comes to our port.
async fn by_the_browser(question: &Question, listener: TcpListener) -> Result<String, Failure> {
    let mut endings = Endings::catch().map_err(TerminalError::Io)?;
    let (found, mut codes) = mpsc::channel(1);
    let state = question.state.clone();
    let serving = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (state, found) = (state.clone(), found.clone());
            tokio::spawn(async move {
                if let Ok(Ok(Some(code))) = timeout(ASKING, answer(stream, &state)).await {
                    // A second one, of a page that was loaded again, is of no use.
                    found.try_send(code).ok();
                }
            });
        }
    });
    let code = tokio::select! {
        code = timeout(PATIENCE, codes.recv()) => code.ok().flatten().ok_or_else(|| {
            let message = format!("nobody signed in within {} minutes", PATIENCE.as_secs() / 60);
            Failure::new(Code::DeadlineExceeded, "NOBODY_SIGNED_IN", message)
        }),
        signal = endings.recv() => {
            Err(Failure::interrupted(signal, "interrupted before anybody signed in"))
        }
    };
    serving.abort();
    code
}

/// The code, as a person carries it.
async fn by_the_person(question: &Question, server: &ServerUrl) -> Result<String, Failure> {
    tell(question, &question.address(server, 0));
    let line = match is_interactive() {
        true => ask("The code it shows then: ").await?,
        false => read_secret_line()?,
    };
    question.code_in(line.trim()).ok_or_else(|| {
        Failure::usage("this is not the code that belongs to this sign-in")
            .hint("sign in once more, and give the code of the page that shows the same letters")
    })
}

/// Reads a request; the code, if it is the answer to our question.
async fn answer(mut stream: TcpStream, state: &str) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let code = code_of(&String::from_utf8_lossy(&head), state);
    let (status, text) = match code {
        Some(_) => ("200 OK", THANKS),
        None => ("404 Not Found", "There is nothing here."),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(code)
}

/// The code in the first line of a request with our state beside it.
fn code_of(head: &str, state: &str) -> Option<String> {
    let target = head.lines().next()?.strip_prefix("GET /?")?.split(' ').next()?;
    let value = |name: &str| {
        let mut pairs = target.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let code = value("code").filter(|code| !code.is_empty())?;
    (value("state") == Some(state)).then(|| code.to_owned())
}

/// Tries to show it to the person; the address is in the terminal all the same.
fn open(address: &str) {
    let opened = tokio::process::Command::new("xdg-open")
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if opened.is_err() {
        notice("no browser could be opened: there is no xdg-open");
    }
}

fn no_port(error: &io::Error) -> Failure {
    let message = format!("cannot listen on this machine for the browser: {error}");
    Failure::new(Code::Unknown, "NO_PORT", message).hint("carry the code yourself: --by-hand")
}

// === impl Question ===

impl Question {
    fn new() -> Self {
        let verifier = random();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        Self { verifier, challenge, state: random() }
    }

    /// Port 0: the page shows the code.
    fn address(&self, server: &ServerUrl, port: u16) -> String {
        format!("{server}/#/program/{}/{port}/{}", self.challenge, self.state)
    }

    /// Of a text "CODE.STATE".
    fn code_in(&self, text: &str) -> Option<String> {
        let (code, state) = text.split_once('.')?;
        (state == self.state && !code.is_empty()).then(|| code.to_owned())
    }
}

/// 256 bits.
fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_our_question_counts() {
        let code = |head: &str| code_of(head, "mine");
        assert_eq!(
            code("GET /?code=abc&state=mine HTTP/1.1\r\nHost: x\r\n\r\n").as_deref(),
            Some("abc")
        );
        for head in [
            "",
            "GET / HTTP/1.1",
            "GET /favicon.ico HTTP/1.1",
            "GET /?code=abc HTTP/1.1",
            "GET /?code=abc&state=other HTTP/1.1",
            "GET /?code=&state=mine HTTP/1.1",
            "POST /?code=abc&state=mine HTTP/1.1",
            "GET /?state=mine HTTP/1.1\r\ncode=abc",
        ] {
            assert_eq!(code(head), None, "{head:?}");
        }
    }

    #[test]
    fn a_code_that_is_carried_belongs_to_its_question() {
        let question = Question::new();
        assert_eq!(question.code_in(&format!("abc.{}", question.state)).as_deref(), Some("abc"));
        for text in ["", "abc", "abc.other", &format!(".{}", question.state)] {
            assert_eq!(question.code_in(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_browser_brings_it_whatever_else_it_asks_for() {
        let question = Question::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = format!("/?code=abc&state={}", question.state);
        let asks = async {
            // One that says nothing is not waited for.
            let _silent = TcpStream::connect(address).await.unwrap();
            let mut said = Vec::new();
            for target in ["/favicon.ico", "/?code=evil&state=x", &target] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                said.push(text.contains(THANKS));
            }
            said
        };
        let (code, said) = tokio::join!(by_the_browser(&question, listener), asks);
        assert_eq!((code.unwrap().as_str(), said), ("abc", vec![false, false, true]));
    }
}
