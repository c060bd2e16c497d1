/// The same with a watchdog of its own, which the operator's panel resets.
fn plant_with_panel(listen: &str) -> Result<(UdpInterface, Arc<AtomicBool>), Box<dyn Error>> {
    let motor_may_run = Arc::new(AtomicBool::new(false));
    let motor = Arc::clone(&motor_may_run);
    let plant = create_udp_server(Config::server(listen))?;
    let commands = Watchdog::messages(MessageType::Command, Duration::from_millis(20))
        .reset_by(MessageType::Configuration, "panel");
    plant.watch(commands, move |event| match event.change {
        WatchdogChange::Armed => motor.store(true, Ordering::SeqCst),
        WatchdogChange::Tripped { .. } => motor.store(false, Ordering::SeqCst),
        WatchdogChange::Refusing { silence, cause } => {
            eprintln!("commands are back after {silence:?} ({cause}), and are dropped until the reset");
        }
        _ => {}
    })?;
    plant.connect()?;
    Ok((plant, motor_may_run))
}
