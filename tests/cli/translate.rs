//! `import` and `export`: the file on standard output, what has no counterpart on standard error.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::host::{Host, after, answer, check, key, tunneld, with};

/// A file of wg-quick, with these lines in `[Interface]`.
fn wg0(interface: &str) -> String {
    format!(
        "[Interface]\nAddress = 10.77.0.1/30\nPrivateKey = {}\n{interface}\n[Peer]\nPublicKey = {}\n\
         AllowedIPs = 10.77.0.0/30\nEndpoint = b.example.net:51820\n",
        key(1).to_base64().as_str(),
        key(2).public_key()
    )
}

#[test]
fn a_file_of_wg_quick_becomes_a_configuration_and_one_again() {
    let host = Host::new();
    let from = host.write("wg0.conf", &wg0("PostUp = echo hush"), 0o600);
    let (toml, conf) = (host.path("tunneld.toml"), host.path("again.conf"));
    let imported = answer(tunneld().arg("import").arg(&from).arg("-o").arg(&toml));
    assert_eq!((imported.code, imported.stdout.as_str()), (Some(0), ""), "{imported:?}");
    let (head, list) = imported.stderr.split_once('\n').unwrap();
    assert_eq!(head, "without a counterpart in tunneld:");
    assert!(list.starts_with("  line 4: PostUp = \"echo hush\": "), "{list}");
    assert_eq!(toml.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(check(&toml).code, Some(0));

    let mut export = tunneld();
    export.args(["export", "--wg", "-c"]).arg(&toml).arg("-o").arg(&conf);
    let exported = answer(&mut export);
    assert_eq!((exported.code, exported.stdout.as_str()), (Some(0), ""), "{exported:?}");
    assert_eq!(
        exported.stderr,
        "without a counterpart in wg-quick:\n  name: wg-quick takes it from its file; save this as wg0.conf\n"
    );
    assert_eq!(
        fs::read_to_string(conf).unwrap().replace("\n\n", "\n"),
        wg0("").replace("\n\n", "\n")
    );
    let again = answer(&mut export);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("again.conf: exists already; accepted: "), "{again:?}");
}

#[test]
fn without_a_name_for_it_the_file_goes_to_standard_output() {
    let host = Host::new();
    let from = host.write("wg0.conf", &wg0(""), 0o600);
    // The key is meant to be there, so `answer` may not look.
    let output = tunneld().arg("import").arg(&from).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let toml = String::from_utf8(output.stdout).unwrap();
    assert!(toml.starts_with("[interface]\nname = \"wg0\"\n"));
    assert!(toml.contains(key(1).to_base64().as_str()));
    let toml = host.write("x.toml", &toml, 0o600);
    let output = tunneld().args(["export", "--wg", "-c"]).arg(&toml).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"[Interface]\n"));
}

#[test]
fn what_cannot_be_translated_says_why() {
    let host = Host::new();
    let from = host.write("wg0.conf", &wg0("MTU = 70000"), 0o600);
    let message = after(answer(tunneld().arg("import").arg(&from)), &from);
    assert!(
        message.starts_with("4:1: [Interface] MTU: 70000 is out of range; accepted: "),
        "{message}"
    );
    let none = host.path("none.conf");
    let message = after(answer(tunneld().arg("import").arg(&none)), &none);
    assert!(message.starts_with(" cannot be read: "), "{message}");
    let none = host.path("none.toml");
    let message = after(answer(tunneld().args(["export", "--wg", "-c"]).arg(&none)), &none);
    assert!(message.starts_with(" cannot be read: "), "{message}");
    let toml = host.write("tunneld.toml", &with("peer", "profile = 'tunneld'"), 0o600);
    let exported = answer(tunneld().args(["export", "--wg", "-c"]).arg(&toml));
    assert_eq!((exported.code, exported.stdout.as_str()), (Some(2), ""), "{exported:?}");
    let expected =
        "[peer] profile: \"tunneld\" is nothing that WireGuard can link with; accepted: ";
    assert!(exported.stderr.contains(expected), "{exported:?}");
    let how = answer(tunneld().arg("export"));
    assert_eq!(how.code, Some(2));
    assert!(how.stderr.contains("--wg"), "{how:?}");
}
