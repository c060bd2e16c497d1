//! A connection that ends leaves no thread, descriptor, handle or memory behind. The tests count those of this process, so they
//! run one at a time, in a test program of their own.

#![cfg(any(target_os = "linux", windows))] // which tell what a process holds
#![allow(clippy::print_stdout)] // figures
#![cfg_attr(windows, allow(unsafe_code))] // to ask for it

mod common;

use std::sync::{Mutex, PoisonError};

use common::{TIME_LIMIT, WIRES, address, client, client_config, pair, server, server_config, until};
use resources::{open_resources, resident};
use tautline::{Metadata, UdpInterface, Wire};

/// The running test holds this, so that no other test runs beside it.
static COUNTING: Mutex<()> = Mutex::new(());

#[cfg(target_os = "linux")]
mod resources {
    /// The sockets and wake-up descriptors of the process, and the threads of the library, whose names begin with `tautline-`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct OpenResources {
        descriptors: usize,
        threads: usize,
    }

    pub(super) fn open_resources() -> OpenResources {
        let entries = |path: &str| std::fs::read_dir(path).expect("Linux has /proc").filter_map(Result::ok);
        // An entry that disappears before it is read does not count.
        let is_ours = |name: String| name.starts_with("socket:") || name.contains("eventfd");
        let names = entries("/proc/self/fd").filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let descriptors = names.filter(|name| is_ours(name.to_string_lossy().into_owned())).count();
        let names = entries("/proc/self/task")
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
        let threads = names.filter(|name| name.starts_with("tautline-")).count();
        OpenResources { descriptors, threads }
    }

    impl OpenResources {
        /// Adds the resources of this number of connections. Each has a socket, a wake-up descriptor and a thread.
        pub(super) fn and(self, connections: usize) -> Self {
            Self { descriptors: self.descriptors + 2 * connections, threads: self.threads + connections }
        }
    }

    /// Returns the resident memory, in bytes.
    pub(super) fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kilobytes.and_then(|count| count.trim().parse::<usize>().ok()).expect("the format of proc(5)") * 1024
    }
}

#[cfg(windows)]
mod resources {
    use std::ffi::c_void;

    use windows_sys::Win32::System::ProcessStatus::{GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    #[link(name = "ntdll")]
    unsafe extern "system" {
        fn NtQuerySystemInformation(class: u32, to: *mut c_void, room: u32, len: *mut u32) -> i32;
    }

    /// Every handle of the system (SystemExtendedHandleInformation): their number, a reserved word, and for each the object, the
    /// process and three words more.
    const ALL_HANDLES: u32 = 64;

    const TOO_SHORT: i32 = 0xC000_0004_u32.cast_signed();

    /// The handles of this process: sockets, events, timers and threads. (GetProcessHandleCount is 0 under Wine.)
    pub(super) fn open_resources() -> usize {
        let mut words = vec![0usize; 1 << 16];
        loop {
            let room = u32::try_from(size_of_val(&*words)).expect("fits");
            // SAFETY: pointer and length describe the words, which are borrowed for writing.
            let status = unsafe {
                NtQuerySystemInformation(ALL_HANDLES, words.as_mut_ptr().cast(), room, std::ptr::null_mut())
            };
            if status != TOO_SHORT {
                assert_eq!(status, 0, "the system tells its handles");
                break;
            }
            words.resize(words.len() * 2, 0);
        }
        let own = std::process::id() as usize;
        let count = words[2..].chunks_exact(5).take(words[0]).filter(|handle| handle[1] == own).count();
        assert!(count > 0, "this process has handles");
        count
    }

    /// Returns the resident memory, in bytes.
    pub(super) fn resident() -> usize {
        let len = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).expect("fits");
        let mut counters = PROCESS_MEMORY_COUNTERS { cb: len, ..Default::default() };
        // SAFETY: the handle stands for this process. Pointer and length describe `counters`.
        let told = unsafe { GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, len) };
        assert_ne!(told, 0, "the system tells it");
        counters.WorkingSetSize
    }
}

#[cfg(target_os = "linux")] // counts each kind
#[test]
fn concurrent_connects_leak_no_socket() {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    for wire in WIRES {
        let before = open_resources();
        let server = server(server_config(wire));
        let client = tautline::create_udp_client(client_config(&server)).unwrap();
        for _ in 0..20 {
            let start = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        start.wait();
                        client.connect().unwrap();
                    });
                }
            });
            until("only the server and one connection of the client are left", || {
                open_resources() == before.and(2)
            });
            client.disconnect();
            until("only the server is left", || open_resources() == before.and(1));
        }
    }
}

/// One cycle in this number lasts until a message has come. The other cycles end while datagrams are in flight.
const HEARD_EVERY: usize = 5;

/// Connects and disconnects a server `cycles` times on one port while a client keeps calling and sending.
fn cycles_under_traffic(wire: Wire, cycles: usize) {
    let _counting = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    // What a process opens once, with its first connection, is no leak.
    drop(pair(wire));
    let before = open_resources();
    let server = server(server_config(wire));
    let fixed = server_config(wire).endpoint(address(&server).to_string());
    let client = client(client_config(&server));
    server.disconnect();
    server.connect_with(fixed).unwrap();
    let mut resident_before = 0;
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| keep_sending(&client, &server));
        for cycle in 0..cycles {
            server.disconnect();
            server.connect().unwrap();
            if cycle % HEARD_EVERY == 0 {
                // The client finds the server again in each cycle that lasts long enough.
                server.receive(Some(TIME_LIMIT)).unwrap();
            }
            if cycle == cycles / 5 {
                resident_before = resident();
            }
        }
        server.cleanup();
        traffic.join().expect("no panic");
    });
    let grown = resident().saturating_sub(resident_before);
    println!(
        "{cycles} cycles ({wire}), {} messages received: {:?}, grown by {} kB",
        server.statistics().messages_received,
        open_resources(),
        grown / 1024
    );
    client.cleanup();
    drop((server, client));
    until("nothing is left", || open_resources() == before);
    assert!(grown < 8 << 20, "resident memory grew by {grown} bytes");
}

fn keep_sending(client: &UdpInterface, server: &UdpInterface) {
    while server.connection_state() != tautline::ConnectionState::Closed {
        // Errors are expected. The call must not panic or block for ever.
        let _ = client.send(&[0.5; 8], &Metadata::command());
        std::thread::yield_now();
    }
}

#[test]
fn connect_cycles_on_one_port_under_traffic_leak_nothing() {
    WIRES.into_iter().for_each(|wire| cycles_under_traffic(wire, 250));
}

/// `cargo test --release -p tautline --test under_load --test leaks -- --ignored --nocapture`
#[test]
#[ignore = "the full length, in release"]
fn ten_thousand_connect_cycles_on_one_port_under_traffic_leak_nothing() {
    WIRES.into_iter().for_each(|wire| cycles_under_traffic(wire, 10_000));
}
