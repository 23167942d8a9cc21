//! The network between service and server: two ends of a byte stream in memory.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};

use snapless_link::stream::Stream;

type Bytes = Arc<Mutex<VecDeque<u8>>>;

/// One end. It never waits: where no byte has arrived, the stream is at its end for now.
#[derive(Debug)]
pub struct End {
    to: Bytes,
    from: Bytes,
}

/// A stream's two ends.
pub fn pair() -> [Arc<dyn Stream>; 2] {
    let [up, down] = [Bytes::default(), Bytes::default()];
    let service = End { to: Arc::clone(&up), from: Arc::clone(&down) };
    [Arc::new(service), Arc::new(End { to: down, from: up })]
}

impl Stream for End {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner).read(buffer)
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        Ok(())
    }
}
