//! Several processes that take the same steps, each with its share of every batch.
//!
//! Who joins shows that it knows the run's token, and so does the first: a stranger at the port is
//! turned away and changes nothing. Each sends its gradients to the first, which adds them up in the order of the ranks and sends
//! the sum back: every replica then moves its weights by the same bits. A star is as quick as a
//! ring for the few processes of one machine. On GPUs, with the feature `nccl`, NCCL sums the
//! gradients.

#[cfg(feature = "nccl")]
mod nccl;

use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use service::Secret;
use sha2::{Digest as _, Sha256};

use crate::gradient::Gradients;
use crate::replica::{Replica, Share};

/// How long replicas wait for each other before the first step: as long as it takes to read a base
/// from a slow disk.
const GATHERING: Duration = Duration::from_secs(300);

/// How long one that has come may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The most that anybody may send before it has shown who it is, in bytes.
const HANDSHAKE_MESSAGE: u64 = 1024;

/// How long a replica waits for another: longer than the first evaluates between two steps.
const SILENCE: Duration = Duration::from_secs(3600);

/// Between two tries to reach the first replica.
const RETRY: Duration = Duration::from_millis(50);

const GONE: &str = "another replica has left, or has said nothing for an hour";

/// The connections between replicas: from the first to all others, in the order of their ranks, or
/// from another to the first.
pub(crate) struct Replicas {
    share: Share,
    peers: Vec<Peer>,
    #[cfg(feature = "nccl")]
    ring: Option<nccl::Ring>,
}

struct Peer {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
}

impl Replicas {
    /// Meets the others; `None` is a run alone. All must show the same pass: that they do the same
    /// work.
    pub(crate) fn gather(
        replica: Option<&Replica>,
        device: &Device,
        pass: impl FnOnce() -> Result<String>,
    ) -> Result<Self> {
        let Some(Replica { rank, count, address, token, .. }) = replica else {
            return Ok(Self::new(Share { rank: 0, replicas: 1 }, Vec::new()));
        };
        let pass = &format!("{} on {}", pass()?, if device.is_cpu() { "the CPU" } else { "a GPU" });
        ensure!(rank < count, "rank {rank} of {count} replicas: ranks count from 0");
        let peers = match (rank, count) {
            (0, 1) => Vec::new(),
            (0, _) => listen(address, *count, token, pass)?,
            _ => vec![join(address, *rank, token, pass)?],
        };
        let replicas = Self::new(Share { rank: *rank, replicas: *count }, peers);
        #[cfg(feature = "nccl")]
        let replicas = replicas.with_ring(device)?;
        Ok(replicas)
    }

    fn new(share: Share, peers: Vec<Peer>) -> Self {
        Self {
            share,
            peers,
            #[cfg(feature = "nccl")]
            ring: None,
        }
    }

    /// Has NCCL sum what is on GPUs.
    #[cfg(feature = "nccl")]
    fn with_ring(mut self, device: &Device) -> Result<Self> {
        if let (Device::Cuda(device), 2..) = (device, self.share.replicas) {
            let id = if self.share.rank == 0 { nccl::Ring::id()? } else { Vec::new() };
            let id = self.agree(&id)?;
            self.ring = Some(nccl::Ring::join(&id, self.share, device)?);
        }
        Ok(self)
    }

    pub(crate) fn share(&self) -> Share {
        self.share
    }

    /// Adds up the losses, which it gives, and the gradients of all.
    pub(crate) fn sum(&mut self, loss: f64, gradients: &mut Gradients) -> Result<f64> {
        if self.share.replicas == 1 {
            return Ok(loss);
        }
        #[cfg(feature = "nccl")]
        if let (Some(ring), Gradients::Device { sums, .. }) = (&self.ring, &mut *gradients) {
            return ring.sum(loss, sums);
        }
        let mut exchange = || {
            let (mut loss, mut values) = (loss, gradients.to_values()?);
            if self.share.rank == 0 {
                for peer in &mut self.peers {
                    let (their_loss, theirs) = peer.read_gradients(values.len())?;
                    loss += their_loss;
                    values.iter_mut().zip(theirs).for_each(|(sum, value)| *sum += value);
                }
                self.peers.iter_mut().try_for_each(|peer| peer.write_gradients(loss, &values))?;
            } else {
                let first = &mut self.peers[0];
                first.write_gradients(loss, &values)?;
                (loss, values) = first.read_gradients(values.len())?;
            }
            gradients.set_values(&values)?;
            anyhow::Ok(loss)
        };
        exchange().context(GONE)
    }

    /// What the first replica says, to all.
    pub(crate) fn agree(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut exchange = || {
            if self.share.rank == 0 {
                self.peers.iter_mut().try_for_each(|peer| peer.write(bytes))?;
                anyhow::Ok(bytes.to_vec())
            } else {
                self.peers[0].read()
            }
        };
        exchange().context(GONE)
    }
}

/// One that has come to the port.
enum Arrival {
    /// One of the run, with its rank, and whether it does the same work.
    Member { rank: usize, same: bool, peer: Peer },
    /// Somebody else, or one that said nothing in time.
    Stranger(String),
}

