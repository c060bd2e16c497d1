/// The plant. When no command has come for 20 ms, the motor stops, and stays stopped until a reset.
fn plant(listen: &str) -> Result<(UdpInterface, Arc<AtomicBool>), Box<dyn Error>> {
    let motor_may_run = Arc::new(AtomicBool::new(false));
    let motor = Arc::clone(&motor_may_run);
    let config = Config::server(listen)
        .profile(Profile::control())
        .qos(MessageType::Command, Qos::new().deadline(Duration::from_millis(20)))
        .failsafe(move |event| motor.store(event.state() == WatchdogState::Armed, Ordering::SeqCst));
    let plant = create_udp_server(config)?;
    plant.connect()?;
    Ok((plant, motor_may_run))
}
