//! Whether two kinds of work take the same time, by the method of dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code
//! constant time?", 2017): the kinds come in random order, the slowest times are cropped, Welch's t-test compares the means.

/// Of this many percent of all times, the fastest: what interrupts a thread takes longer than what is measured.
const CROPS: [usize; 6] = [100, 99, 95, 90, 75, 50];

pub(crate) struct Comparison {
    /// Nanoseconds.
    pub(crate) medians: [u32; 2],
    /// The farthest from zero, over all crops.
    pub(crate) t: f64,
}

/// Takes so many times, in nanoseconds, of the two kinds of work.
pub(crate) fn compare(samples: usize, mut time: impl FnMut(usize) -> u32) -> Comparison {
    let mut times = [(); 2].map(|()| Vec::with_capacity(samples * 51 / 100));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for sample in 0..samples + samples / 50 {
        // xorshift64*, whose upper bits are good.
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        let kind = (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 63) as usize;
        let taken = time(kind);
        // The first fill the caches.
        if sample >= samples / 50 {
            times[kind].push(taken);
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    let mut all = times.concat();
    all.sort_unstable();
    let t = CROPS
        .map(|percent| {
            let slowest = all[(all.len() * percent / 100).max(1) - 1];
            let [one, other] = times.each_ref().map(|times| moments(times, slowest));
            (one.mean - other.mean) / (one.variance / one.count + other.variance / other.count).sqrt()
        })
        .into_iter()
        .filter(|t| t.is_finite())
        .fold(0.0, |most: f64, t| if t.abs() > most.abs() { t } else { most });
    Comparison { medians: times.map(|times| times[times.len() / 2]), t }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

/// Of the times up to `slowest`; they are in order.
fn moments(times: &[u32], slowest: u32) -> Moments {
    let kept = &times[..times.partition_point(|time| *time <= slowest)];
    let count = kept.len() as f64;
    let mean = kept.iter().map(|time| f64::from(*time)).sum::<f64>() / count;
    let squares = kept.iter().map(|time| (f64::from(*time) - mean).powi(2)).sum::<f64>();
    Moments { count, mean, variance: squares / (count - 1.0) }
}
