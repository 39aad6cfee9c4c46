//! Receivers of webhooks on loopback that behave well, badly or not at all, by the path that they are asked for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a receiver saw.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    pub(super) n_connections: Arc<AtomicUsize>,
    /// The requests as they came, head and body.
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    /// The names that were asked for in the handshakes.
    pub(super) names: Arc<Mutex<Vec<String>>>,
    /// How much of an answer without end was taken before the connection broke, in bytes.
    pub(super) n_taken: mpsc::Receiver<usize>,
}

/// A receiver that speaks TLS, with its certificate in DER, made for `host`.
pub(super) fn secure(host: &str) -> (Receiver, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (listen(Some(Arc::new(config))), made.cert.der().to_vec())
}

/// A receiver without TLS.
pub(super) fn plain() -> Receiver {
    listen(None)
}

fn listen(tls: Option<Arc<ServerConfig>>) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, n_taken) = mpsc::channel();
    let receiver = Receiver {
        address: listener.local_addr().unwrap(),
        n_connections: Arc::default(),
        requests: Arc::default(),
        names: Arc::default(),
        n_taken,
    };
    let n_connections = Arc::clone(&receiver.n_connections);
    let (requests, names) = (Arc::clone(&receiver.requests), Arc::clone(&receiver.names));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            n_connections.fetch_add(1, Ordering::SeqCst);
            let (tls, requests, names, taken) = (tls.clone(), Arc::clone(&requests), Arc::clone(&names), taken.clone());
            thread::spawn(move || match tls {
                None => converse(stream, &requests, &taken),
                Some(config) => {
                    if let Some(stream) = shake_hands(config, stream, &names) {
                        converse(stream, &requests, &taken);
                    }
                }
            });
        }
    });
    receiver
}

fn shake_hands(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    names: &Mutex<Vec<String>>,
) -> Option<StreamOwned<ServerConnection, TcpStream>> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    names
        .lock()
        .unwrap()
        .push(stream.conn.server_name().unwrap_or_default().to_owned());
    Some(stream)
}

/// Answers one request after the other, until the connection breaks or the path says so.
fn converse<S: Read + Write>(mut stream: S, requests: &Mutex<Vec<String>>, taken: &mpsc::Sender<usize>) {
    while let Some(request) = read(&mut stream) {
        let path = request.split([' ', '?']).nth(1).unwrap().to_owned();
        requests.lock().unwrap().push(request);
        let goes_on = match path.trim_start_matches('/').split_once('/') {
            Some(("status", status)) => {
                let extra = match status {
                    "302" | "307" | "308" => "Location: http://127.0.0.1:1/elsewhere\r\n",
                    "429" => "Retry-After: 120\r\n",
                    _ => "",
                };
                // A 204 has no body (RFC 9110 section 15.3.5): bytes after it would be read as the next answer.
                let (length, body) = if status == "204" {
                    ("", "")
                } else {
                    ("Content-Length: 2\r\n", "ok")
                };
                let answer = format!("HTTP/1.1 {status} Some\r\n{extra}{length}\r\n{body}");
                stream.write_all(answer.as_bytes()).is_ok()
            }
            Some(("moved", target)) => {
                let answer = format!("HTTP/1.1 307 Moved\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).is_ok()
            }
            _ => misbehave(&path, &mut stream, taken),
        };
        if !goes_on {
            break;
        }
    }
}

fn misbehave<S: Write>(path: &str, stream: &mut S, taken: &mpsc::Sender<usize>) -> bool {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
    let without_end = |stream: &mut S, head: &[u8], piece: &[u8], limit: usize| {
        let mut n_taken = 0;
        let mut is_open = stream.write_all(&[HEAD, head].concat()).is_ok();
        while is_open && n_taken < limit {
            is_open = stream.write_all(piece).is_ok();
            n_taken += piece.len();
        }
        taken.send(n_taken).ok();
    };
    let slowly = |stream: &mut S, bytes: &[u8]| {
        for byte in bytes {
            let is_open = stream.write_all(&[*byte]).and_then(|()| stream.flush()).is_ok();
            if !is_open {
                break;
            }
            thread::sleep(Duration::from_secs(1));
        }
    };
    match path {
        "/silent" => {
            thread::sleep(Duration::from_secs(60));
        }
        "/slow-head" => slowly(stream, &[HEAD, &[b'x'; 60]].concat()),
        "/slow-body" => {
            stream.write_all(&[HEAD, b"Content-Length: 60\r\n\r\n"].concat()).ok();
            slowly(stream, &[b'x'; 60]);
        }
        "/endless" => {
            let piece = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
            without_end(stream, b"Transfer-Encoding: chunked\r\n\r\n", &piece, usize::MAX);
        }
        "/gigabyte" => {
            let head = b"Content-Length: 1073741824\r\n\r\n";
            without_end(stream, head, &[b'x'; 0x10000], 1 << 30);
        }
        "/endless-head" => without_end(stream, b"", b"X-More: and more\r\n", usize::MAX),
        "/interim" => {
            let piece = b"HTTP/1.1 100 Continue\r\n\r\n";
            while stream.write_all(piece).is_ok() {}
        }
        "/small" | "/large" => {
            let length = if path == "/small" { 0x10000 } else { 0x10001 };
            let head = format!("Content-Length: {length}\r\n\r\n");
            let answer = [HEAD, head.as_bytes(), &vec![b'x'; length]].concat();
            return stream.write_all(&answer).is_ok();
        }
        "/short" => {
            stream.write_all(&[HEAD, b"Content-Length: 60\r\n\r\nx"].concat()).ok();
        }
        "/nonsense" => {
            stream.write_all(b"220 mail.clinic.example ESMTP\r\n").ok();
        }
        _ => {}
    }
    false
}

/// One request with its body; `None` when there is no further one.
fn read<S: Read>(stream: &mut S) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
        request.extend_from_slice(&bytes[..length]);
        // Whoever speaks TLS to a server that does not is hung up on, as servers do.
        if !request[0].is_ascii_uppercase() {
            return None;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let expected = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= expected.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}
