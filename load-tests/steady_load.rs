//! Sends requests at a fixed rate and measures how long each takes from the moment when it was due.
//!
//! wrk sends as fast as it is answered, so it cannot load a server by half, and a request that had to wait for a slow
//! one before it is not counted as late. Here the schedule does not wait: request n is due at n / rate, is sent on any
//! idle connection, and its latency counts from when it was due. One thread polls all sockets without sleeping, as
//! timers of a millisecond would be coarser than what is measured; it wants a core of its own.
//!
//! Prints one JSON object: `{"requests", "errors", "p50_us", "p99_us", "p999_us"}`.

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    address: SocketAddr,
    /// Requests per second.
    #[arg(long)]
    rate: u32,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// File of raw requests without a body, one after the other.
    #[arg(long)]
    requests: PathBuf,
}

/// One connection, with the request that is under way on it.
struct Connection {
    stream: TcpStream,
    due: Option<Instant>,
    read: Vec<u8>,
}

/// After the last request was due, answers have so long.
const GRACE: Duration = Duration::from_secs(2);

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, due: None, read: Vec::with_capacity(4096) })
    }

    /// Requests are far smaller than the socket's buffer: one write takes all, or something is wrong.
    fn send(&mut self, request: &[u8], due: Instant) -> anyhow::Result<()> {
        ensure!(self.stream.write(request)? == request.len(), "a request was written in part");
        self.due = Some(due);
        self.read.clear();
        Ok(())
    }

    /// The status, once the head of the answer is there; answers have no body.
    fn poll(&mut self) -> anyhow::Result<Option<u16>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the server closed a connection with a request under way"),
            Ok(bytes) => self.read.extend_from_slice(&chunk[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if !self.read.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        let status = self.read.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        Ok(Some(status.and_then(|digits| digits.parse().ok()).context("not an HTTP answer")?))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.rate > 0 && args.connections > 0, "the rate and the connections must be above 0");
    let text = fs::read_to_string(&args.requests)?;
    let requests: Vec<&[u8]> = text.split_inclusive("\r\n\r\n").map(str::as_bytes).collect();
    ensure!(!requests.is_empty(), "the file has no request");
    let mut connections =
        (0..args.connections).map(|_| Connection::open(args.address)).collect::<io::Result<Vec<_>>>()?;
    let mut idle: VecDeque<usize> = (0..connections.len()).collect();
    let mut busy: Vec<usize> = Vec::with_capacity(connections.len());
    let total = u64::from(args.rate) * args.seconds;
    let mut latencies = Vec::with_capacity(usize::try_from(total)?);
    let (mut sent, mut errors) = (0_u64, 0_u64);
    let start = Instant::now();
    let due_at = |n: u64| start + Duration::from_nanos(n * 1_000_000_000 / u64::from(args.rate));
    let end = due_at(total) + GRACE;
    while sent < total || !busy.is_empty() {
        let now = Instant::now();
        if now > end {
            // Whatever was not sent or not answered by now is an error, not a fast request.
            errors += total - latencies.len() as u64 - errors;
            break;
        }
        while sent < total && due_at(sent) <= now {
            let Some(at) = idle.pop_front() else { break };
            let request = requests[usize::try_from(sent)? % requests.len()];
            connections[at].send(request, due_at(sent))?;
            busy.push(at);
            sent += 1;
        }
        let mut n = 0;
        while n < busy.len() {
            let connection = &mut connections[busy[n]];
            let Some(status) = connection.poll()? else {
                n += 1;
                continue;
            };
            let due = connection.due.take().context("an answer without a request")?;
            if status == 302 {
                latencies.push(due.elapsed());
            } else {
                errors += 1;
            }
            idle.push_back(busy.swap_remove(n));
        }
    }
    latencies.sort_unstable();
    let quantile = |per_mille: usize| {
        let at = (latencies.len() * per_mille / 1000).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0, Duration::as_micros)
    };
    let answered = latencies.len();
    let (p50, p99, p999) = (quantile(500), quantile(990), quantile(999));
    writeln!(
        io::stdout(),
        "{{\"requests\": {answered}, \"errors\": {errors}, \"p50_us\": {p50}, \"p99_us\": {p99}, \"p999_us\": {p999}}}"
    )?;
    Ok(())
}
