use super::*;
use crate::testing::block_on;
use crate::tun::tests::in_namespace;
use crate::wire::Offload;

fn wanted(name: &str, kind: Layer) -> Wanted {
    Wanted {
        name: name.to_owned(),
        kind,
        owner: Some(0),
        group: None,
        mac: None,
        mtu: None,
        multi_queue: false,
    }
}

/// The device of this name, which must be there.
async fn device(name: &str) -> Device {
    find(name).await.unwrap().unwrap()
}

#[test]
fn a_device_is_made_as_it_was_wanted_and_stays_until_it_is_removed() {
    in_namespace("a_device_is_made_as_it_was_wanted_and_stays_until_it_is_removed", || {
        block_on(async {
            add(&Wanted {
                owner: Some(65_534),
                group: Some(7),
                mac: Some(Mac([2, 0, 0, 0, 0, 9])),
                mtu: Some(1300),
                multi_queue: true,
                ..wanted("tap9", Layer::Ethernet)
            })
            .await
            .unwrap();
            let expected = Device {
                name: "tap9".to_owned(),
                kind: Layer::Ethernet,
                owner: Some(65_534),
                group: Some(7),
                persistent: true,
                multi_queue: true,
                vnet_hdr: true,
                mac: Some(Mac([2, 0, 0, 0, 0, 9])),
                mtu: 1300,
                up: false,
                held: false,
                queues: Some(0),
            };
            assert_eq!(list().await.unwrap(), [expected]);
            remove("tap9").await.unwrap();
            assert_eq!(list().await.unwrap(), []);
            let error = remove("tap9").await.unwrap_err();
            assert!(matches!(&error, TunError::Missing { name } if name == "tap9"), "{error}");
        });
    });
}

#[test]
fn a_device_that_cannot_be_as_it_was_wanted_is_not_made() {
    in_namespace("a_device_that_cannot_be_as_it_was_wanted_is_not_made", || {
        block_on(async {
            let mtu = Some(100_000);
            let error = add(&Wanted { mtu, ..wanted("tun9", Layer::Ip) }).await.unwrap_err();
            assert!(error.to_string().starts_with("tun9: setting MAC address and MTU"), "{error}");
            assert_eq!(list().await.unwrap(), []);
            add(&wanted("tun9", Layer::Ip)).await.unwrap();
            for taken in ["tun9", "lo"] {
                let error = add(&wanted(taken, Layer::Ip)).await.unwrap_err();
                assert!(matches!(error, TunError::Exists { .. }), "{error}");
            }
        });
    });
}

#[test]
fn neither_a_device_in_use_nor_one_of_another_kind_is_removed() {
    in_namespace("neither_a_device_in_use_nor_one_of_another_kind_is_removed", || {
        let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
        block_on(async {
            let found = device("tun9").await;
            assert!(found.held && !found.persistent, "{found:?}");
            let error = remove("tun9").await.unwrap_err();
            assert!(matches!(error, TunError::Busy { .. }), "{error}");
            let error = remove("lo").await.unwrap_err();
            assert!(matches!(error, TunError::NotTun { .. }), "{error}");
            assert_eq!(device("tun9").await, found);
        });
        drop(tun);
    });
}

#[test]
fn a_device_with_several_queues_is_used_with_one_and_shared_with_nobody() {
    in_namespace("a_device_with_several_queues_is_used_with_one", || {
        let several = Wanted { multi_queue: true, ..wanted("tun9", Layer::Ip) };
        block_on(async {
            add(&several).await.unwrap();
            let tun = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
            assert_eq!(tun.origin(), Origin::Found);
            tun.refuse_shared().await.unwrap();
            assert!(device("tun9").await.held);
            let second = Tun::open("tun9", Layer::Ip, Offload::ALL).unwrap();
            let error = second.refuse_shared().await.unwrap_err();
            assert!(matches!(error, TunError::Busy { .. }), "{error}");
        });
    });
}
