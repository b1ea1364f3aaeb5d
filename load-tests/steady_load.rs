//! Sends requests at a fixed rate and measures how long each takes from the moment when it was due.
//!
//! wrk sends as fast as it is answered, so it cannot load a server by half, and a request that had to wait for a slow
//! one before it is not counted as late. Here the schedule does not wait: request n is due at n / rate, is sent on any
//! idle connection, and its latency counts from when it was due. One thread polls all sockets without sleeping, as
//! timers of a millisecond would be coarser than what is measured; it wants a core of its own. Where it has to share
//! one, `--pause-us` lets others run whenever nothing is due, and latencies are coarser by so much.
//!
//! With `--visitor N` each request is of a visitor of its own, counted from there: the address that the file has as
//! `X-Forwarded-For: 1NN.1NN.1NN.1NN` is replaced. click.lua does the same.
//!
//! Prints one JSON object: `{"requests", "errors", "p50_us", "p99_us", "p999_us"}`.

use std::{
    collections::VecDeque,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    thread,
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
    /// Number of the first visitor.
    #[arg(long)]
    visitor: Option<u64>,
    /// How long to sleep when there is nothing to do; 0: not at all.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
}

const ADDRESS: &str = "X-Forwarded-For: 1";
/// First byte 100 to 126, the others 100 to 199: no loopback. The step scatters neighbours and meets each once.
const VISITORS: u64 = 27_000_000;
const STEP: u64 = 7_654_321;

/// Replaces the address at `at`, which has as many digits.
fn address_visitor(request: &mut [u8], at: usize, visitor: u64) {
    let mut n = visitor * STEP % VISITORS;
    for byte in (0..4_usize).rev() {
        let last = at + 4 * byte + 2;
        request[last] = b'0' + (n % 10) as u8;
        request[last - 1] = b'0' + (n / 10 % 10) as u8;
        n /= 100;
    }
}

/// One connection, with the request that is under way on it.
struct Connection {
    stream: TcpStream,
    due: Option<Instant>,
    read: Vec<u8>,
}

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

    /// The status, once the answer is there.
    fn poll(&mut self) -> anyhow::Result<Option<u16>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the server closed a connection with a request under way"),
            Ok(bytes) => self.read.extend_from_slice(&chunk[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        whole(&self.read)
    }
}

/// The status of an answer, once all of it is there.
fn whole(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).context("not an HTTP answer")?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    if answer.len() < head + 4 + length.transpose()?.unwrap_or(0) {
        return Ok(None);
    }
    let status = text.get(9..12).and_then(|digits| digits.parse().ok());
    status.context("not an HTTP answer").map(Some)
}

/// After the last request was due, answers have so long.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.rate > 0 && args.connections > 0, "the rate and the connections must be above 0");
    let text = fs::read_to_string(&args.requests)?;
    let mut requests: Vec<(Vec<u8>, usize)> = Vec::new();
    for request in text.split_inclusive("\r\n\r\n") {
        let at = request.find(ADDRESS).map_or(0, |at| at + ADDRESS.len() - 1);
        ensure!(args.visitor.is_none() || at > 0, "a request has no address to replace");
        requests.push((request.as_bytes().to_vec(), at));
    }
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
            let choice = usize::try_from(sent)? % requests.len();
            let (request, address) = &mut requests[choice];
            if let Some(first) = args.visitor {
                address_visitor(request, *address, first + sent);
            }
            connections[at].send(request, due_at(sent))?;
            busy.push(at);
            sent += 1;
        }
        let (mut n, waiting) = (0, busy.len());
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
        if args.pause_us > 0
            && busy.len() == waiting
            && (sent >= total || idle.is_empty() || due_at(sent) > Instant::now())
        {
            let until_due = due_at(sent.min(total)).saturating_duration_since(Instant::now());
            let pause = Duration::from_micros(args.pause_us);
            // With answers under way it looks for them again soon.
            thread::sleep(if busy.is_empty() { until_due.max(pause) } else { pause });
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
