//! What `tunneld pair` writes links two hosts, as it is.

use std::process::Command;

use super::lab::{Host, INNER_A, INNER_B, Lab, expect_success, stop, underlay};
use super::needs::needs;
use super::process::Process;

#[test]
fn the_files_of_a_pair_link_two_hosts_as_they_are() {
    needs!("ping");
    for (a, b) in [(underlay(Host::A)[0], "-"), (underlay(Host::A)[1], underlay(Host::B)[1])] {
        let lab = Lab::direct();
        let directory = lab.directory_of(Host::A).join("pair");
        let binary = env!("CARGO_BIN_EXE_tunneld");
        let made = Command::new(binary)
            .args(["pair", "--a", a, "--b", b, "--net", "10.77.0.0/30", "--net", "fd77::/64", "-o"])
            .arg(&directory)
            .output();
        expect_success(&made.unwrap());
        let daemons = [(Host::A, "host-a.toml"), (Host::B, "host-b.toml")].map(|(host, file)| {
            let mut command = lab.command(host, "");
            command.arg(binary).args(["run", "-c"]).arg(directory.join(file));
            for place in ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"] {
                command.env(place, lab.directory_of(host));
            }
            command.env_remove("NOTIFY_SOCKET").env_remove("TUNNELD_LOG");
            Process::start(file, command)
        });
        for (own, other) in [(Host::B, INNER_A), (Host::A, INNER_B)] {
            assert!(other.iter().all(|address| lab.pings(own, address)), "{own:?}");
        }
        daemons.into_iter().for_each(|daemon| drop(stop(daemon)));
    }
}
