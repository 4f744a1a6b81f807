//! Process, disks, and what the kernel dropped.

use super::metrics;
use crate::metrics::sample::{Family, PLAIN};

/// A gauge of one number of the picture.
macro_rules! of {
    ($kind:ident $name:literal, $help:literal, $value:expr) => {
        Family::$kind($name, &[], $help, |picture, emit| {
            let value: fn(&crate::metrics::picture::Picture) -> Option<f64> = $value;
            value(picture).into_iter().for_each(|value| emit.number(PLAIN, value));
        })
    };
}

pub const MACHINE: &[Family] = &[
    Family::gauge(
        "samara_build_info",
        &["version", "chain", "seat", "port"],
        "Always 1; its labels say which version runs as which seat of which chain, and the port's rung (xdp-zerocopy, xdp-native, xdp-skb, uring, udp).",
        |picture, emit| {
            if let Some(metrics) = metrics(picture) {
                let seat = metrics.node.me.to_string();
                emit.count(&[env!("CARGO_PKG_VERSION"), &picture.chain, &seat, &metrics.node.port], 1);
            }
        },
    ),
    of!(gauge "samara_start_time_seconds", "When the process started, seconds since 1970.", |picture| Some(picture.started_unix_s)),
    of!(counter "samara_endpoint_failures", "Times this endpoint could not take its address, or ended; it tries again every two seconds.", |picture| {
        Some(picture.endpoint_failures as f64)
    }),
    of!(gauge "samara_snapshot_age_seconds", "Age of the figures that the reactors publish about once a second.", |picture| {
        picture.metrics.is_some().then_some(picture.age_s)
    }),
    Family::counter("samara_cpu_seconds", &["mode"], "CPU time of the process by mode: user, system.", |picture, emit| {
        if let Some(process) = metrics(picture).map(|metrics| metrics.process) {
            emit.number(&["user"], process.cpu_user_ms as f64 / 1e3);
            emit.number(&["system"], process.cpu_system_ms as f64 / 1e3);
        }
    }),
    of!(gauge "samara_resident_memory_bytes", "Resident memory.", |picture| Some(metrics(picture)?.process.rss_bytes as f64)),
    of!(gauge "samara_resident_memory_peak_bytes", "Largest resident memory so far.", |picture| {
        Some(metrics(picture)?.process.rss_peak_bytes as f64)
    }),
    Family::gauge("samara_store_bytes", &["store"], "Bytes on disk: vote log, body journal, block store.", |picture, emit| {
        let disk = picture.disk;
        [("votes", disk.votes), ("bodies", disk.bodies), ("blocks", disk.blocks)]
            .into_iter()
            .for_each(|(at, bytes)| emit.count(&[at], bytes));
    }),
    of!(gauge "samara_tuning_values", "Host values that `samara tune apply` set and watches; absent while nothing is applied or its journal cannot be read.", |picture| {
        Some(picture.tuning?.values as f64)
    }),
    of!(gauge "samara_tuning_drift", "Those of them that do not say what was applied (read once a minute); `samara tune check` names them.", |picture| {
        Some(picture.tuning?.drifted as f64)
    }),
    of!(gauge "samara_disk_free_bytes", "Free bytes of the data directory's file system.", |picture| Some(picture.disk.free as f64)),
    of!(gauge "samara_disk_size_bytes", "Size of the data directory's file system.", |picture| Some(picture.disk.size as f64)),
    Family::counter(
        "samara_host_udp_errors",
        &["kind"],
        "Error counters of the kernel's UDP (all sockets of the network namespace, since the host started), by the kernel's name.",
        |picture, emit| picture.host.udp.iter().for_each(|(kind, count)| emit.count(&[kind], *count)),
    ),
    of!(counter "samara_host_softnet_dropped", "Packets the kernel dropped because a CPU's backlog was full, since the host started.", |picture| {
        Some(picture.host.softnet_dropped as f64)
    }),
    of!(counter "samara_host_softnet_squeezed", "Times a CPU's receive loop ran out of its budget, since the host started.", |picture| {
        Some(picture.host.softnet_squeezed as f64)
    }),
];
