//! The result of a bench run, for people and as JSON.

use serde_json::json;

use super::BenchArgs;
use super::load::Outcome;
use super::storage::Cost;
use super::timeline::Point;

const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99_9", 0.999),
];

/// Operations and documents per second.
fn rates(outcome: &Outcome) -> (f64, f64) {
    let seconds = outcome.elapsed.as_secs_f64().max(1e-9);
    (
        outcome.operations as f64 / seconds,
        outcome.documents as f64 / seconds,
    )
}

pub(super) fn as_json(args: &BenchArgs, outcome: &Outcome, cost: Option<&Cost>) -> String {
    let (operations_per_second, documents_per_second) = rates(outcome);
    let latency = &outcome.latency_us;
    let mut latency_us =
        json!({ "min": latency.min(), "mean": round(latency.mean()), "max": latency.max() });
    for (name, quantile) in QUANTILES {
        latency_us[name] = json!(latency.value_at_quantile(quantile));
    }
    let value = json!({
        "workload": args.workload.name(),
        "concurrency": args.concurrency,
        "threads": args.threads,
        "document_bytes": args.document_bytes,
        "seconds": round(outcome.elapsed.as_secs_f64()),
        "operations": outcome.operations,
        "operations_per_second": round(operations_per_second),
        "documents_per_second": round(documents_per_second),
        "retries": outcome.retries,
        "rate": args.rate,
        "latency_us": latency_us,
        "storage": cost.map(Cost::as_json),
        "series": outcome.points.iter().map(Point::as_json).collect::<Vec<_>>(),
    });
    format!(
        "{}\n",
        serde_json::to_string_pretty(&value).expect("JSON values always print")
    )
}

/// The line under a picture's title.
pub(super) fn figures(outcome: &Outcome) -> String {
    let (operations_per_second, _) = rates(outcome);
    let latency = &outcome.latency_us;
    let at = |quantile| milliseconds(latency.value_at_quantile(quantile) as f64);
    format!(
        "{operations_per_second:.0} operations/s; latency p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        milliseconds(latency.max() as f64)
    )
}

/// What a picture is of.
pub(super) fn title(args: &BenchArgs) -> String {
    let paced = args.rate.map_or(String::new(), |rate| {
        format!(", {rate} operations/s asked for")
    });
    format!(
        "cstore bench: {}, {} connections, documents of {} bytes{paced}",
        args.workload.name(),
        args.concurrency,
        args.document_bytes
    )
}

pub(super) fn as_text(args: &BenchArgs, outcome: &Outcome, cost: Option<&Cost>) -> String {
    let (operations_per_second, documents_per_second) = rates(outcome);
    let latency = &outcome.latency_us;
    let mut text = format!(
        "{}: {} operations by {} connections in {:.2} s\n  {operations_per_second:.0} operations/s",
        args.workload.name(),
        outcome.operations,
        args.concurrency,
        outcome.elapsed.as_secs_f64(),
    );
    if outcome.documents != outcome.operations {
        text.push_str(&format!(", {documents_per_second:.0} documents/s"));
    }
    text.push_str(&format!(
        "\n  latency  mean {}",
        milliseconds(latency.mean())
    ));
    for (name, quantile) in QUANTILES {
        let name = name.replace('_', ".");
        text.push_str(&format!(
            "  {name} {}",
            milliseconds(latency.value_at_quantile(quantile) as f64)
        ));
    }
    text.push_str(&format!(
        "  max {} ms\n",
        milliseconds(latency.max() as f64)
    ));
    if let Some(cost) = cost {
        text.push_str(&cost.as_text());
    }
    if outcome.retries > 0 {
        text.push_str(&format!(
            "  {} repetitions after lost connections or changes of the primary\n",
            outcome.retries
        ));
    }
    text
}

fn milliseconds(us: f64) -> String {
    format!("{:.3}", us / 1000.0)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
