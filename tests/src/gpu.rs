//! A consumer on a GPU that is a stand-in: its model changes there, and the GPU dies under it.

use harness::{DeviceReport, Process, Signal, StandIn, until};
use tokio::sync::watch;

use crate::programs::labelstream;
use crate::records::{Message, publish_steadily};
use crate::site::Site;

/// A consumer with the feature `cuda` on the site.
fn consumer(stand_in: &StandIn, site: &Site, fault: &str) -> Process {
    let mut command = stand_in.command("consumer", &site.path("report.json"));
    command.args(site.consumer_command(&[("--device", "cuda"), ("--max-batch-reviews", "50")]).get_args());
    Process::start(command.env("STAND_IN_FAULT", fault), site.path("consumer.log"))
}

/// Publishes until the topic has been read for a while after `happens`; checks every record.
async fn stream_through(site: &Site, happens: impl AsyncFn()) {
    let (stop, stopped) = watch::channel(false);
    let steady = tokio::spawn(publish_steadily(site.open_topic(), Message::mixed_at, stopped));
    happens().await;
    let seen = site.done().await;
    until("some records after that", async || site.done().await > seen + 100).await;
    stop.send(true).expect("the publisher listens");
    let sent = steady.await.expect("the publisher does not panic");
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_change_on_a_gpu_and_leave_nothing_behind_on_it() {
    let Some(stand_in) = StandIn::find() else { return };
    let site = Site::new("gpu-swap", 2).await;
    assert_eq!(site.register_tiny_model(2).await.0, 2);
    let mut consumer = consumer(&stand_in, &site, "");
    consumer.until_ready().await;
    stream_through(&site, async || {
        for (words, version) in [(&["promote", "2"][..], 2.0), (&["rollback"], 1.0), (&["promote", "2"], 2.0)] {
            let seen = site.done().await;
            until("some records by the version before", async || site.done().await > seen + 50).await;
            let models = labelstream(&[&["models"], words, &["--database-url", &site.database]].concat());
            assert!(models.status.success(), "{words:?}");
            until("the new version", async || consumer.metric("labelstream_model_version") == Some(version)).await;
        }
    })
    .await;
    assert_eq!(consumer.metric("labelstream_device_fallback"), Some(0.0));
    consumer.signal(Signal::SIGTERM);
    assert_eq!(consumer.exit_code().await, Some(0), "{}", consumer.log());
    let report = DeviceReport::read(&site.path("report.json"));
    assert!(report.number("/calls/cuLaunchKernel") > 0, "it ran elsewhere");
    for what in ["complaints", "left/memories", "left/pinned", "left/modules"] {
        assert_eq!(report.number(&format!("/{what}")), 0, "{what}: {}", consumer.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_dies_amid_the_stream_is_left_for_the_cpu_and_nothing_is_lost() {
    let Some(stand_in) = StandIn::find() else { return };
    for (number, fault) in [
        // An illegal address, an uncorrectable error of memory, a device that is gone.
        "cuLaunchKernel:90:700",
        "cuMemcpyDtoHAsync_v2:60:214",
        "cuStreamSynchronize:8:999",
    ]
    .into_iter()
    .enumerate()
    {
        let site = Site::new(&format!("gpu-dies-{number}"), 2).await;
        let mut consumer = consumer(&stand_in, &site, fault);
        consumer.until_ready().await;
        stream_through(&site, async || {
            until("the CPU", async || consumer.metric("labelstream_device_fallback") == Some(1.0)).await;
        })
        .await;
        let (status, page) = consumer.get("/health/ready");
        assert!(status == 200 && page.contains("the model runs on the CPU: "), "{fault}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_product_that_fails_once_costs_no_record() {
    let Some(stand_in) = StandIn::find() else { return };
    let site = Site::new("gpu-stumbles", 2).await;
    let mut consumer = consumer(&stand_in, &site, "cublasLtMatmul:60:13,cublasLtMatmul:75:14");
    consumer.until_ready().await;
    stream_through(&site, async || {
        let seen = site.done().await;
        until("records past both", async || site.done().await > seen + 1_000).await;
    })
    .await;
}
