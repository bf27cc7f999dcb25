//! The firewall, as far as `nft` can tell. A ruleset is a program: only the plainest of its words are understood here,
//! and what follows from them is a warning at most.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Where the program is; the first that exists.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nft", "/sbin/nft"];

/// All rules of nftables in this network namespace, in the JSON of libnftables-json(5).
pub(super) fn ruleset() -> Result<Value, String> {
    let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
    let program = program.ok_or("nft is not installed")?;
    let mut command = Command::new(program);
    command.args(["-j", "list", "ruleset"]).env_clear().stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("nft says: {}", said.lines().next().unwrap_or("nothing").trim()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("nft: {error}"))
}

/// A chain that seems to discard what arrives at UDP `port`: the words by which `nft` knows it.
pub(super) fn obstacle(ruleset: &Value, port: u16) -> Option<String> {
    let objects = || ruleset["nftables"].as_array().into_iter().flatten();
    let chains = objects().map(|object| &object["chain"]).filter(|chain| chain["hook"] == "input");
    let rules = || objects().map(|object| &object["rule"]);
    chains
        .filter(|chain| matches!(chain["family"].as_str(), Some("inet" | "ip" | "ip6")))
        .find(|chain| {
            let same_table = |rule: &&Value| {
                rule["family"] == chain["family"] && rule["table"] == chain["table"]
            };
            let in_chain = |rule: &&Value| same_table(rule) && rule["chain"] == chain["name"];
            let rules: Vec<_> = rules().filter(same_table).collect();
            let discards = chain["policy"] == "drop"
                || rules
                    .iter()
                    .filter(|rule| in_chain(rule))
                    .any(|rule| ends(rule, &["drop", "reject"], port));
            // A chain may send packets to others of its table.
            discards && !rules.iter().any(|rule| ends(rule, &["accept"], port))
        })
        .map(|chain| {
            let word = |key: &str| chain[key].as_str().unwrap_or_default();
            format!("{} {} {}", word("family"), word("table"), word("name"))
        })
}

/// Whether a rule ends in one of these verdicts for whatever arrives at UDP `port`, or for everything.
fn ends(rule: &Value, verdicts: &[&str], port: u16) -> bool {
    let steps = || rule["expr"].as_array().into_iter().flatten();
    let verdict = steps().any(|step| verdicts.iter().any(|name| step.get(name).is_some()));
    verdict && steps().filter_map(|step| step.get("match")).all(|condition| holds(condition, port))
}

/// Whether a condition is that of UDP `port`; others are taken not to hold.
fn holds(condition: &Value, port: u16) -> bool {
    let (left, right) = (&condition["left"], &condition["right"]);
    let field = &left["payload"];
    let is_port =
        field["field"] == "dport" && (field["protocol"] == "udp" || field["protocol"] == "th");
    let key = left.pointer("/meta/key");
    let is_udp = key.is_some_and(|key| key == "l4proto") && names(right, &|value| value == "udp");
    let has_port = |value: &Value| {
        let number = |value: &Value| value.as_u64();
        let range = value["range"].as_array().map(Vec::as_slice);
        match range {
            Some([first, last]) => {
                number(first) <= Some(port.into()) && number(last) >= Some(port.into())
            }
            _ => number(value) == Some(port.into()),
        }
    };
    condition["op"] != "!=" && (is_udp || is_port && names(right, &has_port))
}

/// Whether a value, or one of a set of them, is what `wanted` says.
fn names(right: &Value, wanted: &dyn Fn(&Value) -> bool) -> bool {
    match right["set"].as_array() {
        Some(values) => values.iter().any(wanted),
        None => wanted(right),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ruleset(policy: &str, rules: &[Value]) -> Value {
        let chain = |name: &str, hook: &str, policy: &str| {
            json!({ "chain": {
                "family": "inet", "table": "t", "name": name, "hook": hook, "policy": policy
            } })
        };
        let chains = [chain("out", "output", "drop"), chain("in", "input", policy)];
        let rules = rules.iter().map(|expr| {
            json!({ "rule": { "family": "inet", "table": "t", "chain": "in", "expr": expr } })
        });
        let all: Vec<Value> = chains.into_iter().chain(rules).collect();
        json!({ "nftables": all })
    }

    fn port(right: Value) -> Value {
        let left = json!({ "payload": { "protocol": "udp", "field": "dport" } });
        json!({ "match": { "op": "==", "left": left, "right": right } })
    }

    #[test]
    fn a_chain_that_discards_all_but_what_it_names_is_an_obstacle_unless_it_names_the_port() {
        let state = json!({ "ct": { "key": "state" } });
        let established = json!({ "match": { "op": "in", "left": state, "right": "established" } });
        let (accept, drop) = (json!({ "accept": null }), json!({ "drop": null }));
        let named = Some("inet t in".to_owned());
        for (policy, rules, expected) in [
            ("accept", vec![], None),
            ("drop", vec![], named.clone()),
            ("accept", vec![json!([drop])], named.clone()),
            ("accept", vec![json!([{ "reject": null }])], named.clone()),
            ("accept", vec![json!([established, drop])], None),
            ("accept", vec![json!([port(json!(7)), drop])], named.clone()),
            ("accept", vec![json!([port(json!(8)), drop])], None),
            ("drop", vec![json!([established, accept])], named.clone()),
            ("drop", vec![json!([port(json!(8)), accept])], named.clone()),
            ("drop", vec![json!([port(json!(7)), accept])], None),
            ("drop", vec![json!([port(json!(7)), { "counter": null }, accept])], None),
            ("drop", vec![json!([port(json!({ "set": [5, 7] })), accept])], None),
            ("drop", vec![json!([port(json!({ "set": [5, { "range": [6, 9] }] })), accept])], None),
            ("drop", vec![json!([port(json!({ "range": [8, 9] })), accept])], named.clone()),
            ("drop", vec![json!([accept])], None),
        ] {
            assert_eq!(obstacle(&ruleset(policy, &rules), 7), expected, "{policy} {rules:?}");
        }
        assert_eq!(obstacle(&json!({}), 7), None);
    }
}
