//! Time of a request through each stack of [`support`]: accepted, rejected in each way, and through the peers.
//!
//! `cargo bench --bench stack`. Only time of this thread on the processor counts, yet rows measured one after another on a
//! shared machine differ by the machine's mood; for ratios between them run the bench `ratios`.

#[path = "support/cpu_time.rs"]
mod cpu_time;
#[path = "support/peers.rs"]
mod peers;
mod support;

use cpu_time::CpuTime;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tower_api_keys::limit::Quota;

fn stacks(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("stack");
    group.throughput(Throughput::Elements(1));
    for mut stack in peers::all(Quota::MAX_LIMIT) {
        group.bench_function(stack.name, |bencher| bencher.iter(|| stack.send()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = cpu_time::criterion();
    targets = stacks
}
criterion_main!(benches);
