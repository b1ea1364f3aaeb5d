//! The yardstick: what hyper alone costs for the answer that Waypost gives.
//!
//! One single-threaded runtime, one `SO_REUSEPORT` listener, HTTP/1, and a constant 302 with the headers of a tracked
//! redirect. It parses nothing, signs nothing, records nothing.
//!
//! `bare_redirect --listen 127.0.0.1:0 --ready-file PATH` writes `{"edge": "http://host:port"}` when it serves.

use std::{convert::Infallible, fs, net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const LOCATION: &str =
    "https://shop.example/?ref=jane&click_id=QQEBjzMgc3x1nKzq6Pj1o2y0AAAAAAAAAE1hbGxvd2VkLXRva2Vu";
const COOKIE: &str = "wp_demo-shop=QQEBjzMgc3x1nKzq6Pj1o2y0AAAAAAAAAE1hbGxvd2VkLXRva2Vu; Path=/; Secure; HttpOnly; \
                      SameSite=Lax; Max-Age=2592000";

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

async fn answer(_: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static(LOCATION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin"));
    headers.insert(header::SET_COOKIE, HeaderValue::from_static(COOKIE));
    Ok(response)
}

fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let listener = TcpListener::from_std(listen(args.listen)?)?;
    if let Some(path) = args.ready_file {
        fs::write(path, format!("{{\"edge\": \"http://{}\"}}\n", listener.local_addr()?))?;
    }
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that goes away is not this server's concern.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}
