//! Who may ask a daemon, and who may change what it does.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::{Command, Output};

use super::config::ends;
use super::lab::{Host, INNER_B, Lab, STARTED, direct_v4, expect_success, stop};
use super::needs::needs;
use super::process::{BOUND, Process, wait_until};
use super::socket::{connect, socket};
use super::status::daemon_for_wg;

/// A user that nothing on the machine belongs to, and the group of the same number.
const NOBODY: u32 = 64_999;
/// The group that may ask.
const ADMIN: u32 = 64_998;

/// Groups of a host that has the group, and of one that has not.
const WITH: &str = "root:x:0:\ntunneld-admin:x:64998:\n";
const WITHOUT: &str = "root:x:0:\n";

const REFUSED: &str = "only root and the user that tunneld runs as may change anything";

/// A lab whose host a has these groups.
fn lab(groups: &str) -> Lab {
    let lab = Lab::direct();
    lab.set_etc(Host::A, "group", groups);
    lab
}

/// The binary, where any user can reach it.
fn program(lab: &Lab) -> String {
    let directory = lab.directory_of(Host::A);
    let program = directory.join("tunneld");
    if !program.exists() {
        // By another process: one that is started meanwhile would hold the copy open for writing, and nobody could run it.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_tunneld")).arg(&program).output();
        expect_success(&copied.unwrap());
        for path in [directory.parent().unwrap(), &directory] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    program.to_str().unwrap().to_owned()
}

/// The words of a program as that user, who is in these groups too.
fn as_nobody(groups: &str) -> String {
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { groups.to_owned() };
    format!("setpriv --reuid={NOBODY} --regid={NOBODY} {groups}")
}

/// `tunneld` with these words, run by a command of these.
fn tunneld(lab: &Lab, by: &str, words: &str) -> Command {
    let line = format!("{by} {} {words}", program(lab));
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env("RUNTIME_DIRECTORY", lab.directory_of(Host::A));
    command.env_remove("TUNNELD_LOG");
    command
}

/// Its exit code, and what it says.
fn said(output: Output) -> (Option<i32>, String) {
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn member() -> String {
    as_nobody(&format!("--groups={ADMIN}"))
}

#[test]
fn only_root_and_the_sockets_group_may_ask_and_the_socket_goes_with_the_daemon() {
    needs!("setpriv");
    for (groups, group) in [(WITH, ADMIN), (WITHOUT, 0)] {
        let lab = lab(groups);
        let a = lab.start(Host::A, &ends(direct_v4)[0]);
        a.wait_for(STARTED);
        let path = socket(&lab);
        let about = fs::metadata(&path).unwrap();
        let access = (about.permissions().mode() & 0o777, about.uid(), about.gid());
        assert_eq!(access, (0o660, 0, group));
        expect_success(&tunneld(&lab, "", "status").output().unwrap());
        let (code, told) = said(tunneld(&lab, &as_nobody(""), "status").output().unwrap());
        assert_eq!(code, Some(1), "{told}");
        let reason = "Permission denied";
        assert!(told.contains(reason) && told.contains("the group that the socket"), "{told}");
        let (code, _) = said(tunneld(&lab, &member(), "status").output().unwrap());
        assert_eq!(code == Some(0), group == ADMIN);
        stop(a);
        assert!(!path.exists());
    }
}

#[test]
fn a_member_of_the_group_may_look_and_is_refused_what_changes_anything() {
    needs!("setpriv");
    let lab = lab(WITH);
    let a = lab.start(Host::A, &ends(direct_v4)[0]);
    a.wait_for(STARTED);
    let (code, told) = said(tunneld(&lab, &member(), "status --json").output().unwrap());
    assert!(code == Some(0) && told.contains("\"link\""), "{told}");
    let events = Process::start("events", tunneld(&lab, &member(), "events"));
    events.wait_for("now: connecting");
    // Which is for other eyes.
    let file = lab.directory_of(Host::A).join("tun0.toml");
    let by_file = format!("status -c {}", file.display());
    let (code, told) = said(tunneld(&lab, &member(), &by_file).output().unwrap());
    assert!(code == Some(0) && told.contains("10.77.0.1/30"), "{told}");
    let file = format!("reload -c {}", file.display());
    for words in ["reload", "reload -i tun0", &file] {
        let (code, told) = said(tunneld(&lab, &member(), words).output().unwrap());
        assert!(code == Some(1) && told.contains(REFUSED), "{words}: {told}");
    }
    assert_eq!(a.count("reloaded"), 0, "{}", a.said());
    expect_success(&tunneld(&lab, "", "reload").output().unwrap());
    a.wait_for("reloaded");
}

#[test]
fn a_daemon_that_is_not_root_answers_its_own_user_and_keeps_its_group_where_it_cannot_give() {
    needs!("setpriv", "ping");
    let lab = lab(WITH);
    let [end, other] = ends(direct_v4);
    let home = lab.directory_of(Host::A);
    let file = lab.write_file(Host::A, "tun0", &end.to_toml());
    let program = program(&lab);
    for path in [&home, &file] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let capable = "--inh-caps=+net_admin --ambient-caps=+net_admin";
    let by = format!("{} {capable} {program} run -c {}", as_nobody(""), file.display());
    let mut command = lab.command(Host::A, &by);
    for place in ["RUNTIME_DIRECTORY", "STATE_DIRECTORY"] {
        command.env(place, &home);
    }
    command.env("NO_COLOR", "1").env_remove("TUNNELD_LOG").env_remove("NOTIFY_SOCKET");
    let a = Process::start("daemon A", command);
    a.wait_for("the socket cannot be given to its group");
    let _b = lab.start(Host::B, &other);
    assert!(lab.pings(Host::A, INNER_B[0]));
    let about = fs::metadata(socket(&lab)).unwrap();
    assert_eq!((about.uid(), about.gid()), (NOBODY, NOBODY));
    for by in [as_nobody(""), String::new()] {
        for words in ["status", "reload"] {
            expect_success(&tunneld(&lab, &by, words).output().unwrap());
        }
    }
    // In its group, but another user.
    let another = format!("setpriv --reuid={ADMIN} --regid={NOBODY} --clear-groups");
    expect_success(&tunneld(&lab, &another, "status").output().unwrap());
    let (code, told) = said(tunneld(&lab, &another, "reload").output().unwrap());
    assert!(code == Some(1) && told.contains(REFUSED), "{told}");
}

#[test]
fn idle_listeners_of_the_group_shut_out_their_like_and_not_root() {
    needs!("setpriv");
    let lab = lab(WITH);
    let a = lab.start(Host::A, &ends(direct_v4)[0]);
    a.wait_for(STARTED);
    let listen = || Process::start("events", tunneld(&lab, &member(), "events"));
    let mut listeners: Vec<_> = (0..16).map(|_| listen()).collect();
    for listener in &listeners {
        listener.wait_for("now: ");
    }
    let (code, told) = said(tunneld(&lab, &member(), "status").output().unwrap());
    assert!(code == Some(1) && told.contains("serves as many others as it may"), "{told}");
    // Root has as many places of its own.
    let held: Vec<_> = (0..15).map(|_| connect(&socket(&lab))).collect();
    expect_success(&tunneld(&lab, "", "status").output().unwrap());
    expect_success(&tunneld(&lab, "", "reload").output().unwrap());
    drop(held);
    listeners.pop();
    let served = || said(tunneld(&lab, &member(), "status").output().unwrap()).0 == Some(0);
    assert!(wait_until(BOUND, served));
}

#[test]
fn wg_shows_and_changes_nothing_for_whom_the_file_lets_in_but_is_not_root() {
    needs!("setpriv", "wg");
    let lab = lab(WITH);
    let [end, _] = ends(direct_v4);
    let (daemon, name) = daemon_for_wg(&lab, &end);
    daemon.wait_for(STARTED);
    let path = format!("/run/wireguard/{name}.sock");
    let about = fs::metadata(&path).unwrap();
    assert_eq!((about.permissions().mode() & 0o777, about.uid()), (0o600, 0));
    let wg = |by: &str, words: &str| {
        let line = format!("{by} wg {words}");
        let mut words = line.split_whitespace();
        said(Command::new(words.next().unwrap()).args(words).output().unwrap())
    };
    let show = format!("show {name} endpoints");
    let set = format!("set {name} peer {} endpoint 192.0.2.9:7", end.public_key);
    let (code, told) = wg(&member(), &show);
    assert_ne!(code, Some(0), "{told}");
    // As an administrator may have it.
    chown(&path, None, Some(ADMIN)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    let (code, told) = wg(&member(), &show);
    assert!(code == Some(0) && told.contains("192.0.2.2:51820"), "{told}");
    let (code, told) = wg(&member(), &set);
    assert!(code == Some(1) && told.contains("Operation not permitted"), "{told}");
    assert!(wg("", &show).1.contains("192.0.2.2:51820"), "nothing has changed");
    assert_eq!(wg("", &set).0, Some(0));
    assert!(wg("", &show).1.contains("192.0.2.9:7"));
}
