//! The links of a node as bytes in and bytes out: for each of them, and each of its ends, the one place where its stream is made.
//!
//! A layer that authenticates and encrypts is put between here: whatever speaks on a link takes any [`Stream`], says what it has to say
//! to whoever this is, and sees no socket. Two kinds of bytes go elsewhere: a shard has its own place for a layer
//! ([`os::peer_link::Layer`]), which [`into_peer_stream`] gives it, and commands ask by blocking calls. Nothing is said here, and no
//! address chosen.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as BlockingUnixStream;
use std::path::Path;
use std::time::Duration;

use os::peer_link::PeerStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Bytes in, bytes out, in order.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the nodes of a pair speak on.
pub(crate) type PeerConnection = TcpStream;

/// To the peer.
///
/// # Errors
/// Nobody listens there.
pub(crate) async fn connect_peer(address: SocketAddr) -> io::Result<PeerConnection> {
    without_delay(TcpStream::connect(address).await?)
}

/// From whoever has connected to the port of the peer, which a layer may first hear from.
///
/// # Errors
/// It is gone already.
pub(crate) async fn accept_peer(stream: TcpStream) -> io::Result<PeerConnection> {
    without_delay(stream)
}

/// A connection to the peer on which everything is agreed, as a shard takes it. It ends when the other machine acknowledges nothing for
/// so long.
///
/// # Errors
/// If the kernel does not let it be made ready.
pub(crate) fn into_peer_stream(connection: PeerConnection, silence_max: Duration) -> io::Result<PeerStream> {
    PeerStream::over_tcp(connection.into_std()?, silence_max)
}

/// To a witness.
///
/// # Errors
/// Nobody listens there.
pub(crate) async fn connect_witness(address: SocketAddr) -> io::Result<impl Stream> {
    without_delay(TcpStream::connect(address).await?)
}

/// From whoever has connected to a witness, likewise.
///
/// # Errors
/// It is gone already.
pub(crate) async fn accept_witness(stream: TcpStream) -> io::Result<impl Stream> {
    without_delay(stream)
}

/// To a member of etcd's cluster.
///
/// # Errors
/// Nobody listens there.
pub(crate) async fn connect_etcd(endpoint: SocketAddr) -> io::Result<impl Stream> {
    without_delay(TcpStream::connect(endpoint).await?)
}

/// To the daemon, for a command.
///
/// # Errors
/// No daemon listens there.
pub(crate) fn connect_command(socket: &Path) -> io::Result<impl Read + Write + use<>> {
    BlockingUnixStream::connect(socket)
}

/// From a command.
///
/// # Errors
/// It is gone already.
pub(crate) async fn accept_command(stream: UnixStream) -> io::Result<impl Stream> {
    Ok(stream)
}

/// What is said on the links is little, and waited for.
fn without_delay(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The least that a layer can be, for tests: it turns every byte over.
#[cfg(test)]
pub(crate) mod veil {
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use tokio::io::{DuplexStream, ReadBuf};

    use super::{AsyncRead, AsyncWrite, io};

    #[derive(Debug)]
    pub(crate) struct Veiled(DuplexStream);

    /// The two ends of a connection with such a layer between.
    pub(crate) fn veiled() -> (Veiled, Veiled) {
        let (near, far) = tokio::io::duplex(1 << 16);
        (Veiled(near), Veiled(far))
    }

    impl AsyncRead for Veiled {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let before = into.filled().len();
            ready!(Pin::new(&mut self.0).poll_read(context, into))?;
            into.filled_mut()[before..].iter_mut().for_each(|byte| *byte = !*byte);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Veiled {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let turned: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            Pin::new(&mut self.0).poll_write(context, &turned)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }
}
