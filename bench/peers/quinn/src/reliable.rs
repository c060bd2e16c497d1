//! Reliable messages: a stream, in which each message follows its length.

use method::{Count, Outcome, Throughput};
use quinn::{Connection, RecvStream};

/// The bytes of a length.
const LENGTH: usize = 2;

/// The size of a read.
const READ: usize = 65_536;

/// Sends the messages, and waits until all are acknowledged.
pub(crate) async fn send(connection: &Connection, run: &mut Throughput) -> Outcome<()> {
    let mut stream = connection.open_uni().await?;
    let length = u16::try_from(run.message().len())?;
    let framed = [&length.to_le_bytes()[..], run.message()].concat();
    while run.more() {
        stream.write_all(&framed).await?;
    }
    stream.finish()?;
    stream.stopped().await?;
    Ok(())
}

/// Counts the messages of a stream.
pub(crate) async fn count(mut stream: RecvStream, received: &'static Count) -> Outcome<()> {
    let mut buffer = Vec::new();
    let mut read = vec![0; READ];
    while let Some(len) = stream.read(&mut read).await? {
        buffer.extend_from_slice(&read[..len]);
        let (mut at, mut count) = (0, 0);
        while let Some(length) = buffer[at..].first_chunk::<LENGTH>() {
            let end = at + LENGTH + usize::from(u16::from_le_bytes(*length));
            if end > buffer.len() {
                break;
            }
            (at, count) = (end, count + 1);
        }
        buffer.drain(..at);
        received.add(count);
    }
    Ok(())
}
