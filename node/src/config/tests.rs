use super::*;
use crate::cli::ParamArgs;
use crate::genesis::Create;

fn load(text: &str) -> Result<NodeConfig, Exit> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(CONFIG_FILE);
    std::fs::write(&path, text).unwrap();
    NodeConfig::load(&path)
}

const BASE: &str = "[chain]\nid = \"0000000000000000000000000000000000000000000000000000000000000000\"\n[node]\ngenesis = \"g\"\nkeys = \
                    \"k\"\ndata_dir = \"d\"\n";

#[test]
fn the_example_file_loads_and_states_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samara.example.toml");
    let example = NodeConfig::load(&path).unwrap();
    let defaults = load(BASE).unwrap();
    assert_eq!((&example.network, &example.reactor), (&defaults.network, &defaults.reactor));
    assert_eq!((&example.client, &example.mempool, &example.log), (&defaults.client, &defaults.mempool, &defaults.log));
    assert_eq!(example.metrics, defaults.metrics);
}

#[test]
fn every_key_of_the_example_is_a_key_and_every_commented_one_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samara.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let uncommented: Vec<_> = text.lines().map(|line| line.strip_prefix("#! ").unwrap_or(line)).collect();
    let config = load(&uncommented.join("\n")).unwrap();
    assert!(config.network.xdp.interface.is_some());
    let optional = [config.network.listen, config.network.sync_listen, config.client.listen, config.metrics.listen];
    assert!(optional.iter().all(Option::is_some) && config.index.is_some());
    assert!(config.reactor.hot_core.is_some() && config.reactor.service_core.is_some());
}

#[test]
fn what_genesis_writes_is_a_configuration() {
    let (genesis, _) = Create::new(6, &[], &ParamArgs::default(), 27_000).unwrap().make().unwrap();
    let config = load(&render(&genesis, 3, TransportArg::Udp)).unwrap();
    assert_eq!((config.chain, config.index, config.network.transport), (genesis.chain, Some(3), TransportArg::Udp));
    assert!(config.genesis.ends_with("../genesis.toml") && config.layout.metrics.ends_with("metrics.json"));
}

#[test]
fn bad_values_are_refused_with_key_value_and_what_is_allowed() {
    let zeros = "0".repeat(64);
    let cases = [
        (
            BASE.replace("[node]", "[node]\ncolour = 1"),
            "node.colour = 1: unknown key, allowed are genesis, keys, data_dir, index, keep_capabilities, input_ring_bytes",
        ),
        (format!("{BASE}[nodes]\n"), "nodes = map: unknown key, allowed are chain, node, network"),
        (BASE.replace("keys = \"k\"\n", ""), "node.keys is missing"),
        (BASE.replace(&zeros, "12"), "chain.id = 12: allowed is 64 hexadecimal digits"),
        (format!("{BASE}[network]\ntransport = \"pigeon\"\n"), "network.transport = pigeon: allowed is auto, xdp, uring, udp"),
        (format!("{BASE}[network]\nframes = 1000\n"), "network.frames = 1000: allowed is a power of two"),
        (format!("{BASE}[client]\nin_flight_max = 0\n"), "client.in_flight_max = 0: allowed is 1 to 1048576"),
        (format!("{BASE}[client]\nin_flight_max = \"many\"\n"), "client.in_flight_max = many: allowed is u64"),
        (format!("{BASE}[client]\nlisten = \"here\"\n"), "client.listen"),
        (format!("{BASE}[reactor]\nhot_core = 100000\n"), "reactor.hot_core = 100000: allowed is 0"),
        (format!("{BASE}[reactor]\nshards = 17\n"), "reactor.shards = 17: allowed is 0 to 16"),
        (
            format!("{BASE}[reactor]\nshards = 2\nshard_cores = [0]\n"),
            "reactor.shard_cores = [0]: allowed is [], or a core for each of 2 shards",
        ),
        (format!("{BASE}[reactor]\nshards = 1\nshard_cores = [100000]\n"), "reactor.shard_cores = 100000: allowed is 0"),
        (format!("{BASE}[metrics]\nlisten = \"here\"\n"), "metrics.listen"),
        (format!("{BASE}[log]\nlevel = \"a=b=c\"\n"), "log.level = a=b=c: allowed is error, warn"),
        (format!("{BASE}[log\n"), "samara.toml: "),
    ];
    for (text, expected) in cases {
        let exit = load(&text).unwrap_err();
        let line = exit.to_string();
        assert!(exit.code() == 2 && line.contains(expected) && !line.contains('\n'), "{expected}: {line}");
    }
}

/// As on a host whose reactors' cores are isolated: a process starts on the others.
#[test]
fn a_core_that_this_process_does_not_run_on_at_the_moment_is_a_core() {
    let Some(last) = samara_tuning::host::Host::real().online_cpus().iter().last().filter(|cpu| *cpu > 0) else {
        return println!("skipped: one CPU");
    };
    let first_only = 1u64;
    // SAFETY: the kernel reads eight bytes of the mask, which lives through the call; 0 is the calling thread, which is this test's own.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&first_only), std::ptr::from_ref(&first_only).cast()) };
    assert_eq!(rc, 0);
    let config = load(&format!("{BASE}[reactor]\nhot_core = {last}\n")).unwrap();
    assert_eq!(config.reactor.hot_core, Some(last as usize));
}
