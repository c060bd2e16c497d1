//! Addresses that move under a link: another address, a network card that is replaced or plugged in again, a name that means
//! another host, and a network that comes later than the programs.
//!
//! The tests use real sockets in network namespaces, and are skipped by name where those are not allowed. The campaign repeats
//! each situation, and prints the longest time that the link needed once the way was there:
//!
//! ```text
//! cargo test --release -p tautline --test moves -- --ignored --nocapture --test-threads 1
//! ```
//!
//! On a machine that is busy with other programs, run it before them (`chrt -r 10 cargo test ...`).
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)] // figures, and why a test was skipped

mod common;
#[path = "common/hosts.rs"]
mod hosts;
#[path = "common/namespaces.rs"]
mod namespaces;

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::until;
use namespaces::{Cable, ENDS, End};
use tautline::{
    Config, ConnectionState, DrivenBy, Event, Metadata, UdpInterface, Wire, create_udp_client,
    create_udp_server,
};

/// `liveness_timeout` on both wires.
const LIVENESS: Duration = Duration::from_millis(500);

/// After this time at most the link works again, once the way is there.
const BACK_WITHIN: Duration = Duration::from_millis(1_500);

/// How often the campaign repeats each situation.
const REPEATS: usize = 20;

/// IPv4 or IPv6: the addresses of this test's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    /// The address of an end, and another one for it. The cable has the first ones of IPv4 from the start.
    fn addresses(self, end: End) -> [String; 2] {
        let last = end as usize + 1;
        match self {
            Self::V4 => [format!("10.77.0.{last}"), format!("10.77.0.{}", last + 10)],
            Self::V6 => [format!("fd77::{last}"), format!("fd77::{}", last + 10)],
        }
    }

    fn with_prefix(self, address: &str) -> String {
        format!("{address}/{}", if self == Self::V4 { 24 } else { 64 })
    }

    fn endpoint(self, address: &str) -> String {
        if self == Self::V4 { format!("{address}:9000") } else { format!("[{address}]:9000") }
    }
}

/// A kind of link: family and wire.
type Kind = (Family, Wire);

const KINDS: [Kind; 4] = [
    (Family::V4, Wire::Native),
    (Family::V6, Wire::Native),
    (Family::V4, Wire::Classic),
    (Family::V6, Wire::Classic),
];

/// A file of host names that the threads of this test read instead of the system's.
struct Hosts(PathBuf);

