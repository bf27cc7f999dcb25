//! The ends of TCP streams.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::wait::BOUND;

/// Bytes per system call.
const CHUNK: usize = 128 * 1024;

/// Takes so many streams and says how many bytes came within the time.
pub(super) fn receive(address: Ipv4Addr, streams: u32, seconds: Duration) -> Result<()> {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let listener = TcpListener::bind((address, 0)).context("cannot listen")?;
    println!("listening {}", listener.local_addr()?);
    for _ in 0..streams {
        let (mut stream, _) = listener.accept().context("no stream came")?;
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            while let Ok(bytes @ 1..) = stream.read(&mut chunk) {
                RECEIVED.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        });
    }
    super::report(&RECEIVED, seconds);
    Ok(())
}

/// Sends so many streams until they break.
pub(super) fn send(to: SocketAddrV4, streams: u32) -> Result<()> {
    let streams: Vec<_> = (0..streams)
        .map(|_| TcpStream::connect_timeout(&to.into(), BOUND).context("cannot connect"))
        .collect::<Result<_>>()?;
    thread::scope(|scope| {
        for mut stream in streams {
            scope.spawn(move || {
                let chunk = vec![0x5a; CHUNK];
                while stream.write_all(&chunk).is_ok() {}
            });
        }
    });
    Ok(())
}
