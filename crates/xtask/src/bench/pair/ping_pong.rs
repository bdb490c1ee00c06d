//! What the wire between the nodes costs by itself: 4 KiB one way by TCP, 48 bytes back, as a replicated write and its answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lab::Error;
use lab::pair::Pair;

use super::load::Sample;
use super::system;

const FORTH: usize = 4096;
const BACK: usize = 48;

/// Round trips for so long, one at a time, both ends sleeping while they wait.
pub(super) fn measure(pair: &Pair, seconds: f64) -> Result<Sample, Error> {
    let address: SocketAddr = Pair::peer_address(1, 0).parse().map_err(|_| Error::Unexpected {
        program: "the laboratory".into(),
        detail: Pair::peer_address(1, 0),
    })?;
    let listener = pair.node(1).enter(|| TcpListener::bind((address.ip(), 0)))?;
    let port = listener.local_addr().map_err(system("listen beside a node"))?.port();
    let times = thread::scope(|scope| {
        let far_end = scope.spawn(|| answer(&listener));
        let times = ask(pair, address.ip(), port, Duration::from_secs_f64(seconds));
        let answered = far_end.join().unwrap_or_else(|_| Err(std::io::Error::other("the far end panicked")));
        answered.map_err(system("answer on the wire between the nodes")).and(times)
    })?;
    Ok(sample(times, seconds))
}

fn answer(listener: &TcpListener) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut bytes = [0; FORTH];
    while stream.read_exact(&mut bytes).is_ok() {
        stream.write_all(&bytes[..BACK])?;
    }
    Ok(())
}

/// How long each round trip took, in microseconds.
fn ask(pair: &Pair, ip: IpAddr, port: u16, length: Duration) -> Result<Vec<f64>, Error> {
    let mut stream = pair.node(0).enter(|| TcpStream::connect((ip, port)))?;
    let mut times = Vec::new();
    let mut run = || -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut bytes = [7; FORTH];
        let begun = Instant::now();
        while begun.elapsed() < length {
            let sent = Instant::now();
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes[..BACK])?;
            times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        Ok(())
    };
    run().map_err(system("ask on the wire between the nodes"))?;
    Ok(times)
}

fn sample(mut times: Vec<f64>, seconds: f64) -> Sample {
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0.0);
    let count = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)).max(1.0);
    Sample {
        requests_per_second: count / seconds,
        p50: at(50),
        mean: times.iter().sum::<f64>() / count,
        p99: at(99),
        max: times.last().copied().unwrap_or(0.0),
        processor: None,
    }
}
