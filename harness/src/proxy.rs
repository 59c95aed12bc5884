//! A network that does as it is told: between a client and a server, it cuts, holds, delays.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Where what a connection has to wait for is looked at again.
const LOOK: Duration = Duration::from_millis(2);

/// A proxy on a port of its own. Its threads end when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Mutex<Network>>,
}

/// Of which a connection is cut, when it says a certain thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears it.
    Request,
    /// The server hears it, and answers; the client never hears the answer.
    Answer,
}

#[derive(Default)]
struct Network {
    /// Where new connections lead; none is taken where this is nowhere.
    server: Option<SocketAddr>,
    held: bool,
    delay: Duration,
    cut_at: Option<(Vec<u8>, Cut)>,
    cuts: usize,
    connections: Vec<Arc<Connection>>,
    ended: bool,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Nothing more goes to the client: the connection is to be cut at the server's next answer.
    doomed: AtomicBool,
}

impl Proxy {
    /// A proxy that leads nowhere yet: who connects is hung up on.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, stack::free_port().expect("a port is free")));
        let listener = listener.expect("the port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let network = Arc::new(Mutex::new(Network::default()));
        let shared = network.clone();
        thread::spawn(move || accept(&listener, &shared));
        Self { address, network }
    }

    /// A proxy that leads to a server.
    pub fn to(server: SocketAddr) -> Self {
        let proxy = Self::start();
        proxy.lead_to(server);
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same database, through this proxy.
    pub fn url(&self, database: &str) -> String {
        let (before, rest) = database.rsplit_once('@').expect("the address has a password");
        let (_, name) = rest.split_once('/').expect("the address names a database");
        format!("{before}@{}/{name}", self.address)
    }

    /// New connections lead there from now on; those that there are stay.
    pub fn lead_to(&self, server: SocketAddr) {
        self.network().server = Some(server);
    }

    /// Every connection ends, and none is taken until [`Proxy::lead_to`].
    pub fn close(&self) {
        self.network().server = None;
        self.cut();
    }

    /// Every connection ends; new ones are taken.
    pub fn cut(&self) {
        self.network().connections.drain(..).for_each(|connection| connection.end());
    }

    /// Nothing is passed on in any direction, and every connection stays, until [`Proxy::release`].
    pub fn hold(&self) {
        self.network().held = true;
    }

    /// Passes on again, what was held first.
    pub fn release(&self) {
        self.network().held = false;
    }

    /// Everything arrives so much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.network().delay = delay;
    }

    /// Cuts the next connection whose client says this, once.
    pub fn cut_at(&self, said: &[u8], cut: Cut) {
        self.network().cut_at = Some((said.to_vec(), cut));
    }

    /// How many connections [`Proxy::cut_at`] has cut.
    pub fn cuts(&self) -> usize {
        self.network().cuts
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        lock(&self.network)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network().ended = true;
        self.close();
        // Wakes the thread that takes connections.
        drop(TcpStream::connect(self.address));
    }
}

impl Connection {
    fn end(&self) {
        // Either side may have ended it before.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Network {
    /// What becomes of a connection whose client has said this.
    fn judge(&mut self, said: &[u8]) -> Option<Cut> {
        let (wanted, cut) = self.cut_at.as_ref()?;
        let cut = said.windows(wanted.len()).any(|part| part == wanted).then_some(*cut)?;
        self.cut_at = None;
        self.cuts += 1;
        Some(cut)
    }
}

fn lock(network: &Mutex<Network>) -> MutexGuard<'_, Network> {
    network.lock().expect("no holder panics")
}

fn accept(listener: &TcpListener, network: &Arc<Mutex<Network>>) {
    for client in listener.incoming() {
        let server = {
            let network = lock(network);
            if network.ended {
                return;
            }
            network.server
        };
        // A client whose server does not answer is hung up on, as one that nobody listens to.
        let connected =
            client.and_then(|client| Ok((client, TcpStream::connect(server.ok_or(io::ErrorKind::Other)?)?)));
        let Ok((client, server)) = connected else { continue };
        let connection = Arc::new(Connection { client, server, doomed: AtomicBool::new(false) });
        lock(network).connections.push(connection.clone());
        // A port that has no more files to give ends the connection at once.
        if pass(&connection, network, true).and_then(|()| pass(&connection, network, false)).is_err() {
            connection.end();
        }
    }
}

