//! A reactor drives the interface. tokio watches the socket and the clock, and calls the driver when one of them is ready.
//!
//! The same works with every reactor that can watch a descriptor, such as mio, calloop or epoll.
//!
//! `cargo run -p tautline --example reactor`
#![allow(clippy::print_stdout)]

use std::error::Error;

use tautline::{Config, Metadata, UdpInterface, create_udp_client};

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let (plant, mut driver) = UdpInterface::caller_driven(Config::server("127.0.0.1:0").name("plant"))?;
    driver.connect()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = watched::drive(&mut driver) => Ok(result?),
            result = talk(&plant) => result,
        }
    })
}

/// The application: exchanges messages between a plant and a controller, both async.
async fn talk(plant: &UdpInterface) -> Result<(), Box<dyn Error>> {
    // The controller has its own driver thread, so the reactor drives the plant only.
    let address = plant.local_address().ok_or("the server is not connected")?;
    let controller = create_udp_client(Config::client(address).name("controller"))?;
    controller.connect_async().await?;
    for number in 1..=3 {
        controller.send(&number, &Metadata::command())?;
        let command = plant.receive_async().await?;
        plant.reply(&command, &(10 * number), &Metadata::status())?;
        let answer: u32 = controller.receive_async().await?.decode()?;
        println!("{number} -> {answer}");
    }
    Ok(())
}

#[cfg(unix)]
mod watched {
    use std::io;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use tautline::{Driver, TURN_BUDGET};
    use tokio::io::Interest;
    use tokio::net::UdpSocket;
    use tokio::time::{Instant, sleep_until};

    /// The longest sleep, when nothing is due and nothing comes.
    const LONG: Duration = Duration::from_secs(3600);

    /// Turns whenever the socket is readable or something is due. Returns only with an error.
    pub(super) async fn drive(driver: &mut Driver) -> io::Result<()> {
        let socket = driver.socket().ok_or(io::ErrorKind::NotConnected)?;
        // tokio watches a copy of the descriptor, which it owns.
        let copy = std::net::UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
        let socket = UdpSocket::from_std(copy)?;
        loop {
            let deadline = driver.next_deadline().map_or_else(|| Instant::now() + LONG, Into::into);
            tokio::select! {
                ready = socket.readable() => ready?,
                () = sleep_until(deadline) => {}
            }
            // Tells tokio to wait for the next datagram before the socket is read, so that none is missed.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            // A turn is bounded, and tokio reports new datagrams only. So this reads until none is left.
            while driver.turn(Some(Duration::ZERO)) >= TURN_BUDGET {}
        }
    }
}

#[cfg(not(unix))]
mod watched {
    use std::io;

    use tautline::Driver;

    /// Without descriptors there is nothing to watch, so this turns again and again.
    pub(super) async fn drive(driver: &mut Driver) -> io::Result<()> {
        loop {
            driver.turn(Some(std::time::Duration::from_millis(1)));
            tokio::task::yield_now().await;
        }
    }
}
