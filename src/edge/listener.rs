//! The sockets: one listener per core on one address, among which the kernel spreads connections (`SO_REUSEPORT`).
//!
//! `SO_REUSEPORT` would let a second edge of the same user take the same port without a word. So the first socket is
//! bound and listens without it, which fails while anybody else has the port; only then it is opened to its
//! siblings. Two edges that start at the same moment cannot both pass.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, for each core; the system may hold to fewer.
const BACKLOG: i32 = 4096;

/// Sockets that listen, one for each core.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) sockets: Vec<TcpListener>,
    address: SocketAddr,
}

impl Listeners {
    /// Where they listen, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Listens with `cores` sockets; 0: as many as the machine has cores.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when anybody listens there; whatever else the system says.
pub fn bind(address: SocketAddr, cores: usize) -> io::Result<Listeners> {
    let cores = core_count(cores);
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    let address = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first.into()];
    if cores > 1 {
        share(&sockets[0])?;
    }
    for _ in 1..cores {
        let sibling = socket(address)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&address.into())?;
        sibling.listen(BACKLOG)?;
        sockets.push(sibling.into());
    }
    Ok(Listeners { sockets, address })
}

/// How many cores `edge.cores` means.
pub fn core_count(cores: usize) -> usize {
    match cores {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn share(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).set_reuse_port(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_once() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for cores in [1, 3] {
            let first = bind(any, cores).unwrap();
            assert_eq!(first.sockets.len(), cores);
            let again = bind(first.local_addr(), cores).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
            let address = first.local_addr();
            drop(first);
            bind(address, cores).unwrap();
        }
    }

    #[test]
    fn of_many_at_once_one_gets_the_port() {
        let address = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().local_addr();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(move || bind(address, 2))).collect();
        let bound: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1);
    }
}
