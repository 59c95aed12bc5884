use classifier::*;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let flag = |n: &str| a.iter().position(|x| x == n).map(|i| a[i + 1].clone());
    let texts: Vec<String> =
        std::fs::read_to_string(flag("--lines").unwrap()).unwrap().lines().map(str::to_owned).collect();
    let count: usize = flag("--count").map_or(texts.len(), |c| c.parse().unwrap());
    let stride = (texts.len() / count).max(1);
    let texts: Vec<&str> = (0..count).map(|n| texts[n * stride % texts.len()].as_str()).collect();
    let precision: Precision = flag("--precision").unwrap_or("f32".into()).parse().unwrap();
    let batch: usize = flag("--batch-size").map_or(1024, |b| b.parse().unwrap());
    let c = Classifier::open_with(flag("--checkpoint").unwrap().as_ref(), &Device::Cpu, precision).unwrap();
    let c = match flag("--max-length") {
        Some(n) => c.with_max_length(n.parse().unwrap()),
        None => c,
    };
    let tokens: usize = c.count_tokens(&texts).unwrap().iter().sum();
    c.classify(&texts[..texts.len().min(batch)]).unwrap();
    let reps: usize = flag("--reps").map_or(1, |b| b.parse().unwrap());
    for _ in 0..reps {
        let t = Instant::now();
        let before = cpu();
        let mut times = vec![];
        for b in texts.chunks(batch) {
            let t = Instant::now();
            c.classify(b).unwrap();
            times.push(t.elapsed().as_secs_f64());
        }
        let s = t.elapsed().as_secs_f64();
        let cpu = cpu() - before;
        times.sort_by(f64::total_cmp);
        println!(
            "{{\"texts_per_second\": {}, \"tokens\": {tokens}, \"p50\": {}, \"seconds\": {s}, \"processor_seconds\": {cpu}}}",
            texts.len() as f64 / s,
            times[times.len() / 2] * 1e3
        );
    }
}

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
