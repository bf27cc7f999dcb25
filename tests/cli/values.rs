//! A value that means nothing is refused with exit code 2, and the message names the file, the place, the key, the
//! value and what would be accepted.

use crate::host::{Host, good, message, with};

/// Each row: a line, the column of its value, what is wrong with it; `accepted` is the end of each message.
fn refused(section: &str, accepted: &str, rows: &[(&str, usize, &str)]) {
    let host = Host::new();
    let number = if section == "interface" { 4 } else { 6 };
    for (line, column, problem) in rows {
        let key = line.split(' ').next().unwrap();
        assert_eq!(
            message(&host, &with(section, line)),
            format!("{number}:{column}: [{section}] {key}: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn a_number_has_its_range() {
    refused(
        "interface",
        "a number from 0 to 65535",
        &[
            ("listen_port = \"x\"", 15, "\"x\" is not a number"),
            ("listen_port = -1", 15, "-1 is out of range"),
            ("listen_port = 65536", 15, "65536 is out of range"),
            ("listen_port = 1.5", 15, "1.5 is not a number"),
            ("listen_port = true", 15, "true is not a number"),
        ],
    );
    refused(
        "interface",
        "a number from 0 to 4294967295",
        &[
            ("fwmark = -1", 10, "-1 is out of range"),
            ("fwmark = 0x1_0000_0000", 10, "0x100000000 is out of range"),
            ("fwmark = \"0x1\"", 10, "\"0x1\" is not a number"),
        ],
    );
    refused(
        "peer",
        "a number from 0 to 65535",
        &[
            ("persistent_keepalive = 65536", 24, "65536 is out of range"),
            ("persistent_keepalive = -1", 24, "-1 is out of range"),
            ("persistent_keepalive = \"25\"", 24, "\"25\" is not a number"),
        ],
    );
}

#[test]
fn an_mtu_carries_what_its_family_must_carry() {
    refused(
        "interface",
        "a number from 576 to 65475",
        &[
            ("mtu = 575", 7, "575 is out of range"),
            ("mtu = 65476", 7, "65476 is out of range"),
            ("mtu = \"auto\"", 7, "\"auto\" is not a number"),
        ],
    );
    let problem = "1279 is too small for the IPv6 address";
    refused("interface", "a number from 1280 to 65475", &[("mtu = 1279", 7, problem)]);
}

#[test]
fn a_device_name_is_one_that_the_kernel_takes() {
    refused(
        "interface",
        r#"1 to 15 letters, digits and signs, without "/", ":", "%" and spaces, like "tun0""#,
        &[
            ("name = \"\"", 8, "\"\" is not a name for a device"),
            ("name = \"a/b\"", 8, "\"a/b\" is not a name for a device"),
            ("name = \"a b\"", 8, "\"a b\" is not a name for a device"),
            ("name = \"tun%d\"", 8, "\"tun%d\" is not a name for a device"),
            ("name = \"sixteen-letters-\"", 8, "\"sixteen-letters-\" has 16 bytes"),
            ("name = \"..\"", 8, "\"..\" is a name with another meaning"),
            ("name = \"lo\"", 8, "\"lo\" is a name with another meaning"),
            ("name = 7", 8, "7 is not text in quotes"),
        ],
    );
}

#[test]
fn a_routing_table_is_a_word_or_a_number() {
    refused(
        "interface",
        r#""auto", "off" or a number from 1 to 4294967295"#,
        &[
            ("table = \"main\"", 9, "\"main\" is not a routing table"),
            ("table = 0", 9, "0 is out of range"),
            ("table = 4294967296", 9, "4294967296 is out of range"),
            ("table = []", 9, "[] is not a number"),
        ],
    );
}

#[test]
fn each_offload_is_true_or_false() {
    let host = Host::new();
    let keys = "tun_gso, tun_gro, udp_gso, udp_gro";
    let like = "like { tun_gso = false, udp_gso = false }";
    for (value, expected) in [
        ("false", format!("11: [interface] offload: false is not a table; accepted: {like}")),
        ("[]", format!("11: [interface] offload: [] is not a table; accepted: {like}")),
        (
            "{ udp_gso = \"no\" }",
            "23: [interface.offload] udp_gso: \"no\" is not a boolean; accepted: true or false"
                .to_owned(),
        ),
        (
            "{ tun-gso = false }",
            format!(
                "13: [interface.offload] \"tun-gso\": is not a key; perhaps tun_gso is meant; accepted: {keys}"
            ),
        ),
    ] {
        let text = with("interface", &format!("offload = {value}"));
        assert_eq!(message(&host, &text), format!("4:{expected}"));
    }
}

#[test]
fn an_endpoint_has_a_host_and_a_port() {
    let port = "\"h:0\" has no port from 1 to 65535 after its last colon";
    refused(
        "peer",
        r#"like "host-b.example.net:51820", "192.0.2.1:51820" or "[2001:db8::1]:51820""#,
        &[
            ("endpoint = \"host-b\"", 12, "\"host-b\" has no port"),
            ("endpoint = \"h:0\"", 12, port),
            ("endpoint = \"::1:1\"", 12, "\"::1:1\" has an IPv6 address without brackets"),
            ("endpoint = [\"a:1\", \"b\"]", 20, "\"b\" has no port"),
            ("endpoint = []", 12, "[] is empty"),
            ("endpoint = 51820", 12, "51820 is not a list"),
        ],
    );
    let twice = "\"a:1\" is given twice";
    refused("peer", "each endpoint once", &[("endpoint = [\"a:1\", \"a:1\"]", 20, twice)]);
}

#[test]
fn allowed_ips_are_a_list_of_networks() {
    refused(
        "peer",
        r#"like "10.77.0.0/30" or "fd77::/64""#,
        &[
            ("allowed_ips = []", 15, "[] is empty"),
            ("allowed_ips = \"10.0.0.0/8\"", 15, "\"10.0.0.0/8\" is not a list"),
            ("allowed_ips = [7]", 16, "7 is not text in quotes"),
            (
                "allowed_ips = [\"10.0.0.0\"]",
                16,
                "\"10.0.0.0\" is not a network with a prefix length",
            ),
        ],
    );
}

#[test]
fn addresses_are_those_of_a_host() {
    let host = Host::new();
    let like = r#"like "10.77.0.1/30" or "fd77::1/64""#;
    let of_host = format!("a host's address {like}");
    let no_prefix = "is not an address with a prefix length";
    for (list, column, problem, accepted) in [
        ("[]", 13, "[] is empty", like),
        ("\"10.77.0.1/30\"", 13, "\"10.77.0.1/30\" is not a list", like),
        ("[\"10.77.0.1/33\"]", 14, &format!("\"10.77.0.1/33\" {no_prefix}"), like),
        ("[\"10.77.0.1\"]", 14, &format!("\"10.77.0.1\" {no_prefix}"), like),
        ("[\"10.77.0.256/24\"]", 14, &format!("\"10.77.0.256/24\" {no_prefix}"), like),
        ("[\"fd77::1/129\"]", 14, &format!("\"fd77::1/129\" {no_prefix}"), like),
        ("[\"10.77.0.1/30\", 7]", 30, "7 is not text in quotes", like),
        ("[\"224.0.0.1/24\"]", 14, "\"224.0.0.1/24\" is a multicast address", &of_host),
        (
            "[\"10.7.0.1/24\", \"10.7.0.1/16\"]",
            29,
            "\"10.7.0.1/16\" is given twice",
            "each address once",
        ),
    ] {
        let text = good().replace(r#"["10.77.0.1/30", "fd77::1/64"]"#, list);
        assert_eq!(
            message(&host, &text),
            format!("2:{column}: [interface] addresses: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn allowed_ips_are_networks_apart_of_a_family_that_we_have() {
    let host = Host::new();
    let apart = "networks that have no address in common";
    for (list, column, problem, accepted) in [
        (
            r#"["10.0.0.5/24"]"#,
            16,
            "\"10.0.0.5/24\" is not the first address of its network",
            r#""10.0.0.0/24", or "10.0.0.5/32""#,
        ),
        (r#"["10.0.0.0/8", "10.0.0.0/8"]"#, 30, r#""10.0.0.0/8" overlaps "10.0.0.0/8""#, apart),
        (r#"["10.0.0.0/8", "10.1.0.0/16"]"#, 30, r#""10.1.0.0/16" overlaps "10.0.0.0/8""#, apart),
        (
            r#"["fd77::/64"]"#,
            16,
            "\"fd77::/64\" is IPv6, but [interface] addresses has no IPv6 address",
            "networks of the families that addresses has",
        ),
    ] {
        let text = with("peer", &format!("allowed_ips = {list}")).replace(r#", "fd77::1/64""#, "");
        assert_eq!(
            message(&host, &text),
            format!("6:{column}: [peer] allowed_ips: {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn the_default_route_needs_a_table_that_outer_packets_do_not_use() {
    let host = Host::new();
    for (line, problem, accepted) in [
        (
            "table = 254",
            "would route the tunnel's own packets into the tunnel",
            r#"[interface] table = "auto", which takes care of that, "off", or the number of another table"#,
        ),
        (
            "fwmark = 253",
            "goes into the routing table whose number is the fwmark, and that one is the system's",
            "another [interface] fwmark than 253, 254 and 255",
        ),
    ] {
        let text = with("interface", line) + "allowed_ips = [\"0.0.0.0/0\"]\n";
        assert_eq!(
            message(&host, &text),
            format!("7:16: [peer] allowed_ips: \"0.0.0.0/0\" {problem}; accepted: {accepted}")
        );
    }
}

#[test]
fn the_kill_switch_is_on_or_off() {
    refused(
        "interface",
        "true or false",
        &[
            ("kill_switch = \"on\"", 15, "\"on\" is not a boolean"),
            ("kill_switch = 1", 15, "1 is not a boolean"),
        ],
    );
}

#[test]
fn rates_have_units_and_limits() {
    let accepted =
        r#"from 8 kbit/s to 100 Gbit/s, like "20 Mbit/s", "512k" or 20000000, in bits per second"#;
    refused(
        "interface",
        accepted,
        &[
            (r#"rate_limit_out = "20 MB/s""#, 18, r#""20 MB/s" is not a rate"#),
            (r#"rate_limit_in = "fast""#, 17, r#""fast" is not a rate"#),
            (r#"rate_limit_out = "1 kbit/s""#, 18, r#""1 kbit/s" is out of range"#),
            ("rate_limit_out = 0", 18, "0 is out of range"),
            ("rate_limit_in = -1", 17, "-1 is out of range"),
            ("rate_limit_in = 1.5", 17, "1.5 is not a number"),
        ],
    );
    let host = Host::new();
    let lines = "rate_limit_out = \"1.5 Gbit/s\"\nrate_limit_in = 20_000_000";
    let said = host.check(&with("interface", lines)).stdout;
    assert!(said.contains("limit out      1500 Mbit/s\n  limit in       20 Mbit/s\n"), "{said}");
}

#[test]
fn marks_are_on_or_off_and_an_mss_is_a_number_too() {
    refused("interface", "true or false", &[("copy_dscp = \"ef\"", 13, "\"ef\" is not a boolean")]);
    refused(
        "interface",
        "true, false or a number from 536 to 65435",
        &[
            ("clamp_mss = 535", 13, "535 is out of range"),
            ("clamp_mss = 65436", 13, "65436 is out of range"),
            ("clamp_mss = \"mtu\"", 13, "\"mtu\" is not a number"),
        ],
    );
    let host = Host::new();
    for (line, shown) in [
        ("copy_dscp = true", "dscp           copied to outer packets"),
        ("clamp_mss = false", "mss            as it is"),
        ("clamp_mss = 1200", "mss            clamped to 1200"),
    ] {
        let said = host.check(&with("interface", line)).stdout;
        assert!(said.contains(shown), "{said}");
    }
}

#[test]
fn name_servers_are_addresses_and_search_domains_need_one() {
    let servers = r#"addresses of name servers like "10.77.0.2" or "fd77::2""#;
    refused(
        "interface",
        servers,
        &[
            (r#"dns = "ns.example.net""#, 7, r#""ns.example.net" is not an address"#),
            (r#"dns = "10.77.0.2:53""#, 7, r#""10.77.0.2:53" is not an address"#),
            (r#"dns = ["10.77.0.2", "::"]"#, 21, r#""::" is not one host's address"#),
            ("dns = []", 7, "[] is empty"),
            ("dns = 1", 7, "1 is not a list"),
        ],
    );
    refused(
        "interface",
        "each once",
        &[(r#"dns = ["fd77::2", "fd77:0::2"]"#, 19, r#""fd77:0::2" is given twice"#)],
    );
    refused(
        "interface",
        "search together with dns",
        &[(r#"search = "example.net""#, 10, r#""example.net" has no name server to be asked"#)],
    );
    let host = Host::new();
    for domain in ["example..net", "-a", "~.", "a b", ""] {
        let line = format!("search = [\"example.net\", \"{domain}\"]\ndns = \"10.77.0.2\"");
        assert_eq!(
            message(&host, &with("interface", &line)),
            format!(
                "4:26: [interface] search: \"{domain}\" is not a domain; accepted: domains like \"example.net\""
            )
        );
    }
}

#[test]
fn metrics_are_served_where_an_address_and_a_port_say() {
    let host = Host::new();
    let with_metrics = |lines: &str| good() + "[metrics]\n" + lines;
    let accepted = r#"an address and a port, like "127.0.0.1:9586" or "[::1]:9586""#;
    for (line, problem) in [
        ("listen = 9586", "9586 is not text in quotes"),
        ("listen = \"localhost:9586\"", "\"localhost:9586\" is not an address to listen at"),
        ("listen = \"127.0.0.1:0\"", "\"127.0.0.1:0\" is not an address to listen at"),
        ("listen = \"224.0.0.1:9586\"", "\"224.0.0.1:9586\" is not an address to listen at"),
    ] {
        assert_eq!(
            message(&host, &with_metrics(line)),
            format!("7:10: [metrics] listen: {problem}; accepted: {accepted}")
        );
    }
    assert_eq!(
        message(&host, &with_metrics("")),
        format!("6:1: [metrics] listen: is missing; accepted: {accepted}")
    );
    let answer = host.check(&with_metrics("listen = \"[::1]:9586\""));
    assert!(answer.stdout.contains("metrics\n  listen         [::1]:9586\n"), "{answer:?}");
}

#[test]
fn a_profile_and_its_cipher_are_named_alike_on_both_ends() {
    refused(
        "peer",
        "\"wireguard\" or \"tunneld\"",
        &[
            ("profile = \"wg\"", 11, "\"wg\" is no profile"),
            ("profile = 1", 11, "1 is not text in quotes"),
        ],
    );
    refused(
        "peer",
        "\"chacha20-poly1305\" or \"aes-256-gcm\"",
        &[
            ("cipher = \"AES-256-GCM\"", 10, "\"AES-256-GCM\" is no cipher"),
            ("cipher = true", 10, "true is not text in quotes"),
        ],
    );
    refused(
        "peer",
        "\"chacha20-poly1305\", or profile = \"tunneld\" in the same section, on both ends",
        &[("cipher = \"aes-256-gcm\"", 10, "\"aes-256-gcm\" is not WireGuard's cipher")],
    );
}

#[test]
fn a_level_of_the_log_is_one_of_five() {
    let host = Host::new();
    let with_log = |line: &str| good() + "[log]\n" + line;
    let accepted = r#""error", "warn", "info", "debug" or "trace""#;
    for (line, problem) in [
        ("level = \"loud\"", "\"loud\" is not a level"),
        ("level = \"INFO\"", "\"INFO\" is not a level"),
        ("level = 3", "3 is not text in quotes"),
    ] {
        assert_eq!(
            message(&host, &with_log(line)),
            format!("7:9: [log] level: {problem}; accepted: {accepted}")
        );
    }
    let unknown = message(&host, &with_log("levels = \"info\""));
    assert!(
        unknown.starts_with("7:1: [log] \"levels\": is not a key; perhaps level is meant"),
        "{unknown}"
    );
    let answer = host.check(&with_log("level = \"debug\""));
    assert!(answer.stdout.contains("log\n  level          debug\n"), "{answer:?}");
    assert!(!host.check(&with_log("")).stdout.contains("log\n"));
}
