use super::*;
use crate::cli::ParamArgs;

fn create() -> Create {
    Create::new(6, &[], &ParamArgs::default(), 27_000).unwrap()
}

fn edited(genesis: &Genesis, from: &str, to: &str) -> Result<Genesis, Exit> {
    let text = genesis.to_text();
    assert!(text.contains(from), "the edit must hit: {from}");
    file::parse(&text.replacen(from, to, 1), Path::new("genesis.toml"))
}

#[test]
fn a_genesis_survives_its_text_form() {
    let (genesis, keyrings) = create().make().unwrap();
    let back = file::parse(&genesis.to_text(), Path::new("genesis.toml")).unwrap();
    assert_eq!(back, genesis);
    for (index, keyring) in keyrings.iter().enumerate() {
        assert_eq!(back.seat_of(&keyring.session.public_key()), Some(ValidatorIndex(index as u16)));
    }
    assert_eq!(back.seat_of(&[0; 32]), None);
    assert_eq!(back.addresses[2].sync.port(), 27_008);
}

#[test]
fn the_chain_id_follows_the_content_and_not_the_text_or_the_addresses() {
    let (genesis, _) = create().make().unwrap();
    let id_line = format!("id = \"{}\"\n", samara_types::digest::hex(&genesis.chain.0));
    assert_eq!(edited(&genesis, "[params]", "# a comment\n[params]").unwrap().chain, genesis.chain);
    assert_eq!(edited(&genesis, "127.0.0.1:27001", "10.0.0.1:9").unwrap().chain, genesis.chain);
    let without_id = edited(&genesis, &id_line, "").unwrap();
    assert_eq!(without_id.chain, genesis.chain);
    let error = edited(&genesis, "view_timeout_ms = 500", "view_timeout_ms = 501").unwrap_err();
    assert!(error.to_string().contains("chain.id"), "{error}");
    for (from, to) in [("view_timeout_ms = 500", "view_timeout_ms = 501"), ("name = \"samara\"", "name = \"other\"")] {
        let text = genesis.to_text().replace(&id_line, "").replacen(from, to, 1);
        assert_ne!(file::parse(&text, Path::new("g")).unwrap().chain, genesis.chain, "{to}");
    }
}

#[test]
fn bad_content_is_refused_with_key_value_and_what_is_allowed() {
    let (genesis, _) = create().make().unwrap();
    let vote_key = samara_types::digest::hex(&genesis.set.entries()[0].vote_key);
    let cases = [
        ("\nstake = 1\n", "\nstake = 9\n", "stakes[0] = 9"),
        ("\nstake = 1\n", "\nstake = 1\nsteak = 1\n", "steak"),
        ("fault_stake = 1", "fault_stake = 2", "fault_stake = 2"),
        ("view_timeout_ms = 500", "view_timeout_ms = 1", "params.view_timeout_ms = 1: allowed is 20 to 60000"),
        (vote_key.as_str(), "abcd", "validator[0].keys.vote_key = abcd: allowed are 192 hexadecimal digits"),
    ];
    for (from, to, expected) in cases {
        let error = edited(&genesis, from, to).unwrap_err();
        assert_eq!(error.code(), 2);
        let line = error.to_string();
        assert!(line.contains(expected) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn weights_at_and_over_the_fault_bound_are_told_apart() {
    let with = |stakes: &[u64]| Create::new(stakes.len(), stakes, &ParamArgs::default(), 27_000).unwrap().make();
    assert!(with(&[2, 2, 2, 2, 2, 1]).is_ok(), "total 11, f = 2, nobody above 2");
    let error = with(&[3, 2, 2, 2, 1, 1]).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("stakes[0] = 3")), (2, true), "{error}");
    assert_eq!(Create::new(5, &[], &ParamArgs::default(), 27_000).unwrap_err().code(), 2);
    assert!(with(&[1, 1, 1, 1, 1, 0]).unwrap_err().to_string().contains("stakes[5] = 0"));
}

#[test]
fn the_idle_interval_keeps_out_of_the_way_of_the_other_two() {
    let idle = |view_timeout_ms, block_interval_ms, idle_interval_ms| {
        let args = ParamArgs { view_timeout_ms, block_interval_ms, idle_interval_ms, ..ParamArgs::default() };
        Create::new(6, &[], &args, 27_000).map(|create| create.params.idle_interval.0 / 1_000_000)
    };
    assert_eq!(idle(None, None, None).unwrap(), 200);
    assert_eq!(idle(Some(100), None, None).unwrap(), 50);
    assert_eq!(idle(None, Some(250), None).unwrap(), 250);
    assert_eq!(idle(None, None, Some(20)).unwrap(), 20);
    assert!(idle(Some(100), None, Some(200)).unwrap_err().to_string().contains("--idle-interval-ms = 200"));
}