fn listen(address: &str, count: usize, token: &Secret, pass: &str) -> Result<Vec<Peer>> {
    let listener = TcpListener::bind(address).with_context(|| format!("{address}: cannot be listened at"))?;
    listener.set_nonblocking(true)?;
    let mut peers: Vec<Option<Peer>> = (1..count).map(|_| None).collect();
    let (arrived, arrivals) = mpsc::channel();
    let started = Instant::now();
    while peers.iter().any(Option::is_none) {
        match listener.accept() {
            // One that dawdles keeps nobody waiting.
            Ok((stream, from)) => {
                let (token, pass, arrived) = (token.clone(), pass.to_owned(), arrived.clone());
                std::thread::spawn(move || {
                    let stranger = |error| Arrival::Stranger(format!("{from}: {error:#}"));
                    // Nobody listens any more where all have come.
                    let _ = arrived.send(admit(stream, &token, &pass).unwrap_or_else(stranger));
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => sleep(RETRY),
            Err(error) => return Err(error.into()),
        }
        for arrival in arrivals.try_iter() {
            let (rank, same, peer) = match arrival {
                Arrival::Member { rank, same, peer } => (rank, same, peer),
                Arrival::Stranger(why) => {
                    tracing::warn!("somebody who is not of this run was turned away: {why}");
                    continue;
                }
            };
            ensure!(same, "replica {rank} has other settings, texts, another base or kind of device than the first");
            let place = rank.checked_sub(1).and_then(|place| peers.get_mut(place));
            let place = place.with_context(|| format!("a replica calls itself {rank} of {count}"))?;
            ensure!(place.is_none(), "two replicas call themselves {rank}");
            *place = Some(peer);
        }
        let missing = peers.iter().filter(|peer| peer.is_none()).count();
        ensure!(
            missing == 0 || started.elapsed() < GATHERING,
            "{missing} of {count} replicas did not come to {address} within {} s: were they started, with the same token?",
            GATHERING.as_secs()
        );
    }
    peers.into_iter().flatten().map(Peer::patient).collect()
}

/// Has one that came show who it is.
fn admit(stream: TcpStream, token: &Secret, pass: &str) -> Result<Arrival> {
    stream.set_nonblocking(false)?;
    let mut peer = Peer::new(stream)?;
    let ours = nonce()?;
    peer.write(&ours)?;
    let (theirs, rank, shown) = (peer.read_short()?, peer.read_short()?, peer.read_short()?);
    ensure!(shown == proof(token, &[&ours, &theirs, &rank]), "it does not know the token of this run");
    let rank = String::from_utf8(rank)?.parse()?;
    let same = peer.read_short()? == pass.as_bytes();
    if same {
        peer.write(&proof(token, &[&theirs, &ours]))?;
    }
    Ok(Arrival::Member { rank, same, peer })
}

fn join(address: &str, rank: usize, token: &Secret, pass: &str) -> Result<Peer> {
    let started = Instant::now();
    let stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if started.elapsed() > GATHERING => {
                bail!("{address}: the first replica was not there within {} s: {error}", GATHERING.as_secs())
            }
            Err(_) => sleep(RETRY),
        }
    };
    let mut peer = Peer::new(stream)?;
    let mut shake_hands = || {
        let (ours, theirs, rank) = (nonce()?, peer.read_short()?, rank.to_string());
        peer.write(&ours)?;
        peer.write(rank.as_bytes())?;
        peer.write(&proof(token, &[&theirs, &ours, rank.as_bytes()]))?;
        peer.write(pass.as_bytes())?;
        anyhow::Ok(peer.read_short()? == proof(token, &[&ours, &theirs]))
    };
    let known = shake_hands().context(
        "the first replica has another token, other settings, texts, another base or kind of device, or has left",
    )?;
    ensure!(known, "{address}: what listens there is not the first replica of this run");
    peer.patient()
}

/// What shows that one knows the token, and cannot be shown again for other numbers.
fn proof(token: &Secret, parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in [&[token.expose().as_bytes()], parts].concat() {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}

/// A number that is used once.
fn nonce() -> Result<[u8; 32]> {
    let mut nonce = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    Ok(nonce)
}

impl Peer {
    fn new(stream: TcpStream) -> Result<Self> {
        // Small messages decide when large ones may start.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        stream.set_write_timeout(Some(HANDSHAKE))?;
        Ok(Self { reader: BufReader::new(stream.try_clone()?), writer: BufWriter::new(stream) })
    }

    /// With the patience that the work takes.
    fn patient(self) -> Result<Self> {
        self.reader.get_ref().set_read_timeout(Some(SILENCE))?;
        self.reader.get_ref().set_write_timeout(Some(SILENCE))?;
        Ok(self)
    }

    /// A message of the handshake.
    fn read_short(&mut self) -> Result<Vec<u8>> {
        let length = self.read_length()?;
        ensure!(length <= HANDSHAKE_MESSAGE, "what came is no handshake");
        let mut bytes = vec![0; length as usize];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.writer.write_all(bytes)?;
        Ok(self.writer.flush()?)
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let length = self.read_length()?;
        self.reader.by_ref().take(length).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == length, "the connection ended within a message");
        Ok(bytes)
    }

    fn read_length(&mut self) -> Result<u64> {
        let mut length = [0; 8];
        self.reader.read_exact(&mut length)?;
        Ok(u64::from_le_bytes(length))
    }

    fn write_gradients(&mut self, loss: f64, values: &[f32]) -> Result<()> {
        self.writer.write_all(&loss.to_le_bytes())?;
        for value in values {
            self.writer.write_all(&value.to_le_bytes())?;
        }
        Ok(self.writer.flush()?)
    }

    fn read_gradients(&mut self, count: usize) -> Result<(f64, Vec<f32>)> {
        let mut loss = [0; 8];
        self.reader.read_exact(&mut loss)?;
        let mut values = vec![0.0; count];
        for value in &mut values {
            let mut bytes = [0; 4];
            self.reader.read_exact(&mut bytes)?;
            *value = f32::from_le_bytes(bytes);
        }
        Ok((f64::from_le_bytes(loss), values))
    }
}
