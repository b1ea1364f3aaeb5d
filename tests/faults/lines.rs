//! The network between the processes and the services: TCP proxies that can be cut.
//!
//! PostgreSQL and Redis have a listener for each process. Kafka's brokers send their clients to one address, so there
//! is one listener, and whose connection one is says the kernel's table of sockets.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::{processes::Owners, services::Part};

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Whole,
    /// Connections are reset, and new ones too.
    Reset,
    /// Nothing passes; what was sent arrives when the line is whole again.
    Silent,
    /// Requests pass, answers do not until the line is whole again.
    Answerless,
    /// The service's side is gone, the process is not told until the line is whole again.
    HalfOpen,
    /// Every piece takes so long.
    Slow(Duration),
}

/// The line of a process to a part.
pub type Line = (&'static str, Part);

#[derive(Debug)]
pub struct Lines {
    modes: BTreeMap<Line, watch::Sender<Mode>>,
    /// For those that are no process of the test, such as a command.
    always: watch::Sender<Mode>,
    owners: Owners,
}

impl Lines {
    pub fn new(lines: &[Line], owners: Owners) -> Self {
        let modes = lines.iter().map(|line| (*line, watch::Sender::new(Mode::Whole))).collect();
        Self { modes, always: watch::Sender::new(Mode::Whole), owners }
    }

    pub fn all(&self) -> Vec<Line> {
        self.modes.keys().copied().collect()
    }

    pub fn set(&self, line: Line, mode: Mode) {
        self.modes[&line].send_replace(mode);
    }

    /// Listens for one process; answers where.
    pub async fn listen(self: &Arc<Self>, line: Line, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = self.modes[&line].clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, target, mode.subscribe()));
            }
        });
        address
    }

    /// Listens for all processes.
    pub async fn listen_for_all(self: &Arc<Self>, part: Part, at: SocketAddr, target: SocketAddr) {
        let listener = TcpListener::bind(at).await.unwrap();
        let lines = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                let mode = lines.owner(peer, at).and_then(|owner| lines.modes.get(&(owner, part)));
                let mode = mode.unwrap_or(&lines.always).subscribe();
                tokio::spawn(connection(client, target, mode));
            }
        });
    }

    /// Whose socket it is that has connected from `peer` to `to`.
    fn owner(&self, peer: SocketAddr, to: SocketAddr) -> Option<&'static str> {
        let table = fs::read_to_string("/proc/net/tcp").ok()?;
        let (local, remote) = (in_kernel_table(peer), in_kernel_table(to));
        let inode = table.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.get(1) == Some(&&*local) && words.get(2) == Some(&&*remote)).then(|| words[9].to_owned())
        })?;
        let wanted = format!("socket:[{inode}]");
        let owners = self.owners.lock().unwrap();
        let owns = |pid: &u32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|to| to.as_os_str() == wanted.as_str())
        };
        owners.iter().find(|(pid, _)| owns(pid)).map(|(_, name)| *name)
    }
}

/// An IPv4 address as `/proc/net/tcp` writes it: little endian, hexadecimal.
fn in_kernel_table(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port())
}

async fn connection(mut client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let _ = client.set_nodelay(true);
    // Nobody learns of a server that cannot be reached but by waiting.
    let may_connect = mode.wait_for(|mode| !matches!(mode, Mode::Silent | Mode::HalfOpen)).await;
    if may_connect.is_ok_and(|mode| *mode != Mode::Reset)
        && let Ok(mut server) = TcpStream::connect(target).await
    {
        let _ = server.set_nodelay(true);
        let (mut of_client, mut of_server) = (mode.clone(), mode.clone());
        let half_open = {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                () = pass(&mut from_client, &mut to_server, &mut of_client, false) => false,
                () = pass(&mut from_server, &mut to_client, &mut of_server, true) => false,
                mode = until_broken(&mut mode) => mode == Mode::HalfOpen,
            }
        };
        drop(server);
        if half_open {
            let _ = mode.wait_for(|mode| *mode == Mode::Whole).await;
        }
    }
    let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
}

async fn until_broken(mode: &mut watch::Receiver<Mode>) -> Mode {
    match mode.wait_for(|mode| matches!(mode, Mode::Reset | Mode::HalfOpen)).await {
        Ok(mode) => *mode,
        Err(_) => Mode::Reset,
    }
}

/// Passes on what comes, as the line allows, until one side ends.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mode: &mut watch::Receiver<Mode>,
    answers: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let passes = |mode: &Mode| match mode {
            Mode::Silent => false,
            Mode::Answerless => !answers,
            Mode::Whole | Mode::Reset | Mode::HalfOpen | Mode::Slow(_) => true,
        };
        let Ok(now) = mode.wait_for(passes).await.map(|mode| *mode) else { return };
        if let Mode::Slow(delay) = now {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
