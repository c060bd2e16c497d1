"""Reads the text of /metrics with the parser of prometheus_client, and checks what Prometheus would complain about.

Usage: metrics_text.py URL. Prints one JSON object: each sample's name with the sum of its values.
"""

import json
import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1] + "metrics", timeout=10) as answer:
    kind = answer.headers["Content-Type"]
    assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
    text = answer.read().decode()

sums, seen = {}, set()
for family in text_string_to_metric_families(text):
    assert family.documentation, f"{family.name} has no help"
    assert family.type in ("counter", "gauge"), f"{family.name} is {family.type}"
    assert family.name.startswith("tautline_"), family.name
    for sample in family.samples:
        identity = (sample.name, tuple(sorted(sample.labels.items())))
        assert identity not in seen, f"{identity} is there twice"
        seen.add(identity)
        if family.type == "counter":
            assert sample.name.endswith("_total") and sample.value >= 0, sample
        assert "link" in sample.labels, sample
        assert set(sample.labels) <= {
            "link", "role", "wire", "endpoint", "secured", "version", "reason", "outcome", "quantile", "type", "channel",
            "peer", "name",
        }, sample
        sums[sample.name] = sums.get(sample.name, 0) + sample.value
names = {name for name, _ in seen}
assert any(name.endswith("_seconds") for name in names), names
print(json.dumps(sums))
