//! Situations of the whole process and its host: no descriptors left, a fork, a name with two addresses. The tests change
//! the process, so they run one at a time.
#![allow(unsafe_code)] // a child that calls the system
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // why a test was skipped

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{address, client, client_config, next_number, pair, server, server_config};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tautline::{Config, ConnectError, Metadata, SocketFault, UdpInterface, Wire, create_udp_client};

/// Returns a guard that the running test holds, so that no other test runs beside it.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives, the process can open no further descriptor. Dropping it restores the limit.
struct DescriptorLimit(Rlimit);

impl DescriptorLimit {
    fn set() -> Self {
        let before = getrlimit(Resource::Nofile);
        // The kernel gives the lowest free descriptor next.
        let next = std::fs::File::open("/dev/null").expect("still allowed");
        let current = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&next)).expect("a descriptor");
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..before })
            .expect("lowering is allowed");
        Self(before)
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::Nofile, self.0);
    }
}

fn assert_alive(one: &UdpInterface, other: &UdpInterface) {
    for (from, to) in [(one, other), (other, one)] {
        from.send(&7, &Metadata::command()).expect("connected");
        assert_eq!(next_number(to), 7);
    }
}

#[test]
fn without_descriptors_connecting_fails_and_open_links_go_on() {
    let _alone = alone();
    let (server, old) = pair(Wire::Native);
    let new = create_udp_client(client_config(&server)).unwrap();
    let limit = DescriptorLimit::set();
    let error = new.connect().unwrap_err();
    assert!(matches!(error, ConnectError::Socket { fault: SocketFault::OutOfDescriptors, .. }), "{error}");
    assert!(error.to_string().contains("ulimit"), "{error}");
    assert_alive(&server, &old);
    drop(limit);
    new.connect().unwrap();
    new.send(&8, &Metadata::command()).unwrap();
    assert_eq!(next_number(&server), 8);
}

#[test]
fn a_forked_child_that_ends_does_not_disturb_the_link() {
    let _alone = alone();
    let (server, client) = pair(Wire::Native);
    // SAFETY: the child calls only functions that are safe after a fork (signal-safety(7)).
    let child = unsafe {
        match libc::fork() {
            0 => {
                libc::usleep(100_000);
                libc::_exit(0)
            }
            child => child,
        }
    };
    assert!(child > 0, "fork succeeded");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        assert_alive(&server, &client);
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: waitpid(2) accepts a null pointer for the status.
    assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
    assert_alive(&server, &client);
    for statistics in [server.statistics(), client.statistics()] {
        assert_eq!((statistics.lost, statistics.duplicate, statistics.datagrams_dropped.total()), (0, 0, 0));
        assert_eq!((statistics.peers, statistics.socket_faults.total()), (1, 0));
    }
}

#[test]
fn a_program_that_is_started_inherits_no_socket() {
    let _alone = alone();
    let server = server(server_config(Wire::Native));
    let fixed = address(&server);
    let mut child = std::process::Command::new("sleep").arg("2").spawn().expect("every Linux has it");
    server.disconnect();
    // If the started program held the socket, the port would still be in use.
    let again = common::server(Config::server(fixed));
    drop(client(client_config(&again)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_client_finds_its_server_at_the_second_address_of_a_name() {
    let _alone = alone();
    let Ok(()) = std::net::UdpSocket::bind("[::1]:0").map(drop) else { return };
    let server = server(Config::server("[::1]:0"));
    let name = format!("localhost:{}", address(&server).port());
    let found = std::net::ToSocketAddrs::to_socket_addrs(&name).map(Iterator::collect::<Vec<_>>);
    if !found.is_ok_and(|found| found.contains(&address(&server))) {
        println!("skipped: localhost has no address [::1] here");
        return;
    }
    let begun = Instant::now();
    let client = client(Config::client(&*name));
    assert_alive(&server, &client);
    // This is long before `connect_timeout`.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
