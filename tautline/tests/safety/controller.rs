/// The controller. It knows when the plant's process has been silent for 250 ms, and when its states have stopped: one is
/// expected every 2 ms, and one of any ten periods of 3 ms may pass without one.
fn controller(server: &str) -> Result<(UdpInterface, Arc<AtomicBool>), Box<dyn Error>> {
    let states_come = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&states_come);
    // It may be started before the plant: it connects in the background.
    let config = Config::client(server).connect_timeout(Duration::ZERO);
    let controller = create_udp_client(config)?;
    controller.watch(Watchdog::peer(Duration::from_millis(250)), |event| {
        if let WatchdogChange::Tripped { late, .. } = event.change {
            eprintln!("nothing since {:?}, noticed {late:?} after it was due", event.last);
        }
    })?;
    let states = Watchdog::messages(MessageType::Status, Duration::from_millis(3)).misses(1, 10);
    controller.watch(states, move |event| {
        flag.store(event.state() == WatchdogState::Armed, Ordering::SeqCst);
    })?;
    controller.connect()?;
    Ok((controller, states_come))
}