/// Passes on what one side says: one thread hears it, and one says it when it is due.
fn pass(connection: &Arc<Connection>, network: &Arc<Mutex<Network>>, from_client: bool) -> io::Result<()> {
    let sides = (connection.client.try_clone()?, connection.server.try_clone()?);
    let (mut from, mut to) = if from_client { sides } else { (sides.1, sides.0) };
    to.set_nodelay(true)?;
    let (heard, said) = channel::<(Instant, Vec<u8>)>();
    let speaking = (connection.clone(), network.clone());
    thread::spawn(move || {
        let (connection, network) = speaking;
        speak(&said, &mut to, &connection, &network, from_client);
        connection.end();
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(1..) = from.read(&mut buffer).map(|read| {
            let sent = read > 0 && heard.send((Instant::now(), buffer[..read].to_vec())).is_ok();
            usize::from(sent)
        }) {}
    });
    Ok(())
}

fn speak(
    said: &Receiver<(Instant, Vec<u8>)>,
    to: &mut TcpStream,
    connection: &Connection,
    network: &Mutex<Network>,
    from_client: bool,
) {
    for (when, words) in said {
        // Held ones wait, and so does what is not due.
        while {
            let network = lock(network);
            network.held || when.elapsed() < network.delay
        } {
            thread::sleep(LOOK);
        }
        if from_client {
            match lock(network).judge(&words) {
                Some(Cut::Request) => return,
                Some(Cut::Answer) => connection.doomed.store(true, Ordering::SeqCst),
                None => {}
            }
        } else if connection.doomed.load(Ordering::SeqCst) {
            return;
        }
        if to.write_all(&words).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each word with the same word, and remembers all of them.
    fn echo() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let memory = heard.clone();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut buffer = [0; 100];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    memory.lock().unwrap().extend(&buffer[..read]);
                    client.write_all(&buffer[..read]).unwrap();
                }
            }
        });
        (address, heard)
    }

    /// What comes back of a word within half a second.
    fn answer(client: &mut TcpStream, word: &[u8]) -> Option<Vec<u8>> {
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        client.write_all(word).ok()?;
        let mut buffer = [0; 100];
        let read = client.read(&mut buffer).ok()?;
        (read > 0).then(|| buffer[..read].to_vec())
    }

    #[test]
    fn it_passes_holds_cuts_and_closes_as_it_is_told() {
        let (server, heard) = echo();
        let proxy = Proxy::to(server);
        let connect = || TcpStream::connect(proxy.address()).unwrap();
        let mut client = connect();
        assert_eq!(answer(&mut client, b"one"), Some(b"one".to_vec()));

        proxy.hold();
        assert_eq!(answer(&mut client, b"two"), None);
        proxy.release();
        assert_eq!(answer(&mut client, b""), Some(b"two".to_vec()));

        proxy.cut();
        assert_eq!(answer(&mut client, b"three"), None);
        proxy.cut_at(b"request", Cut::Request);
        assert_eq!(answer(&mut connect(), b"a request"), None);
        proxy.cut_at(b"request", Cut::Answer);
        assert_eq!(answer(&mut connect(), b"the second request"), None);
        assert_eq!(proxy.cuts(), 2);
        assert_eq!(heard.lock().unwrap().as_slice(), b"onetwothe second request");

        proxy.close();
        assert_eq!(answer(&mut connect(), b"four"), None);
        proxy.lead_to(server);
        proxy.delay(Duration::from_millis(100));
        let asked = Instant::now();
        assert_eq!(answer(&mut connect(), b"five"), Some(b"five".to_vec()));
        assert!(asked.elapsed() >= Duration::from_millis(200), "it came too soon");
    }
}