impl Hosts {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tautline-hosts-{}-{number}", std::process::id()));
        fs::write(&path, "").expect("the folder for temporary files can be written");
        Self(path)
    }

    /// Lets "plant" mean this address only, or nothing.
    fn set(&self, address: Option<&str>) {
        let line = address.map_or(String::new(), |address| format!("{address} plant\n"));
        fs::write(&self.0, line).expect("as before");
    }

    /// Lets the calling thread, and the threads that it starts, read this file.
    fn use_here(&self) {
        // The call is unsafe for file descriptors alone, which this does not concern.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS | rustix::thread::UnshareFlags::FS)
            .expect("setting up was allowed");
        let mount = |arguments: &[&str]| {
            assert!(Command::new("mount").args(arguments).status().is_ok_and(|status| status.success()));
        };
        mount(&["--make-rprivate", "/"]);
        mount(&["--bind", self.0.to_str().expect("plain text"), "/etc/hosts"]);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn config(config: Config, wire: Wire) -> Config {
    // A thread of the test that waits must not drive meanwhile: it belongs to another host, with other names and network cards.
    let config = config.driven_by(DrivenBy::Thread);
    config.wire(wire).liveness_timeout(LIVENESS).connect_timeout(Duration::ZERO)
}

/// Makes a server at the plant's end, which connects in the background.
fn plant(cable: &Cable, endpoint: &str, wire: Wire) -> UdpInterface {
    end(cable, End::Plant, Config::server(endpoint).name("plant"), wire, None)
}

/// Makes a client at the controller's end, which connects in the background.
fn controller(cable: &Cable, endpoint: &str, wire: Wire, hosts: Option<&Hosts>) -> UdpInterface {
    end(cable, End::Controller, Config::client(endpoint).name("controller"), wire, hosts)
}

/// Makes an interface at an end, which connects in the background. It looks names up in `hosts`.
fn end(cable: &Cable, end: End, settings: Config, wire: Wire, hosts: Option<&Hosts>) -> UdpInterface {
    cable.at(end, || {
        hosts.inspect(|hosts| hosts.use_here());
        let interface = UdpInterface::new(config(settings, wire)).expect("valid");
        interface.connect().expect("it waits for what is missing");
        interface
    })
}

/// Waits until a message arrives in each direction. Returns how long that took.
fn wait_until_open(plant: &UdpInterface, controller: &UdpInterface) -> Duration {
    let begun = Instant::now();
    for interface in [plant, controller] {
        while interface.receive(Some(Duration::ZERO)).is_ok() {}
    }
    let arrives = |from: &UdpInterface, to: &UdpInterface| {
        // A server may also have the peer of before, to whom nothing can be sent.
        let _ = from.send(&1, &Metadata::command());
        to.receive(Some(Duration::from_millis(1))).is_ok()
    };
    until("a message arrives at the plant", || arrives(controller, plant));
    until("a message arrives at the controller", || {
        // On the classic wire, a server knows a client by its messages alone.
        let _ = controller.send(&2, &Metadata::command());
        arrives(plant, controller)
    });
    begun.elapsed()
}

/// Repeats a situation, each time from a new link that works, and prints the longest time until it worked again.
fn repeat(what: &str, repeats: usize, kinds: &[Kind], once: impl Fn(&Cable, Kind) -> Duration) {
    for &kind in kinds {
        let mut worst = Duration::ZERO;
        for _ in 0..repeats {
            let Some(cable) = Cable::lay(what) else { return };
            if kind.0 == Family::V6 {
                for end in ENDS {
                    cable.add_address(end, &kind.0.with_prefix(&kind.0.addresses(end)[0]));
                }
            }
            worst = worst.max(once(&cable, kind));
        }
        println!("{what}, {kind:?}: {repeats} times, back after {worst:.2?} at most");
        // Once may fall into a moment in which a busy machine runs other programs.
        assert!(repeats == 1 || worst < BACK_WITHIN, "{what}, {kind:?}: back only after {worst:?}");
    }
}

fn address_changes(repeats: usize) {
    repeat("address changed", repeats, &KINDS, |cable, (family, wire)| {
        let endpoint = family.endpoint(&family.addresses(End::Plant)[0]);
        let (plant, controller) = (plant(cable, &endpoint, wire), controller(cable, &endpoint, wire, None));
        wait_until_open(&plant, &controller);
        let sent = controller.statistics().messages_sent;
        let mut events = controller.events();
        let [old, new] = family.addresses(End::Controller);
        cable.remove_address(End::Controller, &family.with_prefix(&old));
        cable.add_address(End::Controller, &family.with_prefix(&new));
        let back = wait_until_open(&plant, &controller);
        assert!(controller.statistics().messages_sent > sent, "the statistics go on");
        let moved = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
        let moved: Vec<_> = moved.filter(|event| matches!(event, Event::Moved { .. })).collect();
        assert!(
            matches!(&moved[..], [Event::Moved { local, .. }] if local.ip().to_string() == new),
            "{moved:?}"
        );
        back
    });
}

fn card_replaced(repeats: usize) {
    repeat("card replaced at both ends", repeats, &KINDS, |cable, (family, wire)| {
        let endpoint = family.endpoint(&family.addresses(End::Plant)[0]);
        let (plant, controller) = (plant(cable, &endpoint, wire), controller(cable, &endpoint, wire, None));
        wait_until_open(&plant, &controller);
        cable.unplug();
        std::thread::sleep(LIVENESS);
        cable.plug_again();
        // The plant's address comes back, and the controller gets another one.
        cable.add_address(End::Plant, &family.with_prefix(&family.addresses(End::Plant)[0]));
        cable.add_address(End::Controller, &family.with_prefix(&family.addresses(End::Controller)[1]));
        wait_until_open(&plant, &controller)
    });
}

fn replugged(repeats: usize) {
    let kinds = [(Family::V6, Wire::Native), (Family::V6, Wire::Classic)];
    repeat("link-local, plugged in again", repeats, &kinds, |cable, (_, wire)| {
        let give = || {
            for (end, address) in [(End::Plant, "fe80::1/64"), (End::Controller, "fe80::2/64")] {
                cable.add_address(end, address);
            }
        };
        give();
        let endpoint = |end| format!("[fe80::1%{}]:9000", cable.name(end));
        let plant = plant(cable, &endpoint(End::Plant), wire);
        let controller = controller(cable, &endpoint(End::Controller), wire, None);
        wait_until_open(&plant, &controller);
        cable.unplug();
        std::thread::sleep(LIVENESS);
        cable.plug_again();
        give();
        wait_until_open(&plant, &controller)
    });
}

fn name_moves(repeats: usize) {
    repeat("name moved", repeats, &KINDS, |cable, (family, wire)| {
        let hosts = Hosts::new();
        let addresses = family.addresses(End::Plant);
        cable.add_address(End::Plant, &family.with_prefix(&addresses[1]));
        hosts.set(Some(&addresses[0]));
        let old = plant(cable, &family.endpoint(&addresses[0]), wire);
        let controller = controller(cable, "plant:9000", wire, Some(&hosts));
        wait_until_open(&old, &controller);
        // Nobody says goodbye.
        cable.set_link(End::Plant, false);
        old.cleanup();
        let new = plant(cable, &family.endpoint(&addresses[1]), wire);
        cable.set_link(End::Plant, true);
        if family == Family::V6 {
            // They went with the link.
            cable.add_address(End::Plant, &family.with_prefix(&addresses[1]));
        }
        hosts.set(Some(&addresses[1]));
        wait_until_open(&new, &controller)
    });
}

fn name_moves_to_the_other_family(repeats: usize) {
    let kinds = [(Family::V6, Wire::Native), (Family::V6, Wire::Classic)];
    repeat("name moved to IPv6", repeats, &kinds, |cable, (_, wire)| {
        let hosts = Hosts::new();
        let [old, new] = [Family::V4, Family::V6].map(|family| family.addresses(End::Plant)[0].clone());
        hosts.set(Some(&old));
        let first = plant(cable, &Family::V4.endpoint(&old), wire);
        let controller = controller(cable, "plant:9000", wire, Some(&hosts));
        wait_until_open(&first, &controller);
        // So long that the client has no reason to look. Then the server says goodbye.
        std::thread::sleep(2 * LIVENESS);
        first.cleanup();
        let second = plant(cable, &Family::V6.endpoint(&new), wire);
        hosts.set(Some(&new));
        wait_until_open(&second, &controller)
    });
}

fn name_of_server_moves(repeats: usize) {
    repeat("name of a server moved", repeats, &KINDS, |cable, (family, wire)| {
        let hosts = Hosts::new();
        let [old, new] = family.addresses(End::Plant);
        hosts.set(Some(&old));
        let settings = Config::server("plant:9000").name("plant");
        let plant = end(cable, End::Plant, settings, wire, Some(&hosts));
        let controller = controller(cable, "plant:9000", wire, Some(&hosts));
        wait_until_open(&plant, &controller);
        let mut events = plant.events();
        cable.remove_address(End::Plant, &family.with_prefix(&old));
        cable.add_address(End::Plant, &family.with_prefix(&new));
        hosts.set(Some(&new));
        let back = wait_until_open(&plant, &controller);
        let moved = std::iter::from_fn(|| events.next(Some(Duration::ZERO)));
        let moved: Vec<_> = moved.filter(|event| matches!(event, Event::Moved { .. })).collect();
        assert!(
            matches!(&moved[..], [Event::Moved { local, server: None }] if local.to_string() == family.endpoint(&new)),
            "{moved:?}"
        );
        back
    });
}

fn started_early(repeats: usize) {
    repeat("started before the network", repeats, &KINDS, |cable, (family, wire)| {
        for end in ENDS {
            cable.remove_address(end, &family.with_prefix(&family.addresses(end)[0]));
        }
        let endpoint = family.endpoint(&family.addresses(End::Plant)[0]);
        let (plant, controller) = (plant(cable, &endpoint, wire), controller(cable, &endpoint, wire, None));
        std::thread::sleep(LIVENESS);
        for interface in [&plant, &controller] {
            assert_eq!(interface.connection_state(), ConnectionState::Connecting);
            assert_eq!(interface.local_address(), None);
        }
        for end in ENDS {
            cable.add_address(end, &family.with_prefix(&family.addresses(end)[0]));
        }
        wait_until_open(&plant, &controller)
    });
}

fn started_before_the_name(repeats: usize) {
    repeat("started before the name", repeats, &KINDS, |cable, (family, wire)| {
        let hosts = Hosts::new();
        let address = &family.addresses(End::Plant)[0];
        let plant = plant(cable, &family.endpoint(address), wire);
        let controller = controller(cable, "plant:9000", wire, Some(&hosts));
        std::thread::sleep(LIVENESS);
        assert_eq!(controller.connection_state(), ConnectionState::Connecting);
        hosts.set(Some(address));
        wait_until_open(&plant, &controller)
    });
}

fn server_started_before_its_name(repeats: usize) {
    repeat("server started before its name", repeats, &KINDS, |cable, (family, wire)| {
        let hosts = Hosts::new();
        let address = &family.addresses(End::Plant)[0];
        let plant = end(cable, End::Plant, Config::server("plant:9000"), wire, Some(&hosts));
        let controller = controller(cable, "plant:9000", wire, Some(&hosts));
        std::thread::sleep(LIVENESS);
        assert_eq!(plant.connection_state(), ConnectionState::Connecting);
        hosts.set(Some(address));
        wait_until_open(&plant, &controller)
    });
}

#[test]
fn a_client_whose_address_changes_is_back_by_itself() {
    address_changes(1);
}

#[test]
fn a_link_survives_that_the_network_cards_are_replaced() {
    card_replaced(1);
}

#[test]
fn a_link_survives_that_a_link_local_card_is_plugged_in_again() {
    replugged(1);
}

#[test]
fn a_client_follows_the_name_of_its_server() {
    name_moves(1);
}

#[test]
fn a_client_follows_the_name_of_its_server_to_the_other_family() {
    name_moves_to_the_other_family(1);
}

#[test]
fn a_server_follows_its_name() {
    name_of_server_moves(1);
}

#[test]
fn a_server_may_start_before_its_name() {
    server_started_before_its_name(1);
}

#[test]
fn a_server_stays_where_it_is_called_until_nobody_calls_it_there() {
    let Some(cable) = Cable::lay("a name with an old address") else { return };
    let (family, wire) = (Family::V4, Wire::Native);
    let hosts = Hosts::new();
    let [old, new] = family.addresses(End::Plant);
    hosts.set(Some(&old));
    let plant = end(&cable, End::Plant, Config::server("plant:9000"), wire, Some(&hosts));
    let controller = controller(&cable, &family.endpoint(&old), wire, None);
    wait_until_open(&plant, &controller);
    // The new address does not exist yet: nothing is gained by leaving.
    hosts.set(Some(&new));
    let here = plant.local_address();
    std::thread::sleep(2 * LIVENESS);
    cable.add_address(End::Plant, &family.with_prefix(&new));
    std::thread::sleep(2 * LIVENESS);
    wait_until_open(&plant, &controller);
    assert_eq!(plant.local_address(), here);
    controller.cleanup();
    until("it follows its name", || plant.local_address().is_some_and(|local| local.ip().to_string() == new));
}

#[test]
fn of_a_name_with_several_addresses_a_server_takes_the_one_of_its_host() {
    let Some(cable) = Cable::lay("a name with several addresses") else { return };
    let hosts = Hosts::new();
    let here = &Family::V4.addresses(End::Plant)[0];
    hosts.set(Some(&format!("10.99.0.1 plant\n{here}")));
    let plant = end(&cable, End::Plant, Config::server("plant:9000"), Wire::Native, Some(&hosts));
    until("it is there", || plant.local_address().is_some_and(|local| local.ip().to_string() == *here));
}

#[test]
fn both_ends_may_start_before_their_network() {
    started_early(1);
}

#[test]
fn a_client_may_start_before_the_name_of_its_server() {
    started_before_the_name(1);
}

#[test]
#[ignore = "four minutes; prints the longest time of each situation"]
fn each_move_twenty_times() {
    address_changes(REPEATS);
    card_replaced(REPEATS);
    replugged(REPEATS);
    name_moves(REPEATS);
    name_moves_to_the_other_family(REPEATS);
    name_of_server_moves(REPEATS);
    server_started_before_its_name(REPEATS);
    started_early(REPEATS);
    started_before_the_name(REPEATS);
}

#[test]
fn commands_come_from_the_address_at_which_the_client_hears() {
    let Some(cable) = Cable::lay("a removed IPv6 address") else { return };
    let family = Family::V6;
    for end in ENDS {
        cable.add_address(end, &family.with_prefix(&family.addresses(end)[0]));
    }
    let endpoint = family.endpoint(&family.addresses(End::Plant)[0]);
    let plant = plant(&cable, &endpoint, Wire::Native);
    let controller = controller(&cable, &endpoint, Wire::Native, None);
    wait_until_open(&plant, &controller);
    // The kernel goes on sending from an IPv6 address that was removed, and nothing comes back to it.
    let [old, new] = family.addresses(End::Controller);
    cable.remove_address(End::Controller, &family.with_prefix(&old));
    cable.add_address(End::Controller, &family.with_prefix(&new));
    until("a command comes from the new address", || {
        let _ = controller.send(&1, &Metadata::command());
        let command = plant.receive(Some(Duration::from_millis(5)));
        command.is_ok_and(|command| command.arrival().address.ip().to_string() == new)
    });
    wait_until_open(&plant, &controller);
}

#[test]
fn a_caller_driven_client_moves_and_keeps_its_descriptor() {
    let Some(cable) = Cable::lay("caller-driven move") else { return };
    let endpoint = Family::V4.endpoint(&Family::V4.addresses(End::Plant)[0]);
    let plant = plant(&cable, &endpoint, Wire::Native);
    cable.at(End::Controller, || {
        let config = config(Config::client(&*endpoint), Wire::Native);
        let (controller, mut driver) = UdpInterface::caller_driven(config).expect("valid");
        driver.connect().expect("in the background");
        let turn_until = |driver: &mut tautline::Driver, state| {
            until("the state changes", || {
                driver.turn(Some(Duration::from_millis(5)));
                driver.connection_state() == state
            });
        };
        turn_until(&mut driver, ConnectionState::Connected);
        let socket = driver.socket().expect("connected");
        let descriptor = std::os::fd::AsFd::as_fd(&socket).as_raw_fd();
        let before = controller.local_address();
        let [old, new] = Family::V4.addresses(End::Controller).map(|it| Family::V4.with_prefix(&it));
        cable.remove_address(End::Controller, &old);
        cable.add_address(End::Controller, &new);
        until("it has moved", || {
            driver.turn(Some(Duration::from_millis(5)));
            controller.local_address() != before
        });
        until("the plant hears it", || {
            let _ = controller.send(&7, &Metadata::command());
            driver.turn(Some(Duration::from_millis(1)));
            plant.receive(Some(Duration::ZERO)).is_ok()
        });
        let socket = driver.socket().expect("connected");
        assert_eq!(std::os::fd::AsFd::as_fd(&socket).as_raw_fd(), descriptor);
    });
}

#[test]
fn an_interface_uses_the_network_card_that_it_was_told() {
    let Some(cable) = Cable::lay("network card") else { return };
    let card = cable.name(End::Plant).to_owned();
    let connect = |card: &str, end| {
        cable.at(end, || {
            let config =
                Config::server("0.0.0.0:0").interface(card).connect_timeout(Duration::from_millis(50));
            let server = create_udp_server(config).expect("valid");
            server.connect().map(|()| server)
        })
    };
    let missing = connect("nothing0", End::Plant).expect_err("there is no such card").to_string();
    assert!(missing.contains("network card") && missing.contains("ip link"), "{missing}");
    let plant = connect(&card, End::Plant).expect("the card is there");
    let port = plant.local_address().expect("connected").port();
    // The loopback is another card, so a local client is not heard.
    let client = cable.at(End::Plant, || {
        let config = Config::client(format!("127.0.0.1:{port}")).connect_timeout(Duration::from_millis(300));
        create_udp_client(config).expect("valid").connect()
    });
    assert!(client.is_err(), "{client:?}");
    let controller = cable.at(End::Controller, || {
        let config = Config::client(format!("{}:{port}", End::Plant.address()))
            .interface(cable.name(End::Controller))
            .bind(([10, 77, 0, 2], 0));
        let controller = create_udp_client(config).expect("valid");
        controller.connect().expect("it is there");
        controller
    });
    wait_until_open(&plant, &controller);
}

#[test]
fn a_route_that_drops_is_not_called_a_missing_address() {
    let Some(cable) = Cable::lay("blackhole") else { return };
    let endpoint = Family::V4.endpoint(&Family::V4.addresses(End::Plant)[0]);
    let plant = plant(&cable, &endpoint, Wire::Native);
    let controller = controller(&cable, &endpoint, Wire::Native, None);
    wait_until_open(&plant, &controller);
    cable.route(End::Controller, &["add", "blackhole", End::Plant.address()]);
    let fault = |fault| controller.statistics().socket_faults.of(fault);
    cable.at(End::Controller, || {
        until("the route is noticed", || {
            let _ = controller.send(&1, &Metadata::command());
            fault(tautline::SocketFault::Blackhole) > 0
        });
    });
    assert_eq!(fault(tautline::SocketFault::AddressGone), 0);
    cable.route(End::Controller, &["del", "blackhole", End::Plant.address()]);
    wait_until_open(&plant, &controller);
}
