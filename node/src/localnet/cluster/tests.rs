//! The cluster with shell scripts in the place of validators, and threads in the place of their doors.

use super::*;
use crate::cli::ParamArgs;
use crate::genesis::Create;
use samara_types::client::write_response;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

struct Stage {
    directory: tempfile::TempDir,
    genesis: Genesis,
}

impl Stage {
    fn new() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let create = Create::new(6, &[], &ParamArgs::default(), 27_000).unwrap();
        let genesis = create.write(directory.path()).unwrap();
        Stage { directory, genesis }
    }

    /// A cluster whose validators are this script.
    fn cluster(&self, script: &str) -> Cluster<'static> {
        let program = self.directory.path().join("validator.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Cluster::new(program, self.directory.path(), &self.genesis, vec![("SAMARA_NETWORK__TRANSPORT", "udp".into())])
    }

    /// Opens every client door, on ports of the kernel's choice; validator i answers view 9 and height i.
    fn open_doors(&mut self) {
        for (index, addresses) in self.genesis.addresses.iter_mut().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            addresses.client = listener.local_addr().unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut response = Vec::new();
                    write_response(&mut response, 1, &Response::Status { view: 9, height: index as u64 });
                    let mut stream = stream.unwrap();
                    // The request must be read before the close, or the close resets the connection.
                    let _ = stream.read(&mut [0; 64]);
                    let _ = stream.write_all(&response);
                }
            });
        }
    }
}

#[test]
fn a_validator_that_refuses_to_start_gives_its_line_and_its_code() {
    let stage = Stage::new();
    let cases = [(2, Exit::Usage as fn(String) -> Exit), (3, Exit::Host), (7, Exit::Failed)];
    for (code, kind) in cases {
        let mut cluster = stage.cluster(&format!("echo \"$1 $SAMARA_NETWORK__TRANSPORT\"; exit {code}"));
        let exit = cluster.start_all(|| false).unwrap_err();
        assert_eq!(exit, kind(format!("validator 0 ended with exit code {code}: run udp")));
    }
}

#[test]
fn an_interrupt_ends_the_wait_for_doors() {
    let stage = Stage::new();
    let mut cluster = stage.cluster("exec sleep 1000");
    assert_eq!(cluster.start_all(|| true).unwrap_err(), Exit::Failed("interrupted".into()));
}

#[test]
fn validators_are_watched_killed_restarted_and_stopped_cleanly() {
    let mut stage = Stage::new();
    stage.open_doors();
    let mut cluster = stage.cluster("trap 'exit 0' TERM; echo started; while :; do sleep 0.01; done");
    assert_eq!(cluster.start_all(|| false), Ok(5), "the greatest height of all doors");
    let log = |index| std::fs::read_to_string(validator_directory(stage.directory.path(), index).join("log")).unwrap_or_default();
    let wait_for = |index: usize, lines: usize| {
        while log(index).lines().count() < lines {
            std::thread::yield_now();
        }
    };
    (0..6).for_each(|index| wait_for(index, 1));
    cluster.begin_measuring();
    assert_eq!(cluster.check_alive(), Ok(()));

    cluster.kill(2);
    assert_eq!(cluster.check_alive(), Ok(()), "a killed validator is no surprise");
    cluster.start(2).unwrap();
    wait_for(2, 2);

    cluster.members[4].process.as_ref().unwrap().terminate();
    let end = loop {
        if let Err(end) = cluster.check_alive() {
            break end;
        }
        std::thread::yield_now();
    };
    assert!(end.to_string().starts_with("validator 4 ended with exit code 0"), "nobody asked it to end: {end}");

    assert_eq!(cluster.stop(), Vec::<String>::new());
    let usage = cluster.usage();
    assert_eq!(usage.iter().map(|used| used.killed).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 0]);
    assert!(usage.iter().all(|used| used.cpu_s >= 0.0 && used.rss_max_mib > 0.0));
    assert!(cluster.rss_kib().count() >= 6);
}

#[test]
fn an_unclean_end_is_named() {
    let mut stage = Stage::new();
    stage.open_doors();
    let mut cluster = stage.cluster("trap 'exit 4' TERM; echo started; while :; do sleep 0.01; done");
    cluster.start_all(|| false).unwrap();
    for index in 0..6 {
        let log = validator_directory(stage.directory.path(), index).join("log");
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("started") {
            std::thread::yield_now();
        }
    }
    let unclean = cluster.stop();
    assert_eq!((unclean.len(), unclean[0].as_str()), (6, "validator 0 ended with exit code 4"));
}
